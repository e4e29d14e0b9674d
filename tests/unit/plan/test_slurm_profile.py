"""The Slurm profile: the requests of every rule, and the variables of a site."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
import yte
from dry_runs import LAPTOP, LLAMA_JOBS

from helpers import REPOSITORY


def slurm_profile(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, Any]:
    """The Slurm profile as Snakemake reads it on a site that sets these variables."""
    for name in [name for name in os.environ if name.startswith("ERRATA_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(f"ERRATA_{name}", value)
    with (REPOSITORY / "profiles" / "slurm" / "config.yaml").open(encoding="utf-8") as file:
        profile: dict[str, Any] = yte.process_yaml(file, require_use_yte=True)
    return profile


def on(rule: dict[str, Any], environment: str = ".envs/serve-cuda.ok", attempt: int = 1) -> dict[str, Any]:
    """A rule's resources, evaluated as Snakemake does it."""
    names = {"input": SimpleNamespace(environment=environment), "attempt": attempt}
    return {name: eval(value, dict(names)) if isinstance(value, str) else value for name, value in rule.items()}


SERVERS = ("answer", "retry", "answer_variant", "sample")


def test_the_slurm_profile_gives_every_heavy_rule_its_gpus_on_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = slurm_profile(monkeypatch)
    asked = {rule: on(resources) for rule, resources in profile["set-resources"].items()}
    gpus = {rule: (each.get("gpu"), each["gpu_model"]) for rule, each in asked.items() if "gpu_model" in each}
    # the number of GPUs of a server follows from the configuration
    assert gpus == {**dict.fromkeys(SERVERS, (None, "h200")), "train": (8, "a100"), "quantize": (3, "a100")}
    # without it Slurm may spread a job's GPUs over nodes
    assert profile["default-resources"]["nodes"] == 1
    assert all(each.get("nodes", 1) == 1 and "gres" not in each and "constraint" not in each for each in asked.values())
    assert {each["slurm_partition"] for rule, each in asked.items() if rule != "merge_lora"} == {"gpu"}
    # a rule that was renamed would silently lose what it needs
    for section in ("set-resources", "set-threads"):
        assert profile[section].keys() <= LAPTOP.keys() | LLAMA_JOBS.keys() | {"sample"}


def test_a_job_that_asks_an_endpoint_takes_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for rule in SERVERS:
        asked = on(slurm_profile(monkeypatch)["set-resources"][rule], ".envs/serve-cpu.ok")
        assert (asked["slurm_partition"], asked["gpu_model"], asked["mem_mb"]) == ("cpu", "", 16_000)


def test_a_sites_own_names_and_limits_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    site = {"GPU_PARTITION": "open", "CPU_PARTITION": "max", "ACCOUNT": "id", "SERVE_GPU": "A100", "TRAIN_GPU": "any"}
    site |= {"MAX_HOURS": "0.5", "NODE_MEM_MB": "20000", "TRAIN_GPUS": "4", "GPU_CONSTRAINT": "a100&nvlink"}
    profile = slurm_profile(monkeypatch, **site, SERVE_MEM_MB="", TRAIN_NODES=" ")
    rules = profile["set-resources"]
    asked = {rule: on(resources, attempt=2) for rule, resources in rules.items()}
    others = on(profile["default-resources"], attempt=2)
    assert (others["slurm_partition"], others["slurm_account"]) == ("max", "id")
    assert {each["runtime"] for each in (others, *asked.values())} == {30}
    assert {each["mem_mb"] for each in (others, *asked.values())} == {20_000}
    for rule in (*SERVERS, "train", "quantize"):
        assert (asked[rule]["slurm_partition"], asked[rule]["constraint"]) == ("open", "a100&nvlink")
    assert (asked["answer"]["gpu_model"], asked["train"]["gpu_model"], asked["train"]["gpu"]) == ("A100", "", 4)
    assert profile["set-threads"]["train"] == 64
    spread = slurm_profile(monkeypatch, **site, TRAIN_NODES="2")["set-resources"]["train"]
    assert (spread["nodes"], spread["gres"]) == (2, "gpu:4")
    assert "gpu" not in spread
    assert slurm_profile(monkeypatch, TRAIN_NODES="2")["set-resources"]["train"]["gres"] == "gpu:a100:8"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_HOURS", "24:00:00"),
        ("MAX_HOURS", "inf"),
        ("TRAIN_GPUS", "0"),
        ("TRAIN_GPUS", "4.0"),
        ("SERVE_MEM_MB", "200G"),
        ("SERVE_GPU", "nvidia_a100-sxm4-80gb"),
        ("GPU_PARTITION", "a b"),
    ],
)
def test_an_impossible_value_of_a_site_is_reported_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(SystemExit, match=rf"ERRATA_{name}={value}: has to be "):
        slurm_profile(monkeypatch, **{name: value})
