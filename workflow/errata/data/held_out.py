"""What is held out: training problems that are scored, of which nothing may be trained or calibrated on, and which base
models have seen the training questions before."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from errata.data.leaks import by_text


def add_held_out_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of steps that choose from the training split."""
    parser.add_argument("--data", type=Path, required=True, help="results/data/train.jsonl")
    parser.add_argument(
        "--held-out",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="data files that are scored: training problems whose text stands in one are left out",
    )


def left_out(data: Path, held_out: Sequence[Path]) -> set[str]:
    """The ids of the problems of `data` whose text stands in a held-out file, however it is spaced there.

    Raises:
        UserError: a file cannot be read.
    """
    scored = {text for path in held_out for text in by_text(path)}
    if not scored:
        return set()
    return {id for text, ids in by_text(data).items() if text in scored for id in ids}
