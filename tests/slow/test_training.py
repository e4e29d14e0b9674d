"""LLaMA-Factory on the small model, ended in every way that a cluster has: the adapter is what it would have been."""

import json
import math
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from steps import wait_for

from errata.core.errors import UserError
from errata.core.processes import descendants
from errata.core.slurm_job import MARK
from errata.training import distributed, llamafactory, train
from errata.training.distributed import World
from errata.training.job_time import Deadline
from errata.training.train import Launch
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
            _, shown = step.communicate(timeout=600)
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
    _, shown = step.communicate(timeout=60)
    assert step.returncode == 143, shown
    assert "of 12; a checkpoint is kept in" in shown
    assert not training.left()

    step = training.start()
    wait_for(training.reached(8), 300)
    to_all(step.pid, signal.SIGKILL)
    _, shown = step.communicate(timeout=60)
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
    _, shown = step.communicate(timeout=120)
    assert step.returncode == 143, shown
    assert "of 4; a checkpoint is kept in" in shown
    assert "resuming after step" in training.finish()
    assert training.steps() == [1, 2, 3, 4]
    entries = [json.loads(line) for line in (training.output / "trainer_log.jsonl").read_text().splitlines()]
    assert entries[0]["loss"] == pytest.approx(math.log(2)), "at first the model is its own reference"
    assert entries[3]["loss"] < entries[0]["loss"]
    assert (training.output / "adapter_model.safetensors").stat().st_size > 10**6
    assert (training.output / "training_rewards_accuracies.png").stat().st_size > 1000


class When(Deadline):
    """The end of a job's time, which comes when something is so."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        super().__init__(float("inf"), 0)
        object.__setattr__(self, "condition", condition)

    def is_due(self, now: float, step_seconds: float = 0.0) -> bool:  # noqa: ARG002
        return bool(self.condition())  # type: ignore[attr-defined]


def test_two_processes_go_on_in_the_next_job_and_after_sigterm(
    new: Callable[[str], Training], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!/bin/sh\necho $@ >> {asked}\nkill -TERM $PPID\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv(MARK, "1")
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

    def run(deadline: Deadline | None = None) -> None:
        command = [str(training.python), *distributed.command(world, {})[1:]]
        variables = distributed.environment("ddp", world, on_cpu=True)
        launch = Launch(command, world, variables, deadline=deadline)
        train.train(configuration, training.base, training.dataset, training.work, training.output, launch)

    def ends() -> list[dict[str, Any]]:
        return [json.loads(line) for line in (training.work / "runs.jsonl").read_text().splitlines()]

    with pytest.raises(UserError, match="No progress in the time given"):
        run(When(training.left))  # type: ignore[arg-type]
    assert not asked.exists()
    with pytest.raises(SystemExit):
        run(When(training.reached(1)))
    assert asked.read_text() == "requeue 77\n"
    first = ends()[-1]["end"]
    assert first in (1, 2, 3)
    assert ends()[-1]["why"] == "deadline"

    def terminate() -> None:
        wait_for(training.reached(first + 1), 300)
        to_all(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    with pytest.raises(SystemExit) as ended:
        run()
    thread.join()
    assert ended.value.code == 143
    assert first < ends()[-1]["end"] < 6
    assert ends()[-1]["why"] == "terminated"
    assert not training.left()

    run()
    assert training.steps() == [1, 2, 3, 4, 5, 6]  # 12 rows, 2 at a time
    assert (training.output / "adapter_model.safetensors").stat().st_size > 10**6
    assert (training.output / "training_loss.png").stat().st_size > 1000
