"""Step gather-folds: the answers to all folds together, each question answered by a model trained without it."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from errata.asking.gather import all_questions, merge
from errata.core.files import read_json, write_json

# What adds up. Of the rest only what is the same text in all folds means something for them together.
_ADDED = (
    *("questions", "correct", "unreadable", "truncated", "failed", "reused"),
    *("prompt_tokens", "cached_tokens", "completion_tokens", "wall_seconds", "server_seconds"),
    *("requests", "cancelled"),
    # of votes
    *("samples", "labelled_samples", "right_samples"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="results/data/train.jsonl")
    parser.add_argument("--parts", type=Path, nargs="+", required=True, metavar="FILE", help="answers, one file a fold")
    parser.add_argument("--summaries", type=Path, nargs="+", required=True, metavar="FILE", help="in the same order")
    parser.add_argument("--output", type=Path, required=True, help="one line a question, in the order of the data")
    parser.add_argument("--summary", type=Path, required=True, help="JSON: what the folds counted, added up")


def run(arguments: argparse.Namespace) -> None:
    """Write the lines of all folds, unchanged.

    Raises:
        Faults: a question is missing, stands in two folds, or is none of the data.
        UserError: a file cannot be read.
    """
    summary = added([read_json(path) for path in arguments.summaries])
    merge(all_questions(arguments.data), arguments.parts, arguments.output)
    write_json(arguments.summary, summary)


def added(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts, tokens and seconds added up: the models of the folds are asked one after another.

    A sum is null where one of them is not known.
    """
    total: dict[str, Any] = {}
    for name, value in summaries[0].items():
        values = [summary.get(name) for summary in summaries]
        if name in _ADDED:
            known = [each for each in values if each is not None]
            total[name] = sum(known) if len(known) == len(values) else None
        elif isinstance(value, str) and values == [value] * len(values):
            total[name] = value
    return total
