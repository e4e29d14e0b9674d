"""What the jobs of the original recipe ask of Slurm, as the controller understood it."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab import Lab, command, wait_until
from project import LONG, Project

from helpers import REPOSITORY

pytestmark = pytest.mark.slow

MODEL = "results/llama3.1-70b"
# As if made: what the jobs below need, each file empty, each folder with something in it.
MADE = [
    *(f".envs/{name}.ok" for name in ("serve-cuda", "train-cuda", "quantize-cuda", "serve-cpu")),
    *(f"results/data/{split}.jsonl" for split in ("train", "test")),
    *(f"{MODEL}/{name}" for name in ("answers/train.jsonl", "answers/train.summary.json", "retries/self.jsonl")),
    *(f"{MODEL}/{name}" for name in ("sft/self.json", "sft/dataset_info.json", "calibration/self.json")),
    *(f"{MODEL}/{name}/x" for name in ("base/checkpoint", "adapter/self", "tuned/self", "quantized/self-3bit")),
]
SERVING = {"gpus": "h200:1", "nodes": "1", "cpus": 8, "mem": 200_000, "partition": "gpu"}
ASKED = {
    "answer": {**SERVING, "minutes": 240},
    "retry": {**SERVING, "minutes": 480},
    "answer_variant": {**SERVING, "minutes": 240},
    "train": {"gpus": "a100:8", "nodes": "1", "cpus": 128, "mem": 600_000, "partition": "gpu", "minutes": 1440},
    "merge_lora": {"gpus": "", "nodes": "1", "cpus": 16, "mem": 320_000, "partition": "cpu", "minutes": 240},
    "quantize": {"gpus": "a100:3", "nodes": "1", "cpus": 32, "mem": 320_000, "partition": "gpu", "minutes": 720},
}
TARGETS = {
    "answer": f"{MODEL}/answers/test.jsonl",
    "retry": f"{MODEL}/retries/self.jsonl",
    "answer_variant": f"{MODEL}/scores/self-3bit/test.jsonl",
    "train": f"{MODEL}/adapter/self",
    "merge_lora": f"{MODEL}/tuned/self",
    "quantize": f"{MODEL}/quantized/self-4bit",
}


@pytest.fixture
def closed(lab: Lab) -> Iterator[Lab]:
    """Every node is closed: jobs are taken, and wait."""
    names = ",".join(node.name for node in lab.nodes)
    command("scontrol", "update", f"nodename={names}", "state=drain", "reason=test")
    yield lab
    command("scancel", "--full", "--user=root")
    command("scontrol", "update", f"nodename={names}", "state=resume")


def asked(lab: Lab, number: str) -> dict[str, object]:
    """What a job asks for, in the words of the table above."""
    job = lab.job(number)
    limit = job["TimeLimit"].partition("-")
    hours = (int(limit[0]) * 24 if limit[1] else 0) + int((limit[2] or limit[0]).split(":")[0])
    return {
        "gpus": job.get("TresPerJob", "").removeprefix("gres:gpu:").removeprefix("gres/gpu:"),
        "nodes": job["NumNodes"].partition("-")[0],
        "cpus": int(job["CPUs/Task"]),
        "mem": _mib(job["MinMemoryNode"]),
        "partition": job["Partition"],
        "minutes": 60 * hours,
    }


def _mib(size: str) -> int:
    return int(float(size[:-1]) * {"M": 1, "G": 1024}[size[-1]])


def pretend(project: Project) -> None:
    """Make as if all that these jobs need were made, and only that."""
    (project.folder / ".envs").unlink()
    for name in MADE:
        path = project.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def submitted(lab: Lab, project: Project, name: str, **variables: str) -> dict[str, object]:
    """Submit the job of this rule alone, see what it asks for, and interrupt Snakemake as with Ctrl-C."""
    main = project.start("--force", "--allowed-rules", name, "--", TARGETS[name], **variables)
    wait_until(lambda: lab.jobs("PENDING") or main.poll() is not None, 60)
    assert main.poll() is None, project.log.read_text()[-6000:]
    [job] = lab.jobs("PENDING")
    assert job["comment"].startswith(f"rule_{name}_wildcards_")
    result = asked(lab, job["id"])
    main.send_signal(signal.SIGINT)
    main.wait(LONG)
    assert not lab.jobs("PENDING", "RUNNING"), "Ctrl-C cancels what was submitted"
    return result


def test_every_job_of_the_recipe_asks_for_what_the_profile_says(
    closed: Lab, new_project: Callable[[Path], Project]
) -> None:
    project = new_project(REPOSITORY / "config" / "llama3.1-70b.yaml")
    pretend(project)
    assert {name: submitted(closed, project, name) for name in ASKED} == ASKED


def test_a_site_sets_its_own_without_editing_the_profile(closed: Lab, new_project: Callable[[Path], Project]) -> None:
    project = new_project(REPOSITORY / "config" / "llama3.1-70b.yaml")
    pretend(project)
    site = {"ERRATA_GPU_PARTITION": "spot", "ERRATA_SERVE_GPU": "a100", "ERRATA_SERVE_MEM_MB": "100000"}
    site |= {"ERRATA_ACCOUNT": "lab", "ERRATA_MAX_HOURS": "4"}
    changed = {"gpus": "a100:1", "partition": "spot", "mem": 100_000, "minutes": 240}
    assert submitted(closed, project, "retry", **site) == {**ASKED["retry"], **changed}
    assert closed.job(closed.jobs()[-1]["id"])["Account"] == "lab"
