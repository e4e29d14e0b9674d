"""Step fix: validate and correct a file of problems, before any model is started."""

import argparse
import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from errata.core.errors import Faults
from errata.core.files import atomic_file, write_jsonl
from errata.data.corrections import CORRECTION_COLUMNS, Correction, apply_corrections, read_corrections
from errata.data.problems import read_ids, read_problems
from errata.data.records import Problem


class FixResult(NamedTuple):
    """The problems that are left of a file, the corrections that were applied, and warnings."""

    problems: list[Problem]
    applied: list[Correction]
    warnings: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", type=Path, required=True, help="problems, one JSON object a line")
    parser.add_argument("--corrections", type=Path, help="CSV: " + ", ".join(CORRECTION_COLUMNS))
    parser.add_argument(
        "--other",
        type=Path,
        action="append",
        default=[],
        help="the other splits, whose ids corrections may name",
    )
    parser.add_argument("--take", type=int, help="only the first N problems (after validating all of them)")
    parser.add_argument("--labelled", action="store_true", help="every question must have an answer (a training file)")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--changes", type=Path, required=True, help="CSV of what was changed")


def run(arguments: argparse.Namespace) -> None:
    """Write the corrected problems and the list of changes, or fail with every fault of the inputs at once."""
    result = fix(arguments.input, arguments.corrections, arguments.other, labelled=arguments.labelled)
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    problems = result.problems[: arguments.take]
    write_jsonl(arguments.output, (problem.to_record() for problem in problems))
    with atomic_file(arguments.changes) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CORRECTION_COLUMNS)
        writer.writerows(
            (row.id, "" if row.question is None else row.question, row.action, row.old, row.new, row.reason)
            for row in result.applied
        )
    questions = sum(len(problem.questions) for problem in problems)
    print(
        f"{arguments.input}: {len(problems)} problems, {questions} questions, "
        f"{len(result.applied)} corrections applied, {len(result.warnings)} warnings",
        file=sys.stderr,
    )


def fix(path: Path, corrections: Path | None, others: Iterable[Path] = (), *, labelled: bool = False) -> FixResult:
    """Validate a file of problems and apply the corrections that name its ids.

    Args:
        path: one JSON object a line.
        corrections: the CSV file; it may name problems of other splits too.
        others: the files of the other splits; only their ids are read.
        labelled: a question without an answer is a fault.

    Raises:
        Faults: all faults of both files, each with file and line.
        UserError: a file cannot be read.
    """
    problems, faults, warnings = read_problems(path, labelled=labelled)
    applied: list[Correction] = []
    if corrections is not None:
        rows, csv_faults = read_corrections(corrections)
        faults += csv_faults
        # The ids of lines that are not JSON are unknown, so a correction that seems to match nothing may name one:
        # corrections are only applied to a file without faults.
        file_of = {id: other for other in others for id in read_ids(other)}
        own = {problem.id for problem in problems}
        mine = [row for row in rows if row.id in own or row.id not in file_of]
        faults += [
            f"{corrections}:{row.line}: id {row.id!r} occurs in {path} and in {file_of[row.id]}, so it is unclear "
            "which of the two problems is meant; rename one"
            for row in mine
            if row.id in file_of
        ]
        if not faults:
            problems, applied, faults = apply_corrections(problems, mine, corrections)
    if not faults and not problems:
        faults.append(f"{path}: no problem is left")
    if faults:
        raise Faults(str(path), faults, "fix the lines named above, then run again; nothing was started.")
    return FixResult(problems, applied, warnings)
