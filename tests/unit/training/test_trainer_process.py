"""The callback in the trainer's process: it stops all processes at the end of a step, with a sealed checkpoint."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from errata.training import trainer_checkpoints
from errata.training.trainer_process import CheckpointCallback
from errata.training.work_folder import Stop, WorkFolder


class Others:
    """The other processes of a training; one of them may have to stop."""

    count = 2

    def __init__(self, stopping: bool = False) -> None:
        self.stopping = stopping

    def any(self, flag: bool) -> bool:
        return flag or self.stopping

    def wait(self) -> None:
        pass


def end_step(callback: CheckpointCallback, work: Path, number: int) -> SimpleNamespace:
    """Act as the trainer at the end of a step after which it would not save by itself."""
    control = SimpleNamespace(should_save=False, should_log=False, should_evaluate=True)
    state = SimpleNamespace(global_step=number, max_steps=5, is_world_process_zero=True)
    arguments = SimpleNamespace(output_dir=str(work))
    callback.on_step_end(arguments, state, control)
    if control.should_save:
        checkpoint = work / f"checkpoint-{number}"
        checkpoint.mkdir()
        (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": number}))
        callback.on_save(arguments, state, control)
    return control


@pytest.mark.parametrize("how", ["file", "other process"])
def test_all_processes_stop_at_the_end_of_a_step(tmp_path: Path, how: str) -> None:
    others, work = Others(), WorkFolder(tmp_path)
    callback = CheckpointCallback(work, others)
    assert end_step(callback, tmp_path, 1).should_evaluate, "no stop is requested"
    if how == "file":
        work.stop_file.touch()
    else:
        others.stopping = True
    with pytest.raises(SystemExit) as ended:
        end_step(callback, tmp_path, 2)
    assert ended.value.code == 0
    assert work.find_stop() == Stop(2, 5)
    newest = trainer_checkpoints.newest_checkpoint(tmp_path)
    assert newest is not None
    assert trainer_checkpoints.count_processes(newest) == 2


def test_the_last_step_is_finished(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    work.stop_file.touch()
    assert not end_step(CheckpointCallback(work, Others()), tmp_path, 5).should_save
