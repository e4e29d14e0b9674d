"""Step fold: one of k folds of the training problems. Models trained without a fold are scored on it."""

import argparse
import random
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from errata.core.errors import UserError
from errata.core.files import read_jsonl, write_jsonl
from errata.data.leaks import ids_by_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="results/data/train.jsonl")
    parser.add_argument("--folds", type=int, required=True, help="how many there are")
    parser.add_argument("--fold", type=int, required=True, help="which one, from 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="results/data/fold{n}.jsonl")


def run(arguments: argparse.Namespace) -> None:
    """Write the problems of one fold, in the order of the data.

    Raises:
        UserError: there is no such fold, or there are fewer different problems than folds.
    """
    if not 1 <= arguments.fold <= arguments.folds:
        raise UserError(f"--fold {arguments.fold}: the folds are 1 to {arguments.folds}.")
    texts = ids_by_text(arguments.data)
    if len(texts) < arguments.folds:
        raise UserError(
            f"{arguments.data}: {len(texts)} different problems are too few for {arguments.folds} folds. "
            "Lower dataset.folds or add problems."
        )
    fold_of = assign_folds(texts, arguments.folds, arguments.seed)
    kept = (row for row in read_jsonl(arguments.data) if fold_of[row["id"]] == arguments.fold)
    count = write_jsonl(arguments.output, kept)
    print(f"{arguments.output}: {count} of {len(fold_of)} problems", file=sys.stderr)


def assign_folds(texts: Mapping[str, Collection[str]], folds: int, seed: int) -> dict[str, int]:
    """The fold, from 1, of every problem. It depends on all texts and the seed, not on the order of the problems.

    Problems with the same text are in the same fold. The largest groups of such problems are placed first, each in the
    fold with the fewest problems so far. If all texts differ, the sizes of the folds differ by at most 1.

    Args:
        texts: ids of problems by their text.
    """
    groups = sorted(texts)
    random.Random(seed).shuffle(groups)
    groups.sort(key=lambda text: -len(texts[text]))
    sizes = [0] * folds
    fold_of = {}
    for text in groups:
        smallest = sizes.index(min(sizes))
        sizes[smallest] += len(texts[text])
        fold_of.update(dict.fromkeys(texts[text], smallest + 1))
    return fold_of
