import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import trainers
from errata.core.errors import UserError
from errata.core.slurm_job import MARK
from errata.training import train, work_folder
from errata.training.job_time import Deadline, job_deadline
from errata.training.runs import FAILED, KILLS, TERMINATED, Runs, Spent, alone
from trainers import fake_launch

JOB = {MARK: "1", "SLURM_JOB_ID": "77", "SLURM_JOB_END_TIME": "10000"}


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_") or name == MARK]:
        monkeypatch.delenv(name)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of a Slurm whose scontrol notes what it is asked, then sends the job SIGTERM as a requeue does."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "scontrol").write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/asked\n'
        f"if [ -e {folder}/refuses ]; then echo 'Requested operation is presently disabled' >&2; exit 1; fi\n"
        "kill -TERM $PPID\n"
    )
    (folder / "squeue").write_text(f"#!/bin/sh\ncat {folder}/end\n")
    for name in ("scontrol", "squeue"):
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv(MARK, "1")
    return folder


def test_end_of_the_job_by_slurms_variables() -> None:
    assert job_deadline({}, None, 0) is None, "no job"
    assert job_deadline({**JOB, MARK: ""}, None, 100) is None, "a user's own job, which is not to be requeued"
    assert job_deadline(JOB, None, 100) == Deadline(10000, 180)
    assert job_deadline({**JOB, "SLURM_JOB_START_TIME": "9000"}, None, 9500) == Deadline(10000, 100)
    assert job_deadline(JOB, 7, 100) == Deadline(10000, 7)
    assert job_deadline({**JOB, "SLURM_JOB_END_TIME": str(400 * 86400)}, None, 0) is None, "Slurm's word for no limit"


@pytest.mark.parametrize(("answer", "known"), [("2030-01-02T03:04:05", True), ("N/A", False), ("", False)])
def test_end_of_the_job_by_squeue(slurm: Path, answer: str, known: bool) -> None:
    (slurm / "end").write_text(f"{answer}\n")
    end = time.mktime((2030, 1, 2, 3, 4, 5, 0, 0, -1))
    found = job_deadline(os.environ, 5, end - 1000)
    assert found == (Deadline(end, 5) if known else None)


def test_slow_steps_need_a_larger_margin() -> None:
    deadline = Deadline(1000, 100)
    assert not deadline.due(899)
    assert deadline.due(900)
    assert deadline.due(850, pace=80)
    assert not deadline.due(839, pace=80)


