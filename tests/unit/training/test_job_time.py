"""When a Slurm job ends, and when a training must stop before that."""

import os
import time
from pathlib import Path

import pytest

from errata.core.slurm_job import MARK
from errata.training.job_time import Deadline, job_deadline

JOB = {MARK: "1", "SLURM_JOB_ID": "77", "SLURM_JOB_END_TIME": "10000"}


def test_end_of_the_job_by_slurms_variables() -> None:
    assert job_deadline({}, None, 0) is None, "no job"
    assert job_deadline({**JOB, MARK: ""}, None, 100) is None, "a user's own job, which must not be requeued"
    assert job_deadline(JOB, None, 100) == Deadline(10000, 180)
    assert job_deadline({**JOB, "SLURM_JOB_START_TIME": "9000"}, None, 9500) == Deadline(10000, 100)
    assert job_deadline(JOB, 7, 100) == Deadline(10000, 7)
    assert job_deadline({**JOB, "SLURM_JOB_END_TIME": str(400 * 86400)}, None, 0) is None, "Slurm's form of no limit"


@pytest.mark.parametrize(("answer", "known"), [("2030-01-02T03:04:05", True), ("N/A", False), ("", False)])
def test_end_of_the_job_by_squeue(tmp_path: Path, answer: str, known: bool) -> None:
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text(f"#!/bin/sh\necho '{answer}'\n")
    squeue.chmod(0o755)
    environ = {"PATH": f"{squeue.parent}:{os.environ['PATH']}", "SLURM_JOB_ID": "77", MARK: "1"}
    end = time.mktime((2030, 1, 2, 3, 4, 5, 0, 0, -1))
    assert job_deadline(environ, 5, end - 1000) == (Deadline(end, 5) if known else None)


def test_slow_steps_need_a_larger_margin() -> None:
    deadline = Deadline(1000, 100)
    assert not deadline.is_due(899)
    assert deadline.is_due(900)
    assert deadline.is_due(850, step_seconds=80)
    assert not deadline.is_due(839, step_seconds=80)
