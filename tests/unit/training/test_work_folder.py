"""The work folder: its lock, its checkpoints and logs, and what remains of an earlier run."""

import json
import multiprocessing
import time
from pathlib import Path

import pytest

from engines import wait_for
from errata.core.errors import UserError
from errata.training import trainer_checkpoints, trainer_log
from errata.training.distributed import World
from errata.training.runs import TrainingTime
from errata.training.work_folder import WorkFolder, fingerprint


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    path = tmp_path / "work"
    path.mkdir()
    return WorkFolder(path)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "sft" / "self.json"
    path.parent.mkdir()
    path.write_text(json.dumps([{"instruction": "a", "output": "b"}]))
    return path


# --- the lock


def hold(work: Path, ready: Path) -> None:
    with WorkFolder(work).lock():
        ready.touch()
        time.sleep(60)


def test_a_work_folder_has_one_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, ready = tmp_path / "work", tmp_path / "ready"
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    other = multiprocessing.get_context("fork").Process(target=hold, args=(work, ready))
    other.start()
    try:
        wait_for(ready.exists)
        with pytest.raises(UserError, match=rf"process {other.pid} on \S+, Slurm job 4711"), WorkFolder(work).lock():
            pass
    finally:
        other.kill()
        other.join()
    with WorkFolder(work).lock():
        pass


def test_a_finished_training_removes_its_lock(work: WorkFolder) -> None:
    with work.lock():
        work.delete()
        assert not work.path.exists()
        with work.lock():
            assert (work.path / "lock").exists()


# --- checkpoints


def make_checkpoint(folder: Path, step: int, leave_out: str = "") -> None:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        if name != leave_out:
            (path / name).touch()
    (path / "trainer_state.json").write_text('{"global' if leave_out == "state" else json.dumps({"global_step": step}))


def test_newest_checkpoint_is_the_newest_complete_one(tmp_path: Path) -> None:
    assert trainer_checkpoints.newest_checkpoint(tmp_path) is None
    make_checkpoint(tmp_path, 9)
    make_checkpoint(tmp_path, 20)
    make_checkpoint(tmp_path, 100, leave_out="optimizer.pt")
    make_checkpoint(tmp_path, 120, leave_out="state")
    make_checkpoint(tmp_path, 140, leave_out="rng_state.pth")
    newest = trainer_checkpoints.newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.step == 20
    assert [checkpoint.step for checkpoint in trainer_checkpoints.find_checkpoints(tmp_path)] == [9, 20, 100, 120, 140]


def test_sealed_checkpoint_has_all_files_in_their_sizes(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, 9, leave_out="rng_state.pth")
    checkpoint = trainer_checkpoints.find_checkpoints(tmp_path)[0]
    (checkpoint.path / "rng_state_0.pth").write_bytes(b"state")
    assert trainer_checkpoints.newest_checkpoint(tmp_path) is None, "the other process may still write"
    trainer_checkpoints.seal(checkpoint.path, 2)
    assert trainer_checkpoints.newest_checkpoint(tmp_path) == checkpoint
    assert trainer_checkpoints.count_processes(checkpoint) == 2
    (checkpoint.path / "rng_state_0.pth").write_bytes(b"")
    assert trainer_checkpoints.newest_checkpoint(tmp_path) is None, "a node lost its power"


# --- logs


def test_log_is_cut_to_the_checkpoint(tmp_path: Path) -> None:
    log = tmp_path / "trainer_log.jsonl"
    log.write_text("".join(json.dumps({"current_steps": step}) + "\n" for step in (2, 4, 6)) + '{"current')
    trainer_log.cut_log(log, 4)
    assert [json.loads(line)["current_steps"] for line in log.read_text().splitlines()] == [2, 4]
    trainer_log.cut_log(tmp_path / "none", 4)


def test_training_time_is_that_of_the_steps_of_the_last_run(work: WorkFolder) -> None:
    work.output.mkdir()
    lines = [(2, "0:05:00"), (4, "0:00:09"), (6, "1 day, 2:00:05")]
    text = "".join(f'{{"current_steps": {step}, "elapsed_time": "{elapsed}"}}\n' for step, elapsed in lines)
    work.steps_log.write_text(text)
    assert work.training_time(0) == TrainingTime(0.0), "it never came to a step"
    (work.path / "training").touch()
    assert work.training_time(2) == TrainingTime(26 * 3600.0 + 5, at_least=True)
    (work.path / "stopped.json").write_text('{"step": 6, "total": 8}')
    assert work.training_time(2) == TrainingTime(26 * 3600.0 + 5)
    assert work.training_time(6) == TrainingTime(0.0, at_least=True), "steps were made, but none is in the log"
    (work.output / "all_results.json").write_text('{"train_runtime": 77.125}')
    assert work.training_time(2, finished=True) == TrainingTime(77.125)


# --- preparing


def test_fingerprint_changes_with_what_is_trained(base: Path, dataset: Path) -> None:
    marks = {fingerprint({"lr": 1}, dataset, base), fingerprint({"lr": 2}, dataset, base)}
    assert fingerprint({"lr": 1}, dataset, base) in marks
    (base / "model.safetensors").write_text("other")
    marks.add(fingerprint({"lr": 1}, dataset, base))
    dataset.write_text("[{}]")
    marks.add(fingerprint({"lr": 1}, dataset, base))
    assert len(marks) == 4


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_the_trainer_finds_its_own_set_alone(base: Path, dataset: Path, work: WorkFolder, stage: str) -> None:
    work.prepare({"stage": stage}, base, dataset, World())
    ((name, entry),) = json.loads((work.path / "dataset_info.json").read_text()).items()
    assert name == dataset.stem
    assert Path(entry["file_name"]) == dataset.resolve()
    assert entry.get("ranking", False) == (stage == "dpo")


def test_checkpoints_of_another_number_of_gpus_are_kept(
    base: Path, dataset: Path, work: WorkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    four = World(per_node=4, gpus=4)
    work.prepare({"a": 1}, base, dataset, four)
    make_checkpoint(work.output, 9)
    trainer_checkpoints.seal(work.output / "checkpoint-9", 4)
    assert work.prepare({"a": 1}, base, dataset, four) == 9
    with pytest.raises(UserError, match="4 processes trained up to here and this job has 3"):
        work.prepare({"a": 1}, base, dataset, World(per_node=3, gpus=3))
    assert work.newest_step() == 9
    # the user set this number, and means it
    assert work.prepare({"a": 1}, base, dataset, World(per_node=3, gpus=4, configured=True)) == 0
    assert not trainer_checkpoints.find_checkpoints(work.output)
    assert "of 4 processes, and distributed.processes is now 3" in capsys.readouterr().err
