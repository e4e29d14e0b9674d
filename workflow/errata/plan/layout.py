"""The paths of all files that rules make or read: the folders of results/ and .envs/ are named here.

Patterns contain Snakemake's wildcards in braces; `str.format` fills them. All paths are relative to the working
directory.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from errata.config.variants import BASE, Variant
from errata.core.places import REPOSITORY

# The questions
DATA = "results/data/{split}.jsonl"
CHANGES = "results/data/{split}.changes.csv"
TRAIN_DATA, TEST_DATA = DATA.format(split="train"), DATA.format(split="test")
LEAKS = "results/data/leaks.csv"
FOLD = "results/data/fold{fold}.jsonl"

# The base model
GGUF = "results/{model}/base/model.gguf"
CHECKPOINT = "results/{model}/base/checkpoint"

# Answers of the base model, and of every variant that is scored. `summary` gives the file beside each.
ANSWERS = "results/{model}/answers/{split}.jsonl"
MERGED = "results/{model}/merged/{split}.jsonl"
RETRIES = "results/{model}/retries/{strategy}.jsonl"
SAMPLES = "results/{model}/samples/{variant}/{split}.jsonl"
SCORED_ANSWERS = "results/{model}/scores/{variant}/{split}.jsonl"
# A base model is asked once. Its answers are copied to where they are scored.
BASE_COPIES = "results/{model}/scores/base/{split}.jsonl"
FOLDED_ANSWERS = "results/{model}/scores/{variant}/folds.jsonl"
VOTED_ANSWERS = "results/{model}/scores/{variant}+maj{votes}/{split}.jsonl"
SCORE = "results/{model}/scores/{variant}/{split}.json"
SUBMISSION = "results/{model}/submission/{variant}/{split}.jsonl"
# Private files of an asking job; `{job}` is its name.
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

# A file of the workflow itself; `own` finds it from any working directory.
LOCK = "envs/{environment}.txt"
# The folder for all other files that the workflow writes into the working directory.
PRIVATE = Path(".snakemake", "errata")


class Results(NamedTuple):
    """A folder of results, which a step by hand may read from another place than results/."""

    folder: Path

    def path(self, pattern: str, **wildcards: str) -> Path:
        """The file of a pattern."""
        return self.folder / pattern.removeprefix("results/").format(**wildcards)

    def find(self, pattern: str, **wildcards: str) -> Iterable[Path]:
        """The files of a pattern; a wildcard may be `*`."""
        return self.folder.glob(pattern.removeprefix("results/").format(**wildcards))


class ModelResults(NamedTuple):
    """The part of a folder of results that belongs to one model."""

    results: Results
    model: str

    def path(self, pattern: str, **wildcards: str) -> Path:
        """The file of a pattern with the wildcard `{model}`."""
        return self.results.path(pattern, model=self.model, **wildcards)


def summary(answers: str) -> str:
    """The summary beside a file of answers, retries or samples."""
    return f"{answers.removesuffix('.jsonl')}.summary.json"


def markdown(table: str) -> str:
    """The table for people beside a CSV file."""
    return f"{table.removesuffix('.csv')}.md"


def log(job: str) -> str:
    """The log of a rule's jobs.

    Args:
        job: the rule's name and wildcards; jobs of a model are in a folder with its name.
    """
    return f"results/logs/{job}.log"


def benchmark(job: str) -> str:
    """Snakemake's measurements of a rule's jobs; `job` as in `log`."""
    return f"{BENCHMARKS}/{job}.tsv"


def ready(environment: str) -> str:
    """The flag file of an environment. It exists once the environment is built."""
    return f".envs/{environment}.ok"


def prefix(environment: str) -> str:
    """The folder of an environment."""
    return f".envs/{environment}"


def python(environment: str) -> str:
    """The Python of an environment."""
    return f"{prefix(environment)}/bin/python"


def checkpoint(model: str, variant: str = BASE) -> str:
    """The full checkpoint of a variant: the base, a tuned or a quantized one."""
    parsed = Variant.parse(variant)
    pattern = CHECKPOINT if variant == BASE else QUANTIZED if parsed.bits else TUNED
    return pattern.format(model=model, strategy=parsed.strategy, bits=parsed.bits)


def dequantized(model: str, variant: str) -> str:
    """The plain checkpoint that is made from a quantized variant."""
    parsed = Variant.parse(variant)
    return DEQUANTIZED.format(model=model, strategy=parsed.strategy, bits=parsed.bits)


def part(path: str, shards: int) -> str:
    """The file for one part of the questions, in the same folder; its number is the wildcard `{part}`."""
    folder, name = os.path.split(path)
    stem, _, suffix = name.partition(".")
    return f"{folder}/{stem}.{{part}}-of-{shards}.{suffix}"


def in_parts(path: str) -> str:
    """The same file in the subfolder for parts, which are gathered later."""
    folder, name = os.path.split(path)
    return f"{folder}/parts/{name}"


def own(path: str) -> str:
    """The path by which the rules name a file of the workflow itself.

    In the project's folder the path is relative. Elsewhere it goes through a link (see `link_workflow`), since an
    absolute path could contain blanks, quotes or braces, which commands and patterns of rules do not quote.
    """
    return path if _at_home() else str(PRIVATE / "workflow" / path)


def link_workflow() -> None:
    """Make the link that `own` uses, unless the working directory is the project's folder."""
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
