"""Watching over the trainer: showing its progress, and having it save a checkpoint before the job ends."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from errata.core.wording import duration
from errata.training.job_time import Deadline
from errata.training.runs import DEADLINE, TERMINATED
from errata.training.work_folder import STOP, TRAINING

_POLL = 0.5  # seconds
# Seconds within which a second signal is the same one: Slurm tells the step, and so may the shell that started it.
_SAME = 3.0
# Seconds that Slurm needs for the rest when a job goes on in the next one.
_LAST = 10.0


class Ending(NamedTuple):
    """Why the trainer was told to stop, if it was.

    Attributes:
        why: DEADLINE, TERMINATED or "".
        signal: the signal that came, 0 for none.
    """

    why: str
    signal: int


class Told:
    """Takes SIGTERM and SIGINT in place of their usual effect."""

    def __init__(self) -> None:
        self.signal = 0
        self.again = False
        self._since = 0.0

    def __call__(self, signum: int, frame: object) -> None:  # noqa: ARG002
        if not self.signal:
            self.signal, self._since = signum, time.monotonic()
        elif time.monotonic() > self._since + _SAME:
            self.again = True


@contextmanager
def listening() -> Iterator[Told]:
    """Only note SIGTERM and SIGINT while the block lasts."""
    told = Told()
    before = {each: signal.signal(each, told) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield told
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def supervise(
    process: "subprocess.Popen[bytes]", work: Path, log: Path, *, grace: float, deadline: Deadline | None
) -> Ending:
    """Wait until the trainer ends; when a signal comes or the time is up, have it save a checkpoint first.

    It may be alive when this comes back: it then did not stop in time, or had nothing to save, and is to be killed.

    Args:
        work: the trainer's folder, where it is told to stop.
        log: the trainer's own log, with a line of JSON for some of the steps.
        grace: seconds that it has for the checkpoint after a signal.
    """
    with listening() as told:
        progress = Progress(log)
        why, until = "", 0.0
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL)
            progress.show()
            if told.signal and why != TERMINATED:
                why, until = TERMINATED, time.monotonic() + grace
            elif not why and deadline and deadline.due(time.time(), progress.pace):
                why, until = DEADLINE, time.monotonic() + max(grace, deadline.end - time.time() - _LAST)
            else:
                if why and (told.again or time.monotonic() > until):
                    break
                continue
            if not (work / TRAINING).exists():
                break  # it is still loading the model
            (work / STOP).touch()
        if process.poll() and not why:
            time.sleep(0.2)  # what ended the trainer may be on its way to us
        return Ending(TERMINATED if told.signal else why, told.signal)


class Progress:
    """Shows what the trainer logs. Its own estimate of the time left is wrong after a resumption.

    Attributes:
        pace: seconds a step, 0 while that is not known.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._shown = _last_entry(log)
        self._first: tuple[int, float] | None = None
        self.pace = 0.0

    def show(self) -> None:
        entry = _last_entry(self._log)
        if entry is None or entry == self._shown:
            return
        self._shown, step, now = entry, entry["current_steps"], time.monotonic()
        self._first = self._first or (step, now)
        parts = [f"step {step}/{entry['total_steps']}"]
        parts += [f"{name.replace('_', ' ')} {entry[name]:.3f}" for name in ("loss", "eval_loss") if name in entry]
        if step > self._first[0]:
            self.pace = (now - self._first[1]) / (step - self._first[0])
            left = duration(self.pace * (entry["total_steps"] - step))
            parts += [f"{self.pace:.1f} s a step", f"{left} left"]
        say(", ".join(parts))


def _last_entry(log: Path) -> dict[str, Any] | None:
    """The last line of the trainer's log; None while it is not there or just being written."""
    try:
        entry = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return None
    return entry if isinstance(entry, dict) else None


def say(text: str) -> None:
    print(f"train: {text}", file=sys.stderr, flush=True)
