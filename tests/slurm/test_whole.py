"""The whole pipeline, every rule a Slurm job of its own, with the profile as it is committed."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from lab import Lab
from project import MODEL, Project

from helpers import read_jsonl

pytestmark = pytest.mark.slow

# What Snakemake runs itself, where it runs.
LOCAL = {"all", "environment", "fix", "leaks", "fetch_gguf", "merge_questions", "training_set", "dataset_info"}
LOCAL |= {"base_answers", "score", "submission", "report"}


def rule_of(submitted: str) -> str:
    match = re.search(r"--comment rule_(\w+?)_wildcards_", submitted)
    assert match, submitted
    return match[1]


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_every_rule_that_is_not_small_is_a_job_of_its_own_and_asks_what_the_profile_says(whole: Project) -> None:
    rows = list(csv.DictReader(whole.accounted.splitlines(), delimiter="|", quoting=csv.QUOTE_NONE))
    rows = [row for row in rows if row["WorkDir"] == str(whole.folder)]
    assert {row["State"] for row in rows} == {"COMPLETED"}
    jobs = [rule_of(row["SubmitLine"]) for row in rows]
    done = re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", whole.log.read_text())
    assert sorted(jobs) == sorted(name for name in done if name not in LOCAL)
    by_rule = dict(zip(jobs, rows, strict=True))
    assert "gres/gpu:a100=8" in by_rule["train"]["ReqTRES"]
    assert "mem=600000M" in by_rule["train"]["ReqTRES"]
    assert "cpu=128" in by_rule["train"]["ReqTRES"]
    assert "node=1" in by_rule["train"]["ReqTRES"]
    assert "gres/gpu:a100=3" in by_rule["quantize"]["ReqTRES"]
    assert by_rule["merge_lora"]["Partition"] == "cpu"
    # llama.cpp serves on the CPU here
    assert "gpu" not in by_rule["answer"]["ReqTRES"]
    assert by_rule["answer"]["Partition"] == "cpu"


def test_the_results_are_those_of_this_machine_without_slurm(whole: Project, pipeline: Path) -> None:
    """One request at a time, so that nothing depends on which of them share a batch."""
    for name in ["answers/train", "answers/test"]:
        ours = read_jsonl(whole.folder / MODEL / f"{name}.jsonl")
        assert without_times(ours) == without_times(read_jsonl(pipeline / MODEL / f"{name}.jsonl")), name
    for name in ["retries/self.jsonl", "sft/self.json", "calibration/self.json"]:
        assert (whole.folder / MODEL / name).read_text() == (pipeline / MODEL / name).read_text(), name
    losses = [
        [json.loads(line).get("loss") for line in (folder / MODEL / "adapter/self/trainer_log.jsonl").open()]
        for folder in (whole.folder, pipeline)
    ]
    assert losses[0] == losses[1]


def test_what_the_run_cost_is_told_at_its_end(whole: Project) -> None:
    shown = whole.log.read_text()
    table = shown[shown.index("GPU hours of this run, by accounting:") :].splitlines()[1:]
    assert re.split(r"\s{2,}", table[0]) == ["rule", "jobs", "ended well", "GPU h asked", "GPU h used"]
    rows = {cells[0]: cells[1:] for cells in (re.split(r"\s{2,}", line.strip()) for line in table[1:4])}
    # 8 GPUs for up to a day
    assert rows["train"][:3] == ["1", "1", "192.00"]
    assert 0 < float(rows["train"][3]) < 1
    assert rows["quantize"][:3] == ["2", "2", "72.00"]
    assert rows["in all"][:3] == ["3", "3", "264.00"]


def test_afterwards_no_job_is_left_and_nothing_is_to_be_done(whole: Project, lab: Lab) -> None:
    assert lab.jobs("PENDING", "RUNNING") == []
    assert "Nothing to be done" in whole.run("-n")
