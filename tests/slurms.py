"""Stand-ins for the output of Slurm's commands and for Snakemake's executor."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

Prints = Callable[[str, str], None]


def with_accounting(prints: Prints, monkeypatch: pytest.MonkeyPatch, age: int = 300) -> None:
    """A Slurm with accounting."""
    monkeypatch.setattr("shutil.which", lambda name: name)
    prints("scontrol", f"AccountingStorageType = accounting_storage/slurmdbd\nMinJobAge = {age} sec\n")


class Settled(list[tuple[str, str]]):
    """The ends of jobs that were reported to Snakemake, which waits for the given jobs."""

    def __init__(self, *waited: str) -> None:
        super().__init__()
        self.waited = set(waited)

    def __call__(self, id: str, state: str, why: str) -> bool:
        assert id in why
        if id not in self.waited:
            return False
        self.waited.remove(id)
        self.append((id, state))
        return True


class Executor:
    """The part of Snakemake's executor that is used here."""

    def __init__(self, *waited: str) -> None:
        self.lock = threading.Lock()
        self.active_jobs = [SimpleNamespace(external_jobid=id, aux={"slurm_logfile": Path("a.log")}) for id in waited]
        self.reported: list[tuple[str, str]] = []

    def report_job_success(self, job: SimpleNamespace) -> None:
        self.reported.append((job.external_jobid, "done"))

    def report_job_error(self, job: SimpleNamespace, msg: str, aux_logs: list[str]) -> None:
        self.reported.append((job.external_jobid, f"{msg}{aux_logs}"))


def workflow(*waited: str, command: str = "squeue", arrays: str | None = None) -> Any:
    settings = SimpleNamespace(status_command=command, array_jobs=arrays)
    return SimpleNamespace(scheduler=SimpleNamespace(_executor=Executor(*waited)), executor_settings=settings)


def queue(*jobs: tuple[str, str, str], folder: Path, reason: str = "None") -> str:
    """Lines of squeue for jobs (id, state, rule)."""
    return "".join(f"{id}|{state}|rule_{name}_wildcards_m|1:02|{reason}|{folder}\n" for id, state, name in jobs)
