"""The hooks before the first job of a run on Slurm, and after its last."""

import json
import os
import socket
import threading
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from errata.cluster import recover, slurm, usage
from errata.cluster.hooks import Hooks, settle
from errata.core.errors import UserError
from errata.core.slurm_job import own_slurm_job
from slurms import Prints, queue, with_accounting, workflow


def test_jobs_of_a_killed_run_are_reported_and_nothing_is_submitted(
    hooks: Hooks, tmp_path: Path, prints: Prints
) -> None:
    prints("squeue", queue(("7", "RUNNING", "train"), ("8", "FAILED", "answer"), folder=tmp_path))
    with pytest.raises(UserError, match=r"1 jobs of an earlier run are not done: 7 \(train, running for 1:02\)"):
        hooks.before("slurm", workflow())
    hooks.before("local", workflow())
    assert own_slurm_job({**os.environ, "SLURM_JOB_ID": "7"}) is None


def test_the_executor_learns_how_to_look(hooks: Hooks, prints: Prints, monkeypatch: pytest.MonkeyPatch) -> None:
    with_accounting(prints, monkeypatch, age=100)
    run = workflow()
    hooks.before("slurm", run)
    hooks.stop()
    assert run.executor_settings.status_command == "sacct"
    with pytest.raises(UserError, match="Leave --slurm-array-jobs out"):
        hooks.before("slurm", workflow(arrays="answer"))
    with_accounting(prints, monkeypatch)
    run = workflow(arrays="answer")
    hooks.before("slurm", run)
    hooks.stop()
    assert run.executor_settings.status_command == slurm.SQUEUE_ALWAYS


def test_a_run_marks_the_folder_as_long_as_it_lasts(hooks: Hooks, tmp_path: Path, prints: Prints) -> None:
    prints("squeue", "")
    hooks.before("slurm", workflow())
    [path] = recover.marks(tmp_path)
    mark = json.loads(path.read_text())
    assert (mark["host"], mark["pid"]) == (socket.gethostname(), os.getpid())
    assert recover.running_snakemake(tmp_path) is None
    hooks.after("slurm", [])
    assert not path.exists()


def test_a_machine_without_slurm_is_reported(hooks: Hooks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"scontrol: not found\. Run this where jobs are submitted"):
        hooks.before("slurm", workflow())


def test_snakemake_learns_how_a_job_ended_once_and_only_if_it_waits_for_it() -> None:
    run = workflow("7", "8", "9")
    assert settle(run, "7", "COMPLETED", "7 ended.")
    assert settle(run, "8", "PREEMPTED", "8 is lost.")
    assert not settle(run, "7", "COMPLETED", "7 ended.")
    executor = run.scheduler._executor
    assert executor.reported == [("7", "done"), ("8", "8 is lost. ['a.log']")]
    assert [job.external_jobid for job in executor.active_jobs] == ["9"]


def finished(folder: Path, **resources: Any) -> Any:
    """A job that Snakemake measured."""
    benchmark = folder / "benchmark.tsv"
    benchmark.write_text("s\th:m:s\n3600\t1:00:00\n")
    return SimpleNamespace(benchmark=benchmark, rule=SimpleNamespace(name="train"), resources=resources)


def test_without_accounting_gpu_hours_are_those_of_the_jobs_that_ended_well(
    hooks: Hooks, tmp_path: Path, prints: Prints, capsys: pytest.CaptureFixture[str]
) -> None:
    prints("squeue", "")
    jobs = [finished(tmp_path, gpu=8, runtime=120), finished(tmp_path, gres="gpu:a100:8", nodes=2, runtime=120)]
    hooks.after("slurm", jobs)
    shown = capsys.readouterr().err
    assert "of jobs that ended well; accounting knows nothing of the others:" in shown
    assert shown.splitlines()[-1].split() == ["in", "all", "2", "2", "48.00", "24.00"]


def test_accounting_that_fails_is_reported_and_is_no_reason_to_fail(
    hooks: Hooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> list[usage.Use]:
        raise UserError('sacct: Invalid field requested: "SubmitLine"')

    monkeypatch.setattr(usage, "read_accounting", fail)
    hooks.after("slurm", [finished(tmp_path, gpu=1, runtime=60)])
    shown = capsys.readouterr().err
    assert 'accounting of the others failed: sacct: Invalid field requested: "SubmitLine"' in shown
    assert "train" in shown
    hooks.after("slurm", [SimpleNamespace(benchmark=tmp_path / "benchmark.tsv")])
    assert "at the end of the run: " in capsys.readouterr().err


def test_where_the_logs_of_array_tasks_are_is_printed(
    hooks: Hooks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / ".snakemake/slurm_logs/rule_answer/55_1.log"
    log.parent.mkdir(parents=True)
    log.touch()
    hooks.after("slurm", [])
    assert f"Logs of array tasks, JOB_TASK.log each: {log.parent}" in capsys.readouterr().err
    Hooks(tmp_path, datetime(2100, 1, 1)).after("slurm", [])
    assert "array" not in capsys.readouterr().err


def test_jobs_are_marked_as_ours_before_they_are_submitted(hooks: Hooks, prints: Prints) -> None:
    prints("squeue", "")
    job = {"SLURM_JOB_ID": "7"}
    assert own_slurm_job({**os.environ, **job}) is None
    hooks.before("slurm", workflow())
    # sbatch gives a job the environment of the process that submits it
    assert own_slurm_job({**os.environ, **job}) == "7"


def test_the_watch_ends_with_the_run(hooks: Hooks, prints: Prints) -> None:
    prints("squeue", "")
    hooks.before("slurm", workflow())
    assert "errata-watch" in {thread.name for thread in threading.enumerate()}
    hooks.after("slurm", [])
    assert "errata-watch" not in {thread.name for thread in threading.enumerate()}
