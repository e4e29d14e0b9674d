"""Step puzzles: generate the committed puzzle set from a seed.

A puzzle consists of facts and rules. Its text is written from them, and a solver, which does not know how the puzzle
was made, derives from them whether each option is true. A question is kept only if exactly one option is proved and
all others are refuted.
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
from errata.puzzles.baselines import score_baselines
from errata.puzzles.mistakes import Correction, Item, add_mistakes, make_items
from errata.puzzles.splits import make_split


class PuzzleSet(NamedTuple):
    """The two files of problems, and the corrections of the mistakes in `train`."""

    train: list[Item]
    test: list[Item]
    corrections: list[Correction]


def make(seed: int, train: int, test: int) -> PuzzleSet:
    """Make a set with these numbers of training and test problems; the same arguments give the same set."""
    rng = Random(seed)
    seen: set[str] = set()
    correct = make_items("train", make_split(rng, train, seen))
    held_out = make_items("test", make_split(rng, test, seen))
    with_mistakes, corrections = add_mistakes(rng, correct)
    return PuzzleSet(with_mistakes, held_out, corrections)


def as_csv(corrections: Sequence[Correction]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Correction.__dataclass_fields__)
    writer.writerows(asdict(correction).values() for correction in corrections)
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
    for name, items in (("train", made.train), ("test", made.test)):
        records = [item.record() for item in items]
        write_jsonl(arguments.output / f"{name}.jsonl", records)
        scores.append(score_baselines(records))
        questions = sum(len(record["questions"]) for record in records)
        print(f"{name}.jsonl: {len(records)} problems, {questions} questions")
    write_text(arguments.output / "corrections.csv", as_csv(made.corrections))
    print(f"corrections.csv: {len(made.corrections)} corrections\n\n| baseline | train | test |\n|---|---|---|")
    for (name, train), test in zip(scores[0].items(), scores[1].values(), strict=True):
        print(f"| {name} | {train:.1%} | {test:.1%} |")
