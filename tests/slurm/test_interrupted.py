"""Trainings that do not end in the job in which they began, by the real trainer."""

import json
import time
from pathlib import Path

import pytest
from lab import Lab, command, wait_until
from project import MODEL, Project

pytestmark = pytest.mark.slow

ADAPTER = f"{MODEL}/adapter/self"
STEPS = 40


@pytest.fixture
def training(copied: Project) -> Project:
    """The whole run with a longer training in its configuration, which is to be made."""
    lengthen(copied, STEPS)
    return copied


def lengthen(project: Project, steps: int, more: str = "") -> None:
    path = project.folder / "config" / "config.yaml"
    text = path.read_text()
    assert "max_steps: 3\n" in text
    path.write_text(text.replace("max_steps: 3\n", f"max_steps: {steps}\n  save_steps: 4\n  logging_steps: 1\n") + more)


def step(project: Project) -> int:
    """The step of the newest checkpoint that is complete; 0 if there is none."""
    found = project.path("checkpoints/self/output").glob("checkpoint-*/trainer_state.json")
    return max((int(path.parent.name.removeprefix("checkpoint-")) for path in found), default=0)


def running(lab: Lab) -> str:
    """The one job that runs."""
    wait_until(lambda: len(lab.jobs("RUNNING")) == 1, 60)
    return lab.jobs("RUNNING")[0]["id"]


def reaches(project: Project, number: int, seconds: float = 120) -> None:
    wait_until(lambda: step(project) >= number, seconds)


def resumed(project: Project) -> int:
    """After which step the training of the newest job went on."""
    log = project.folder / "results/logs/smollm2-135m/train-self.log"
    lines = [line for line in log.read_text().splitlines() if "resuming after step" in line]
    return int(lines[-1].rpartition(" ")[2]) if lines else 0


def whole_log(project: Project, steps: int = STEPS) -> None:
    """Every step was logged once and in order, whichever job took it."""
    log = project.path("adapter/self/trainer_log.jsonl")
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["current_steps"] for entry in entries if "loss" in entry] == list(range(1, steps + 1))


def test_a_training_goes_on_after_requeue_preemption_and_the_failure_of_its_node(lab: Lab, training: Project) -> None:
    main = training.start("--", ADAPTER, ERRATA_GPU_PARTITION="spot")
    job = running(lab)
    reaches(training, 4)
    command("scontrol", "requeue", job)
    wait_until(lambda: lab.job(job)["Restarts"] == "1" and lab.job(job)["JobState"] == "RUNNING", 60)
    reached = step(training)
    reaches(training, reached + 4)
    assert resumed(training) == reached

    # someone with more right to the node needs it
    urgent = command("sbatch", "--parsable", "-p", "gpu", "-w", "gpu1", "--gpus=a100:8", "--wrap", "sleep 2").strip()
    wait_until(lambda: lab.job(urgent)["JobState"] in ("RUNNING", "COMPLETED"), 60)
    wait_until(lambda: lab.job(job)["Restarts"] == "2" and lab.job(job)["JobState"] == "RUNNING", 60)
    # told by SIGTERM, it saved where it was
    reached = step(training)
    reaches(training, reached + 4)
    assert resumed(training) == reached

    lab.kill_node("gpu1")
    wait_until(lambda: lab.job(job)["JobState"] == "PENDING", 60)
    lab.start_node("gpu1")
    assert main.wait(240) == 0, training.log.read_text()[-6000:]
    assert lab.job(job)["Restarts"] == "3"
    # one job all the time: Snakemake submitted nothing anew
    assert len(lab.jobs()) == int(job) + 1 - int(lab.jobs()[0]["id"])
    whole_log(training)


def test_a_training_longer_than_its_job_goes_on_in_the_next_by_itself(lab: Lab, training: Project) -> None:
    """On two processes, by torchrun and gloo."""
    path = training.folder / "config" / "config.yaml"
    path.write_text(path.read_text().replace("max_steps: 40", "max_steps: 120") + "distributed: {processes: 2}\n")
    main = training.start("--", ADAPTER, ERRATA_MAX_HOURS="0.017")
    job = running(lab)
    assert lab.job(job)["TimeLimit"] == "00:01:00"
    began = time.monotonic()
    assert main.wait(420) == 0, training.log.read_text()[-6000:]
    assert int(lab.job(job)["Restarts"]) >= 1
    assert lab.job(job)["JobState"] == "COMPLETED"
    assert time.monotonic() - began > 60
    whole_log(training, 120)
    assert "2 processes" in (training.folder / "results/logs/smollm2-135m/train-self.log").read_text()


def test_trainers_leave_nothing_behind(lab: Lab) -> None:
    assert lab.jobs("RUNNING") == []
    trainers = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"errata.trainer" in (process / "cmdline").read_bytes():
                trainers.append(process.name)
        except OSError:
            continue
    assert trainers == []
