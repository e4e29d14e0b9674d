"""LLaMA-Factory on the small model, ended in every way that a cluster has: the adapter is what it would have been."""

import json
import math
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from steps import wait_for

from errata.core.processes import descendants
from errata.training import distributed, llamafactory, train
from errata.training.distributed import World
from errata.training.launch import Launch
from helpers import REPOSITORY

pytestmark = pytest.mark.slow

SETTINGS = {
    "quantization_bit": None,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 1,
    "cutoff_len": 64,
    "val_size": 0,
    "logging_steps": 1,
    "save_steps": 5,
    "lora_dropout": 0.1,  # random numbers, which go on where they were
    "learning_rate": 5e-4,
}


class Training:
    """A training in a folder of its own, by the command line."""

    def __init__(self, python: Path, base: Path, dataset: Path, folder: Path) -> None:
        self.python, self.base, self.dataset, self.stage = python, base, dataset, "sft"
        self.work, self.output = folder / "work", folder / "adapter"

    def start(self) -> "subprocess.Popen[str]":
        flags = ["--base", self.base, "--dataset", self.dataset, "--template", "smollm2"]
        flags += ["--stage", self.stage]
        flags += ["--settings", json.dumps(SETTINGS), "--work", self.work, "--output", self.output]
        command = [self.python, "-m", "errata", "train", *flags]
        return subprocess.Popen(map(str, command), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)

    def prefer(self, pairs: Path) -> "Training":
        """Train on pairs."""
        self.dataset, self.stage = pairs, "dpo"
        return self

    def finish(self) -> str:
        with self.start() as step:
            _, shown = step.communicate(timeout=1800)
        assert step.returncode == 0, shown
        return shown

    def steps(self) -> list[int]:
        """Those that are in the log, once each as it should be."""
        log = (self.work if self.work.exists() else self.output) / ("output" if self.work.exists() else "")
        try:
            entries = [json.loads(line) for line in (log / "trainer_log.jsonl").read_text().splitlines()]
        except (OSError, ValueError):
            return []
        return [entry["current_steps"] for entry in entries if "loss" in entry]

    def reached(self, number: int) -> Callable[[], bool]:
        return lambda: max(self.steps(), default=0) >= number

    def left(self) -> list[Path]:
        """Processes that still run in the work folder."""
        folders = [path for path in Path("/proc").glob("[0-9]*/cwd") if os.access(path, os.R_OK)]
        return [path for path in folders if path.resolve() == self.work]


@pytest.fixture
def new(
    environment: Callable[[str], Path], base_checkpoint: Path, dataset: Path, tmp_path: Path
) -> Callable[[str], Training]:
    python = environment("train-cpu")
    return lambda name: Training(python, base_checkpoint, dataset, tmp_path / name)


def to_all(process: int, signum: signal.Signals) -> None:
    """As Slurm does: to every process, whatever its session."""
    for each in [process, *descendants(process)]:
        os.kill(each, signum)


def test_terminated_then_killed_a_training_ends_as_if_nothing_had_been(new: Callable[[str], Training]) -> None:
    whole = new("whole")
    whole.finish()
    training = new("broken")
    step = training.start()
    wait_for(training.reached(2), 300)
    to_all(step.pid, signal.SIGTERM)
    _, shown = step.communicate(timeout=300)
    assert step.returncode == 143, shown
    assert "of 12; a checkpoint is kept in" in shown
    assert not training.left()

    step = training.start()
    wait_for(training.reached(8), 300)
    to_all(step.pid, signal.SIGKILL)
    _, shown = step.communicate(timeout=300)
    # it was the step after which the trainer had stopped, not one of save_steps
    assert any(f"resuming after step {number}" in shown for number in (2, 3, 4)), shown
    wait_for(lambda: not training.left(), 10)

    shown = training.finish()
    assert "resuming after step 5" in shown
    assert training.steps() == list(range(1, 13))
    weights = "adapter_model.safetensors"
    assert (training.output / weights).read_bytes() == (whole.output / weights).read_bytes()


def test_pairs_are_trained_on_and_terminated_as_well(new: Callable[[str], Training], tmp_path: Path) -> None:
    pairs = tmp_path / "dpo.json"
    row = {"input": "", "chosen": "The answer is A", "rejected": "The answer is B"}
    asked = [f"Ann is {20 + age}, Bob is {age}. Who is older?" for age in range(4)]
    pairs.write_text(json.dumps([{"instruction": each, **row} for each in asked]))
    training = new("pairs").prefer(pairs)
    step = training.start()
    wait_for(training.reached(1), 300)
    to_all(step.pid, signal.SIGTERM)
    _, shown = step.communicate(timeout=300)
    assert step.returncode == 143, shown
    assert "of 4; a checkpoint is kept in" in shown
    assert "resuming after step" in training.finish()
    assert training.steps() == [1, 2, 3, 4]
    entries = [json.loads(line) for line in (training.output / "trainer_log.jsonl").read_text().splitlines()]
    assert entries[0]["loss"] == pytest.approx(math.log(2)), "at first the model is its own reference"
    assert entries[3]["loss"] < entries[0]["loss"]
    assert (training.output / "adapter_model.safetensors").stat().st_size > 10**6
    assert (training.output / "training_rewards_accuracies.png").stat().st_size > 1000


def test_two_processes_go_on_after_sigterm(new: Callable[[str], Training]) -> None:
    """The end of a job's time, with two processes too, is shown in tests/slurm."""
    training, world = new("two"), World(per_node=2, configured=True)
    configuration = llamafactory.configure(
        # processes that load data get Slurm's SIGTERM as well
        {**SETTINGS, "dataloader_num_workers": 1},
        base=training.base,
        dataset=training.dataset,
        rows=12,
        template="smollm2",
        stage="sft",
        seed=1,
        trust_remote_code=False,
        hardware={
            **{"use_cpu": True, "dataloader_pin_memory": False},
            **distributed.settings("ddp", {}, world, on_cpu=True),
        },
    )

    def run() -> None:
        command = [str(training.python), *distributed.command(world, {})[1:]]
        variables = distributed.environment("ddp", world, on_cpu=True)
        launch = Launch(command, world, variables)
        train.train(configuration, training.base, training.dataset, training.work, training.output, launch)

    def terminate() -> None:
        wait_for(training.reached(2), 300)
        to_all(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    with pytest.raises(SystemExit) as ended:
        run()
    thread.join()
    assert ended.value.code == 143
    end = json.loads((training.work / "runs.jsonl").read_text().splitlines()[-1])
    assert 2 <= end["end"] < 6
    assert end["why"] == "terminated"
    assert not training.left()

    run()
    assert training.steps() == [1, 2, 3, 4, 5, 6]  # 12 rows, 2 at a time
    assert (training.output / "adapter_model.safetensors").stat().st_size > 10**6
    assert (training.output / "training_loss.png").stat().st_size > 1000