def test_killed_again_and_again_at_the_same_step(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    for _ in range(KILLS):
        Runs(path).begin(20)
    with pytest.raises(UserError, match=rf"{KILLS} runs in a row started after step 20(.|\n)*delete {path}"):
        Runs(path).begin(20)
    Runs(path).begin(30)  # a checkpoint was saved meanwhile
    for _ in range(5):
        runs = Runs(path)
        runs.begin(30)
        runs.end(30, FAILED, Spent(1.0))  # it said why: the user has seen it
    assert [json.loads(line)["why"] for line in path.read_text().splitlines()] == [""] * 4 + ["failed"] * 5


def test_runs_add_up_and_what_is_not_known_of_them_is_said(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    assert Runs(path).spent == Spent(0.0, at_least=True)
    for start, spent in ((0, Spent(20.0)), (2, Spent(30.5))):
        runs = Runs(path)
        runs.begin(start)
        runs.end(start + 2, TERMINATED, spent)
    assert Runs(path).spent == Spent(50.5)
    Runs(path).begin(4)
    assert Runs(path).spent == Spent(50.5, at_least=True), "nobody has said yet what it spent"
    Runs(path).settle(lambda start: Spent(3.0 + start, at_least=True))
    Runs(path).settle(lambda _: Spent(99.0))  # it is known: by now the log may be cut
    assert Runs(path).spent == Spent(57.5, at_least=True)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[1])
    assert Runs(path).spent == Spent(30.5, at_least=True), "the line of the first run was deleted"
    path.write_text('{"start": 0, "end": 3, "why": "finished"}\n')
    assert Runs(path).spent == Spent(0.0, at_least=True), "an earlier version did not note it"


def hold(work: str, ready: str) -> None:
    with alone(Path(work)):
        Path(ready).touch()
        time.sleep(60)


def test_a_work_folder_has_one_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, ready = tmp_path / "work", tmp_path / "ready"
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    other = multiprocessing.get_context("fork").Process(target=hold, args=(str(work), str(ready)))
    other.start()
    try:
        wait_for(ready.exists)
        with pytest.raises(UserError, match=rf"process {other.pid} on \S+, Slurm job 4711"), alone(work):
            pass
    finally:
        other.kill()
        other.join()
    with alone(work):
        pass


def test_a_finished_training_takes_its_lock_along(tmp_path: Path) -> None:
    work = tmp_path / "work"
    with alone(work):
        (work / "lock").unlink()
        work.rmdir()
        with alone(work):
            assert (work / "lock").exists()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Training:
    """A training by the made-up trainer, whose step runs here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work, self.output = folder / "work", folder / "adapter"
        self.base, self.dataset = folder / "base", folder / "self.json"
        self.base.mkdir()
        for path in (self.base / "model.safetensors", self.dataset):
            path.write_text("x")

    def run(self, grace: float = 5.0, deadline: Deadline | None = None, continuations: int = 20) -> None:
        launch = fake_launch(self.folder, grace=grace, deadline=deadline, continuations=continuations)
        train.train({"a": 1}, self.base, self.dataset, self.work, self.output, launch)

    def steps(self) -> int:
        return max((point.step for point in work_folder.checkpoints(self.work / "output")), default=0)

    def ends(self) -> list[tuple[int, int, str]]:
        rows = map(json.loads, (self.work / "runs.jsonl").read_text().splitlines())
        return [(row["start"], row["end"], row["why"]) for row in rows]


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def signalled(when: Callable[[], object], *later: float) -> threading.Thread:
    """SIGTERM to this process when something is so, and once more after each of some seconds."""

    def act() -> None:
        wait_for(when)
        os.kill(os.getpid(), signal.SIGTERM)
        for seconds in later:
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_sigterm_saves_a_checkpoint_and_the_next_run_goes_on(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HANG_AFTER", "2")
    # the second one comes with the first, from the shell that started the step
    thread = signalled(lambda: training.steps() == 2, 0.01)
    with pytest.raises(SystemExit) as ended:
        training.run()
    thread.join()
    assert ended.value.code == 143
    assert f"stopped at step 2 of 3; a checkpoint is kept in {training.work}, the next run" in capsys.readouterr().err
    assert training.ends() == [(0, 2, "terminated")]
    training.run()
    assert (training.output / "adapter_model.safetensors").exists()
    assert not training.work.exists()


def test_the_finished_adapter_says_how_long_all_its_runs_took(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as the trainer does it: its clock starts anew in every process
    clock = '"elapsed_time": f"0:00:{10 * (step - max(done, default=0))}"'
    monkeypatch.setattr(trainers, "TRAINER", trainers.TRAINER.replace('"remaining_time": "0:00:01"', clock))
    monkeypatch.setenv("STEPS", "4")
    monkeypatch.setenv("HANG_AFTER", "2")
    thread = signalled(lambda: training.steps() == 2)
    with pytest.raises(SystemExit):
        training.run()
    thread.join()
    assert Runs(training.work / "runs.jsonl").spent == Spent(20.0), "it stopped in order: all is known"
    # the next one is killed outright, after a line of the log and before a checkpoint
    Runs(training.work / "runs.jsonl").begin(2)
    (training.work / "stopped.json").unlink()
    with (training.work / "output" / "trainer_log.jsonl").open("a") as log:
        log.write('{"current_steps": 3, "elapsed_time": "0:00:07"}\n{"current_st')
    monkeypatch.setenv("HANG_AFTER", "3")
    monkeypatch.setenv("LOADING", "60")
    log_of_all = training.work / "train.log"
    thread = signalled(lambda: log_of_all.exists() and "resumed from 2" in log_of_all.read_text())
    with pytest.raises(SystemExit):
        training.run(grace=0.3)
    thread.join()
    monkeypatch.delenv("LOADING")
    monkeypatch.delenv("HANG_AFTER")
    training.run()
    runs = [json.loads(line) for line in (training.output / "runs.jsonl").read_text().splitlines()]
    told = [(row["why"], row["seconds"], row["at_least"]) for row in runs]
    assert told == [
        ("terminated", 20.0, False),
        ("", 7.0, True),
        ("terminated", 0.0, False),  # it was still loading the model
        ("finished", 20.0, False),
    ]
    assert Runs(training.output / "runs.jsonl").spent == Spent(47.0, at_least=True)


@pytest.mark.parametrize("where", ["loading", "deaf"])
def test_sigterm_ends_what_does_not_stop_by_itself(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    if where == "loading":
        monkeypatch.setenv("LOADING", "60")
        thread = signalled((training.work / "output").exists)
    else:
        monkeypatch.setenv("DEAF", "1")
        monkeypatch.setenv("HANG_AFTER", "1")
        thread = signalled(lambda: training.steps() == 1)
    begun = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        training.run(grace=0.3)
    thread.join()
    assert ended.value.code == 143
    assert time.monotonic() - begun < 5
    assert "stopped before a checkpoint could be saved; the next run goes on" in capsys.readouterr().err
    assert training.ends() == [(0, 0 if where == "loading" else 1, "terminated")]


def test_end_of_the_jobs_time_goes_on_in_the_next_job(
    training: Training, slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    soon = Deadline(time.time() + 100.5, 100)
    monkeypatch.setenv("HANG_AFTER", "2")
    with pytest.raises(SystemExit) as ended:
        training.run(deadline=soon)
    assert ended.value.code == 143
    assert (slurm / "asked").read_text() == "requeue 77\n"
    assert training.ends() == [(0, 2, "deadline")]
    assert "job 77 is requeued and goes on after step 2 (1 of 20)" in capsys.readouterr().err
    # no time at all: no step is made, and nothing is requeued
    monkeypatch.setenv("LOADING", "60")
    with pytest.raises(UserError, match=r"No progress in the time given(.|\n)*`runtime` of rule train"):
        training.run(deadline=soon)
    monkeypatch.delenv("LOADING")
    monkeypatch.setenv("STEPS", "4")
    monkeypatch.setenv("HANG_AFTER", "3")
    with pytest.raises(UserError, match=r"went on in 2 jobs \(distributed.continuations\)"):
        training.run(deadline=soon, continuations=2)
    assert training.ends()[1:] == [(2, 2, "deadline"), (2, 3, "deadline")]
    assert (slurm / "asked").read_text() == "requeue 77\n"


def test_a_users_own_job_is_never_requeued(training: Training, slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MARK)
    monkeypatch.setenv("HANG_AFTER", "1")
    with pytest.raises(UserError, match=r"The job's time is over\. The next run goes on after step 1"):
        training.run(deadline=Deadline(time.time() + 100, 100))
    assert not (slurm / "asked").exists()


def test_slurm_that_does_not_requeue(training: Training, slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (slurm / "refuses").touch()
    monkeypatch.setenv("HANG_AFTER", "1")
    with pytest.raises(UserError, match=r"operation is presently disabled\). The next run goes on after step 1"):
        training.run(deadline=Deadline(time.time() + 100, 100))
