"""Step news: whether a round has solved anything that no earlier round has trained on."""

import argparse
import sys
from pathlib import Path

from errata.cases import usable
from errata.files import read_json, read_jsonl, write_json
from errata.held_out import add_held_out_arguments, left_out
from errata.records import Key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_held_out_arguments(parser)
    parser.add_argument("--retries", type=Path, required=True, help="of this round")
    parser.add_argument(
        "--before", type=Path, nargs="*", default=[], metavar="FILE", help="training sets of the rounds before"
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON: questions solved, and how many are new")


def run(arguments: argparse.Namespace) -> None:
    """Count the questions that this round could train on, and those of them that stand in no earlier training set.

    Raises:
        UserError: a file cannot be read.
    """
    scored = left_out(arguments.data, arguments.held_out)
    solved = {
        Key(row["id"], row["question"])
        for row in read_jsonl(arguments.retries)
        if row["id"] not in scored and any(usable(attempt) for attempt in row["attempts"])
    }
    known = {Key(row["id"], row["question"]) for path in arguments.before for row in read_json(path)}
    write_json(arguments.output, {"solved": len(solved), "new": len(solved - known)})
    print(f"{arguments.output}: {len(solved)} questions solved, {len(solved - known)} of them new", file=sys.stderr)
