"""Step leaks: problems that occur word for word in both splits."""

import argparse
import csv
import sys
from pathlib import Path

from errata.core.files import atomic_file, read_jsonl
from errata.data.records import Problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--train", type=Path, required=True, help="results/data/train.jsonl")
    parser.add_argument("--test", type=Path, required=True, help="results/data/test.jsonl")
    parser.add_argument("--output", type=Path, required=True, help="CSV: train_id, test_id")


def run(arguments: argparse.Namespace) -> None:
    """Write the pairs of equal problems. Scores still count all problems; training sets leave these out."""
    train = ids_by_text(arguments.train)
    pairs = [
        (train_id, test_id)
        for text, test_ids in ids_by_text(arguments.test).items()
        for test_id in test_ids
        for train_id in train.get(text, [])
    ]
    with atomic_file(arguments.output) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("train_id", "test_id"))
        writer.writerows(pairs)
    for train_id, test_id in pairs:
        print(f"warning: leak: problem {test_id!r} of test is problem {train_id!r} of train", file=sys.stderr)


def ids_by_text(path: Path) -> dict[str, list[str]]:
    """Problem ids by problem text; a run of white space counts as one space.

    Raises:
        UserError: the file cannot be read.
    """
    ids: dict[str, list[str]] = {}
    for record in read_jsonl(path):
        problem = Problem.from_record(record)
        ids.setdefault(" ".join(problem.text.split()), []).append(problem.id)
    return ids
