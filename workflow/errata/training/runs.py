"""The runs of a training. A training takes several runs when it is stopped or killed, or when its job's time ends.

`runs.jsonl` has a line for each run. It lies in the work folder, and at the end beside the adapter.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from errata.core.errors import UserError
from errata.core.files import read_jsonl, write_jsonl

RUNS_FILE = "runs.jsonl"
MAX_KILLS = 3
"""So many runs in a row may be killed without a checkpoint beyond the one that they started from."""


class RunEnd(StrEnum):
    """Why a run ended. A run that was killed could not write a reason."""

    FINISHED = "finished"
    FAILED = "failed"
    TERMINATED = "terminated"
    DEADLINE = "deadline"
    KILLED = ""


class TrainingTime(NamedTuple):
    """The seconds in which steps were made; with `at_least`, it may have been more."""

    seconds: float
    at_least: bool = False


@dataclass(slots=True)
class Run:
    """A line of runs.jsonl.

    Attributes:
        start: the step after which the run started, 0 for the beginning of the training.
        end: the step of the newest checkpoint when the run ended.
        why: see `RunEnd`.
        began, ended: Unix time in seconds.
        host: name of the machine.
        job: Slurm's id; None outside Slurm.
        time: None until the run has ended, or until the next run has measured it.
    """

    start: int
    end: int | None = None
    why: str = RunEnd.KILLED
    began: int | None = None
    host: str | None = None
    job: str | None = None
    ended: int | None = None
    time: TrainingTime | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Run":
        """Read a line; those of early versions have only the first three keys."""
        seconds = record.get("seconds")
        return cls(
            start=record["start"],
            end=record.get("end"),
            why=record["why"],
            began=record.get("began"),
            host=record.get("host"),
            job=record.get("job"),
            ended=record.get("ended"),
            time=None if seconds is None else TrainingTime(seconds, record.get("at_least", False)),
        )

    def to_record(self) -> dict[str, Any]:
        return {
            "start": self.start,
            "end": self.end,
            "why": str(self.why),
            **({} if self.began is None else {"began": self.began, "host": self.host, "job": self.job}),
            **({} if self.ended is None else {"ended": self.ended}),
            **({} if self.time is None else self.time._asdict()),
        }


@dataclass
class RunHistory:
    """The runs of one training, in their file."""

    path: Path
    _runs: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.path.exists():
            return
        try:
            self._runs = [Run.from_record(record) for record in read_jsonl(self.path)]
        except KeyError as error:
            raise UserError(f"{self.path}: a line lacks {error}. Delete the file, which only counts runs.") from error

    @property
    def continuations(self) -> int:
        """How many runs ended because the time of their job did."""
        return sum(run.why == RunEnd.DEADLINE for run in self._runs)

    @property
    def training_time(self) -> TrainingTime:
        """Of all runs together. Steps that were lost and made again took their time twice and count twice."""
        # Lines of earlier runs are missing if the first line does not start at the beginning.
        incomplete = not self._runs or self._runs[0].start != 0
        incomplete |= any(run.time is None or run.time.at_least for run in self._runs)
        return TrainingTime(sum(run.time.seconds for run in self._runs if run.time), incomplete)

    def measure_last(self, measure: Callable[[int], TrainingTime]) -> None:
        """Add the time of the last run if that was killed and could not write it.

        Args:
            measure: gives the time of a run, by the step after which it started.
        """
        last = self._runs[-1] if self._runs else None
        if last and last.why == RunEnd.KILLED and last.time is None:
            last.time = measure(last.start)
            self._write()

    def begin(self, step: int) -> None:
        """Add a run that starts after `step`.

        Raises:
            UserError: the last `MAX_KILLS` runs started there too and were killed before their first checkpoint.
        """
        last = self._runs[-MAX_KILLS:]
        if len(last) == MAX_KILLS and all(run.start == step and run.why == RunEnd.KILLED for run in last):
            raise UserError(
                f"{self.path}: {MAX_KILLS} runs in a row started after step {step} and were killed before they saved a "
                "checkpoint. Give the job more time or memory (rule train in the profile) or lower train.save_steps; "
                f"then delete {self.path} to go on from step {step}, or {self.path.parent} to start from the beginning."
            )
        host, job = socket.gethostname(), os.environ.get("SLURM_JOB_ID")
        self._runs.append(Run(step, began=round(time.time()), host=host, job=job))
        self._write()

    def end(self, step: int, why: RunEnd, training_time: TrainingTime) -> None:
        """Write how this run ended, with its newest checkpoint after `step`."""
        run = self._runs[-1]
        run.end, run.why, run.ended, run.time = step, why, round(time.time()), training_time
        self._write()

    def _write(self) -> None:
        write_jsonl(self.path, (run.to_record() for run in self._runs))
