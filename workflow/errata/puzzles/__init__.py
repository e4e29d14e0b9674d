"""The committed puzzle set: made by a seeded generator, every answer proved by a solver.

A puzzle is kept as facts and rules, from which its text is written and from which a solver, knowing nothing of
how the puzzle came about, derives the truth of every option. A question stays only if exactly one option is
proved and all the others are refuted.
"""

import argparse
import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import NamedTuple

from errata.core.errors import UserError
from errata.core.files import write_jsonl, write_text
from errata.puzzles.baselines import baselines
from errata.puzzles.mistakes import Correction, Item, items, spoil
from errata.puzzles.splits import split


class PuzzleSet(NamedTuple):
    """`train` and `test` as they are filed; `corrections` mend the mistakes in `train`."""

    train: list[Item]
    test: list[Item]
    corrections: list[Correction]


def make(seed: int, train: int, test: int) -> PuzzleSet:
    """Make a set of that many training and test problems; the same arguments give the same set."""
    rng = Random(seed)
    seen: set[str] = set()
    right = items("train", split(rng, train, seen))
    held_out = items("test", split(rng, test, seen))
    filed, corrections = spoil(rng, right)
    return PuzzleSet(filed, held_out, corrections)


def as_csv(corrections: Sequence[Correction]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Correction.__dataclass_fields__)
    writer.writerows(asdict(one).values() for one in corrections)
    return text.getvalue()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=Path("data/puzzles"), help="folder of the files")
    parser.add_argument("--seed", type=int, default=7, help="same seed, same files (default: %(default)s)")
    parser.add_argument("--train", type=int, default=150, help="training problems (default: %(default)s)")
    parser.add_argument("--test", type=int, default=102, help="test problems (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Write train.jsonl, test.jsonl and corrections.csv; print counts and baselines as Markdown tables."""
    if min(arguments.train, arguments.test) < 1:
        raise UserError("--train and --test: at least 1 problem each.")
    made = make(arguments.seed, arguments.train, arguments.test)
    scores = []
    for name, filed in (("train", made.train), ("test", made.test)):
        records = [item.record() for item in filed]
        write_jsonl(arguments.output / f"{name}.jsonl", records)
        scores.append(baselines(records))
        questions = sum(len(record["questions"]) for record in records)
        print(f"{name}.jsonl: {len(records)} problems, {questions} questions")
    write_text(arguments.output / "corrections.csv", as_csv(made.corrections))
    print(f"corrections.csv: {len(made.corrections)} corrections\n\n| baseline | train | test |\n|---|---|---|")
    for (name, train), test in zip(scores[0].items(), scores[1].values(), strict=True):
        print(f"| {name} | {train:.1%} | {test:.1%} |")
