"""A training that takes several jobs: its lock, the end of the job's time, its runs, and the next job."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from errata.core.errors import UserError
from errata.core.files import read_jsonl, write_jsonl
from errata.core.locks import LockTaken, exclusive

# Why a run ended; one that was killed could not say.
FINISHED, FAILED, TERMINATED, DEADLINE, KILLED = "finished", "failed", "terminated", "deadline", ""
LOCK, RUNS = "lock", "runs.jsonl"
# Runs in a row that may be killed without a checkpoint beyond the one they started from.
KILLS = 3


class Spent(NamedTuple):
    """What is known of the seconds in which steps were made; with `at_least` there may have been more."""

    seconds: float
    at_least: bool = False


@dataclass
class Runs:
    """The runs of one training, a line each: in the work folder, and in the end in the adapter's, to be counted."""

    path: Path
    _rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path.exists():
            self._rows = list(read_jsonl(self.path))

    @property
    def continuations(self) -> int:
        """How many runs were ended by the end of their job's time."""
        return sum(row.get("why") == DEADLINE for row in self._rows)

    @property
    def spent(self) -> Spent:
        """All runs together; steps that were lost and made again took their time twice, and count twice."""
        # the lines of earlier runs are gone where the first that is left did not start at the beginning
        lacking = not self._rows or self._rows[0].get("start") != 0
        # a run of an earlier version did not say
        lacking |= any(row.get("seconds") is None or row.get("at_least", False) for row in self._rows)
        return Spent(sum(row.get("seconds") or 0.0 for row in self._rows), lacking)

    def settle(self, spent: Callable[[int], Spent]) -> None:
        """Note what the last run spent, if it was killed before it could say.

        Args:
            spent: gives that of a run, by the step after which it started.
        """
        last = self._rows[-1] if self._rows else {}
        if last.get("why") == KILLED and last.get("seconds") is None:
            last |= spent(last["start"])._asdict()
            self._write()

    def begin(self, step: int) -> None:
        """Note a run that starts after `step`.

        Raises:
            UserError: the last runs started there too and were killed before their first checkpoint.
        """
        last = self._rows[-KILLS:]
        if len(last) == KILLS and all(row.get("start") == step and row.get("why") == KILLED for row in last):
            raise UserError(
                f"{self.path}: {KILLS} runs in a row started after step {step} and were killed before they saved a "
                "checkpoint. Give the job more time or memory (rule train in the profile) or lower train.save_steps; "
                f"then delete {self.path} to go on from step {step}, or {self.path.parent} to start anew."
            )
        where = {"host": socket.gethostname(), "job": os.environ.get("SLURM_JOB_ID")}
        self._rows.append({"start": step, "end": None, "why": KILLED, "began": round(time.time()), **where})
        self._write()

    def end(self, step: int, why: str, spent: Spent) -> None:
        """Note how this run ended, with its newest checkpoint at `step`, and what it spent."""
        self._rows[-1] |= {"end": step, "why": why, "ended": round(time.time()), **spent._asdict()}
        self._write()

    def _write(self) -> None:
        write_jsonl(self.path, self._rows)


@contextmanager
def alone(work: Path) -> Iterator[int]:
    """Keep a work folder to this process, and to the children that inherit the file descriptor this gives.

    Raises:
        UserError: another process trains there, be it one that outlived its step.
    """
    path = work / LOCK
    with ExitStack() as locks:
        try:
            # inherited by the trainer, which may outlive this process
            file = locks.enter_context(
                exclusive(path, advice="let no two trainings use this folder at once", shared_with_children=True)
            )
        except LockTaken as error:
            raise UserError(
                f"{work}: another training uses this folder: {_holder(path)}. Wait for it or stop it, then run again."
            ) from error
        _sign(file)
        yield file.fileno()


def _sign(file: FileIO) -> None:
    owner = {"host": socket.gethostname(), "process": os.getpid(), "job": os.environ.get("SLURM_JOB_ID")}
    os.ftruncate(file.fileno(), 0)
    file.write(json.dumps(owner).encode() + b"\n")


def _holder(path: Path) -> str:
    """Who holds a lock, as its file says."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        job = f", Slurm job {owner['job']}" if owner["job"] else ""
        return f"process {owner['process']} on {owner['host']}{job}"
    except (OSError, ValueError, KeyError, TypeError):
        return "its lock file does not say which"
