"""A training that must stop, by a signal or because its job's time ends: it saves a checkpoint and goes on later."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engines import wait_for
from errata.core.errors import UserError
from errata.core.slurm_job import MARK
from errata.training.job_time import Deadline
from errata.training.runs import RunHistory, TrainingTime
from fake_trainer import FakeTraining


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_") or name == MARK]:
        monkeypatch.delenv(name)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of a Slurm whose scontrol records its arguments in `calls`, then sends SIGTERM as a requeue does.

    It refuses while there is a file `refuses`.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "scontrol").write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/calls\n'
        f"if [ -e {folder}/refuses ]; then echo 'Requested operation is presently disabled' >&2; exit 1; fi\n"
        "kill -TERM $PPID\n"
    )
    (folder / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv(MARK, "1")
    return folder


@pytest.fixture
def training(tmp_path: Path) -> FakeTraining:
    return FakeTraining(tmp_path)


def send_sigterm(when: Callable[[], object], *later: float) -> threading.Thread:
    """Send SIGTERM to this process when a condition holds, and again after each of some seconds."""

    def act() -> None:
        try:
            wait_for(when)
        finally:
            # also after a failure: else the step, and the test with it, would run forever
            os.kill(os.getpid(), signal.SIGTERM)
        for seconds in later:
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_sigterm_saves_a_checkpoint_and_the_next_run_goes_on(
    training: FakeTraining, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HANG_AFTER", "2")
    # the second signal comes together with the first, from the shell that started the step
    thread = send_sigterm(lambda: training.newest() == 2, 0.01)
    with pytest.raises(SystemExit) as ended:
        training.run(grace=5.0)
    thread.join()
    assert ended.value.code == 143
    assert f"stopped at step 2 of 3; a checkpoint is kept in {training.work}, the next run" in capsys.readouterr().err
    assert training.ends() == [(0, 2, "terminated")]
    training.run()
    assert (training.output / "adapter_model.safetensors").exists()
    assert not training.work.exists()


def test_the_finished_adapter_says_how_long_all_its_runs_took(
    training: FakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as in the real trainer, whose clock starts at 0 in every process
    clock = '"elapsed_time": f"0:00:{10 * (step - max(done, default=0))}"'
    training.trainer = training.trainer.replace('"remaining_time": "0:00:01"', clock)
    monkeypatch.setenv("STEPS", "4")
    monkeypatch.setenv("HANG_AFTER", "2")
    thread = send_sigterm(lambda: training.newest() == 2)
    with pytest.raises(SystemExit):
        training.run(grace=5.0)
    thread.join()
    history = training.work / "runs.jsonl"
    assert RunHistory(history).training_time == TrainingTime(20.0), "it stopped on request: its time is known"
    # the next run is killed after an entry of the log and before a checkpoint
    RunHistory(history).begin(2)
    (training.work / "stopped.json").unlink()
    with (training.work / "output" / "trainer_log.jsonl").open("a") as log:
        log.write('{"current_steps": 3, "elapsed_time": "0:00:07"}\n{"current_st')
    monkeypatch.setenv("HANG_AFTER", "3")
    monkeypatch.setenv("LOADING", "60")
    printed = training.work / "train.log"
    thread = send_sigterm(lambda: printed.exists() and "resumed from 2" in printed.read_text())
    with pytest.raises(SystemExit):
        training.run(grace=0.3)
    thread.join()
    monkeypatch.delenv("LOADING")
    monkeypatch.delenv("HANG_AFTER")
    training.run()
    assert [(run["why"], run["seconds"], run["at_least"]) for run in training.runs()] == [
        ("terminated", 20.0, False),
        ("", 7.0, True),
        ("terminated", 0.0, False),  # it was still loading the model
        ("finished", 20.0, False),
    ]
    assert RunHistory(training.output / "runs.jsonl").training_time == TrainingTime(47.0, at_least=True)


@pytest.mark.parametrize("where", ["loading", "deaf"])
def test_sigterm_ends_a_trainer_that_does_not_stop_by_itself(
    training: FakeTraining, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    if where == "loading":
        monkeypatch.setenv("LOADING", "60")
        thread = send_sigterm((training.work / "output").exists)
    else:
        monkeypatch.setenv("DEAF", "1")
        monkeypatch.setenv("HANG_AFTER", "1")
        thread = send_sigterm(lambda: training.newest() == 1)
    begun = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        training.run(grace=0.3)
    thread.join()
    assert ended.value.code == 143
    # it neither loads for 60 s nor waits forever; a busy machine may take some seconds for the start
    assert time.monotonic() - begun < 55
    assert "stopped before a checkpoint could be saved; the next run goes on" in capsys.readouterr().err
    assert training.ends() == [(0, 0 if where == "loading" else 1, "terminated")]


def test_after_the_end_of_the_jobs_time_it_goes_on_in_the_next_job(
    training: FakeTraining, slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    soon = Deadline(time.time() + 100.5, 100)
    monkeypatch.setenv("HANG_AFTER", "2")
    with pytest.raises(SystemExit) as ended:
        training.run(grace=5.0, deadline=soon)
    assert ended.value.code == 143
    assert (slurm / "calls").read_text() == "requeue 77\n"
    assert training.ends() == [(0, 2, "deadline")]
    assert "job 77 is requeued and goes on after step 2 (1 of 20)" in capsys.readouterr().err
    # without a step in the given time, nothing is requeued
    monkeypatch.setenv("LOADING", "60")
    with pytest.raises(UserError, match=r"No progress in the time given(.|\n)*`runtime` of rule train"):
        training.run(grace=5.0, deadline=soon)
    monkeypatch.delenv("LOADING")
    monkeypatch.setenv("STEPS", "4")
    monkeypatch.setenv("HANG_AFTER", "3")
    with pytest.raises(UserError, match=r"went on in 2 jobs \(distributed.continuations\)"):
        training.run(grace=5.0, deadline=soon, continuations=2)
    assert training.ends()[1:] == [(2, 2, "deadline"), (2, 3, "deadline")]
    assert (slurm / "calls").read_text() == "requeue 77\n"


def test_a_users_own_job_is_never_requeued(
    training: FakeTraining, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MARK)
    monkeypatch.setenv("HANG_AFTER", "1")
    with pytest.raises(UserError, match=r"The job's time is over\. The next run goes on after step 1"):
        training.run(deadline=Deadline(time.time() + 100, 100))
    assert not (slurm / "calls").exists()


def test_slurm_that_refuses_to_requeue(training: FakeTraining, slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (slurm / "refuses").touch()
    monkeypatch.setenv("HANG_AFTER", "1")
    with pytest.raises(UserError, match=r"operation is presently disabled\). The next run goes on after step 1"):
        training.run(grace=5.0, deadline=Deadline(time.time() + 100, 100))
