"""Supervising the trainer: show its progress, and have it save a checkpoint before the job ends."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from errata.core.wording import duration
from errata.training.job_time import Deadline
from errata.training.messages import say
from errata.training.runs import RunEnd
from errata.training.trainer_log import read_last_entry
from errata.training.work_folder import WorkFolder

_POLL = 0.5  # seconds
# A second signal within so many seconds is the same one: Slurm sends it to the step, and so may the step's shell.
_SAME_SIGNAL = 3.0
# Seconds that remain to requeue the job after the checkpoint.
_REQUEUE = 10.0


class StopRequest(NamedTuple):
    """Why the trainer had to stop.

    Attributes:
        why: DEADLINE or TERMINATED; None if it did not have to stop.
        signal: the signal that this process got, 0 for none.
    """

    why: RunEnd | None
    signal: int


class CaughtSignals:
    """Handles SIGTERM and SIGINT by remembering them.

    Attributes:
        signal: the first signal, 0 before it.
        repeated: whether another signal came later than `_SAME_SIGNAL` seconds after the first.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.repeated = False
        self._since = 0.0

    def __call__(self, signum: int, frame: object) -> None:  # noqa: ARG002
        if not self.signal:
            self.signal, self._since = signum, time.monotonic()
        elif time.monotonic() > self._since + _SAME_SIGNAL:
            self.repeated = True


@contextmanager
def catch_signals() -> Iterator[CaughtSignals]:
    """Catch SIGTERM and SIGINT while the block lasts."""
    caught = CaughtSignals()
    before = {each: signal.signal(each, caught) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def supervise(
    process: "subprocess.Popen[bytes]", folder: WorkFolder, *, grace: float, deadline: Deadline | None
) -> StopRequest:
    """Wait until the trainer ends; on a signal or near the deadline, have it save a checkpoint first.

    The process may still be alive on return: it was loading the model and has nothing to save, or did not stop in
    time. The caller kills it.

    Args:
        process: the trainer, or its launcher.
        folder: where the trainer works.
        grace: seconds for the checkpoint after a signal.
        deadline: the end of the job's time.
    """
    with catch_signals() as caught:
        progress = TrainerProgress(folder.steps_log)
        why: RunEnd | None = None
        give_up = 0.0
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL)
            progress.show()
            if caught.signal and why != RunEnd.TERMINATED:
                why, give_up = RunEnd.TERMINATED, time.monotonic() + grace
            elif not why and deadline and deadline.is_due(time.time(), progress.step_seconds):
                remaining = deadline.end - time.time() - _REQUEUE
                why, give_up = RunEnd.DEADLINE, time.monotonic() + max(grace, remaining)
            elif why and (caught.repeated or time.monotonic() > give_up):
                break
            else:
                continue
            if not folder.request_stop():
                break
        if process.poll() and not why:
            time.sleep(0.2)  # the signal that ended the trainer may reach this process a little later
        return StopRequest(RunEnd.TERMINATED if caught.signal else why, caught.signal)


class TrainerProgress:
    """Shows new entries of the trainer's log, with the time left.

    The trainer's own estimate of the time left is wrong after it has resumed.

    Attributes:
        step_seconds: seconds that a step takes; 0 while that is unknown.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._shown = read_last_entry(log)
        self._first: tuple[int, float] | None = None
        self.step_seconds = 0.0

    def show(self) -> None:
        """Print the last entry of the log if it is new."""
        entry = read_last_entry(self._log)
        if entry is None or entry == self._shown:
            return
        now = time.monotonic()
        self._shown, self._first = entry, self._first or (entry.step, now)
        first_step, since = self._first
        parts = [f"step {entry.step}/{entry.total_steps}"]
        losses = {"loss": entry.loss, "eval loss": entry.eval_loss}
        parts += [f"{name} {loss:.3f}" for name, loss in losses.items() if loss is not None]
        if entry.step > first_step:
            self.step_seconds = (now - since) / (entry.step - first_step)
            left = duration(self.step_seconds * (entry.total_steps - entry.step))
            parts += [f"{self.step_seconds:.1f} s a step", f"{left} left"]
        say(", ".join(parts))
