"""Trainings that do not end in the job in which they began, by the real trainer."""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from lab import Lab, command, wait_until
from project import LONG, MODEL, Project

pytestmark = pytest.mark.slow

ADAPTER = f"{MODEL}/adapter/self"
STEPS = 32


def lengthen(project: Project, steps: int, more: str = "") -> None:
    path = project.folder / "config" / "config.yaml"
    text = path.read_text()
    assert "max_steps: 3\n" in text
    settings = f"max_steps: {steps}\n  save_steps: 4\n  logging_steps: 1\n  cutoff_len: 64\n"
    path.write_text(text.replace("max_steps: 3\n", settings).replace("batch_size: 2", "batch_size: 1") + more)


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


def took(project: Project, job: str) -> float:
    """Seconds of a job in the whole run, from which the project was copied."""
    lines = (project.folder / f"results/benchmarks/smollm2-135m/{job}.tsv").read_text().splitlines()
    return float(lines[1].split("\t")[0])


def trainers(project: Project | None = None) -> list[int]:
    """Processes that work in the work folder of a training, of one project or of all."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            folder = str((process / "cwd").readlink())
            if f"{MODEL}/checkpoints/self" in folder and (
                project is None or Path(folder).is_relative_to(project.folder)
            ):
                found.append(int(process.name))
    return found


def whole_log(project: Project, steps: int = STEPS) -> None:
    """Every step was logged once and in order, whichever job took it."""
    log = project.path("adapter/self/trainer_log.jsonl")
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["current_steps"] for entry in entries if "loss" in entry] == list(range(1, steps + 1))


def test_a_training_goes_on_after_requeue_preemption_and_the_failure_of_its_node(lab: Lab, copied: Project) -> None:
    lengthen(copied, STEPS)
    main = copied.start("--", ADAPTER, ERRATA_GPU_PARTITION="spot")
    job = running(lab)
    reaches(copied, 4)
    command("scontrol", "requeue", job)
    wait_until(lambda: lab.job(job)["Restarts"] == "1" and lab.job(job)["JobState"] == "RUNNING", 60)
    reached = step(copied)
    reaches(copied, reached + 4)
    assert resumed(copied) == reached

    node = lab.job(job)["NodeList"]
    # someone with more right to the node needs it
    urgent = command(
        "sbatch", "--parsable", "-p", "gpu", "-w", node, "--gpus=a100:8", "--output=/dev/null", "--wrap=true"
    ).strip()
    wait_until(lambda: lab.job(urgent)["JobState"] in ("RUNNING", "COMPLETED"), 60)
    wait_until(lambda: lab.job(job)["Restarts"] == "2" and lab.job(job)["JobState"] == "RUNNING", 60)
    # told by SIGTERM, it saved where it was
    reached = step(copied)
    reaches(copied, reached + 4)
    assert resumed(copied) == reached

    node = lab.job(job)["NodeList"]
    lab.kill_node(node)
    wait_until(lambda: lab.job(job)["Restarts"] == "3", 60)
    lab.start_node(node)
    assert main.wait(LONG) == 0, copied.log.read_text()[-6000:]
    assert lab.job(job)["Restarts"] == "3"
    # one job all the time: Snakemake submitted nothing anew
    assert [each["id"] for each in lab.jobs() if each["comment"].startswith("rule_train")][-1] == job
    whole_log(copied)


def test_a_training_longer_than_its_job_goes_on_in_the_next_by_itself(lab: Lab, copied: Project) -> None:
    """On two processes, by torchrun and gloo."""
    margin, begun = 30, 4
    lengthen(copied, STEPS, f"distributed: {{processes: 2, margin: {margin}}}\n")
    main = copied.start("--", ADAPTER, ERRATA_MAX_HOURS="0.051")
    job = running(lab)
    assert lab.job(job)["TimeLimit"] == "00:03:00"
    # three times what one process took for a few steps in the whole run, to be sure that some are made
    seconds = max(90, margin + 3 * took(copied, "train-self"))
    end = time.monotonic() + seconds
    command("scontrol", "update", f"jobid={job}", f"endtime=now+{seconds:.0f}seconds")
    reaches(copied, begun)
    # however fast this machine is, it does not finish before its time is nearly over
    for process in trainers(copied):
        os.kill(process, signal.SIGSTOP)
    time.sleep(max(0, end - margin + 1 - time.monotonic()))
    for process in trainers(copied):
        os.kill(process, signal.SIGCONT)
    wait_until(lambda: lab.job(job)["Restarts"] == "1", 180)
    reached = step(copied)
    assert begun <= reached < STEPS
    reaches(copied, reached + 4)
    assert resumed(copied) == reached
    assert main.wait(LONG) == 0, copied.log.read_text()[-6000:]
    assert lab.job(job)["JobState"] == "COMPLETED"
    whole_log(copied)
    assert "2 processes" in (copied.folder / "results/logs/smollm2-135m/train-self.log").read_text()


def test_a_training_on_two_nodes(lab: Lab, copied: Project) -> None:
    """Each of them with a launcher of its own; they find each other at the first node's address."""
    lengthen(copied, 6, "distributed: {processes: 1}\n")
    main = copied.start("--", ADAPTER, ERRATA_TRAIN_NODES="2")
    job = running(lab)
    assert lab.job(job)["NumNodes"] == "2"
    assert "gres/gpu=16" in lab.job(job)["TRES"]
    assert main.wait(LONG) == 0, copied.log.read_text()[-6000:]
    whole_log(copied, 6)
    assert lab.job(job)["Restarts"] == "0"


def test_trainers_leave_nothing_behind(lab: Lab) -> None:
    assert lab.jobs("RUNNING") == []
    assert trainers() == []
