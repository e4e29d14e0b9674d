"""Step gather-folds: join the answers to all folds; each question was answered by a model trained without it."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from errata.asking.gather import all_questions, merge
from errata.core.files import write_json
from errata.data.summaries import Costs, Summary, read_summary

SummaryT = TypeVar("SummaryT", bound=Summary)
_COSTS = (
    *("prompt_tokens", "cached_tokens", "completion_tokens", "wall_seconds", "server_seconds"),
    *("requests", "cancelled"),
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
        Faults: a question is missing, is in two folds, or is not in the data.
        UserError: a file cannot be read.
    """
    summary = add_folds([read_summary(path) for path in arguments.summaries])
    merge(all_questions(arguments.data), arguments.parts, arguments.output)
    write_json(arguments.summary, summary.to_record())


def add_folds(summaries: Sequence[SummaryT]) -> SummaryT:
    """Add up counts, tokens and seconds: the models of the folds are asked one after another.

    A sum is None where one of its figures is not known, a text where the folds differ.
    """
    first = summaries[0]
    totals = {name: _add([getattr(summary, name, None) for summary in summaries]) for name in first.figures()}
    costs = {name: _add([getattr(summary.costs, name) for summary in summaries]) for name in _COSTS}
    return replace(first, **totals, costs=Costs(**costs, of_folds=True))  # type: ignore[type-var] # a dataclass


def _add(values: Sequence[Any]) -> Any:
    if None in values:
        return None
    if isinstance(values[0], str):
        return values[0] if values.count(values[0]) == len(values) else None
    return sum(values)
