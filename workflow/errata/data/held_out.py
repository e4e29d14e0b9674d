"""Training problems that are also scored: nothing may be trained or calibrated on them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from errata.data.leaks import ids_by_text


def add_held_out_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of steps that choose from the training problems."""
    parser.add_argument("--data", type=Path, required=True, help="results/data/train.jsonl")
    parser.add_argument(
        "--held-out",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="data files that are scored: training problems with the same text as one of theirs are left out",
    )


def held_out_ids(data: Path, held_out: Sequence[Path]) -> set[str]:
    """The ids of problems in `data` whose text is in a held-out file too, compared without regard to spacing.

    Raises:
        UserError: a file cannot be read.
    """
    scored = {text for path in held_out for text in ids_by_text(path)}
    if not scored:
        return set()
    return {id for text, ids in ids_by_text(data).items() if text in scored for id in ids}
