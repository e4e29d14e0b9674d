"""Where every file is that a rule makes or reads: the only module that knows the folders of results/ and .envs/.

A pattern has Snakemake's wildcards in braces; `str.format` fills them. All these paths are relative to the working
directory.
"""

import os
from pathlib import Path

from errata.config.variants import BASE, Variant
from errata.core.places import REPOSITORY

RESULTS = "results"

# The questions
DATA = "results/data/{split}.jsonl"
CHANGES = "results/data/{split}.changes.csv"
TRAIN_DATA, TEST_DATA = DATA.format(split="train"), DATA.format(split="test")
LEAKS = "results/data/leaks.csv"
FOLD = "results/data/fold{fold}.jsonl"

# The base model
GGUF = "results/{model}/base/model.gguf"
CHECKPOINT = "results/{model}/base/checkpoint"

# Answers: of the base model, and of what is scored. `summary` gives the file beside each.
ANSWERS = "results/{model}/answers/{split}.jsonl"
MERGED = "results/{model}/merged/{split}.jsonl"
RETRIES = "results/{model}/retries/{strategy}.jsonl"
SAMPLES = "results/{model}/samples/{variant}/{split}.jsonl"
SCORED_ANSWERS = "results/{model}/scores/{variant}/{split}.jsonl"
# Base models are answered for once; their scores have copies.
BASE_COPIES = "results/{model}/scores/base/{split}.jsonl"
FOLDED_ANSWERS = "results/{model}/scores/{variant}/folds.jsonl"
VOTED_ANSWERS = "results/{model}/scores/{variant}+maj{votes}/{split}.jsonl"
SCORE = "results/{model}/scores/{variant}/{split}.json"
SUBMISSION = "results/{model}/submission/{variant}/{split}.jsonl"
# What an asking job keeps for itself; `{job}` is its name.
JOURNAL = "results/{model}/journal/{job}.jsonl"
SERVER_LOG = "results/logs/{model}/{job}.server.log"

# Training
TRAINING_SET = "results/{model}/sft/{strategy}.json"
DATASET_INFO = "results/{model}/sft/dataset_info.json"
ADAPTER = "results/{model}/adapter/{strategy}"
LOSS = "results/{model}/loss/{strategy}.png"
# Checkpoints of an unfinished training: outside the outputs, which Snakemake deletes when a job fails.
WORK = "results/{model}/checkpoints/{strategy}"
TUNED = "results/{model}/tuned/{strategy}"

# Quantizing and serving
CALIBRATION = "results/{model}/calibration/{strategy}.json"
QUANTIZED = "results/{model}/quantized/{strategy}-{bits}bit"
DEQUANTIZED = "results/{model}/dequantized/{strategy}-{bits}bit"
SERVED = "results/{model}/served/{variant}.gguf"

# The results of a run
LEADERBOARD = "results/leaderboard.csv"
REPORT = "results/report.html"
ABLATION = "results/ablation.csv"
BASELINES = "results/baselines.csv"
BUNDLE = "results/bundle/errata.tar"
BENCHMARKS = "results/benchmarks"

# The workflow's own files, which `own` finds from any working directory
LOCK = "envs/{environment}.txt"
# What this workflow writes in the working directory beside its results.
PRIVATE = Path(".snakemake", "errata")


def summary(answers: str) -> str:
    """The summary beside a file of answers, retries or samples."""
    return f"{answers.removesuffix('.jsonl')}.summary.json"


def markdown(table: str) -> str:
    """The table for people beside a CSV file."""
    return f"{table.removesuffix('.csv')}.md"


def log(job: str) -> str:
    """The log of a rule's jobs.

    Args:
        job: the rule's name and wildcards, in the folder of the model.
    """
    return f"results/logs/{job}.log"


def benchmark(job: str) -> str:
    """Snakemake's measurements of a rule's jobs."""
    return f"{BENCHMARKS}/{job}.tsv"


def ready(environment: str) -> str:
    """The flag file of an environment, which says that it is built."""
    return f".envs/{environment}.ok"


def prefix(environment: str) -> str:
    """The folder of an environment."""
    return f".envs/{environment}"


def python(environment: str) -> str:
    """The Python of an environment."""
    return f"{prefix(environment)}/bin/python"


def checkpoint(model: str, variant: str = BASE) -> str:
    """The full checkpoint of a variant: the base, a tuned or a quantized one."""
    if variant == BASE:
        return CHECKPOINT.format(model=model)
    bits = Variant.parse(variant).bits
    return f"results/{model}/{'quantized' if bits else 'tuned'}/{variant}"


def dequantized(model: str, variant: str) -> str:
    """The plain checkpoint made of a quantized one."""
    return f"results/{model}/dequantized/{variant}"


def part(path: str, shards: int) -> str:
    """The file for one part of the questions, in the same folder; its number is the wildcard `{part}`."""
    folder, name = os.path.split(path)
    stem, _, suffix = name.partition(".")
    return f"{folder}/{stem}.{{part}}-of-{shards}.{suffix}"


def in_parts(path: str) -> str:
    """The same file in the folder of results that are still to be gathered."""
    folder, name = os.path.split(path)
    return f"{folder}/parts/{name}"


def own(path: str) -> str:
    """The path by which the rules name a file of the workflow itself.

    In the project's folder the path is relative. Elsewhere it goes through a link (see `link_workflow`), since an
    absolute path could contain blanks, quotes or braces, which commands and patterns of rules do not quote.
    """
    return path if _at_home() else str(PRIVATE / "workflow" / path)


def link_workflow() -> None:
    """Make the link through which `own` leads, unless the working directory is the project's folder."""
    link = PRIVATE / "workflow"
    if _at_home() or (link.is_symlink() and link.readlink() == REPOSITORY):
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f"workflow.{os.getpid()}")
    fresh.symlink_to(REPOSITORY)
    # in one step: another run may be reading through it
    fresh.replace(link)


def _at_home() -> bool:
    return Path.cwd().samefile(REPOSITORY)
