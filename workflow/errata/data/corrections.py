"""The table of corrections: which labels of a file of problems are wrong, and which questions are dropped."""

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from errata.core.files import cannot_read
from errata.data.records import Problem, Question

CORRECTION_COLUMNS = ("id", "question", "action", "old", "new", "reason")


class Correction(NamedTuple):
    """A row of corrections.csv.

    Attributes:
        line: where the row ends in the file, from 1.
        id: of the problem.
        question: index from 0, None for the whole problem.
        action: `answer` (the label `old` becomes `new`) or `drop`.
        old: the label as it is, "" if the row does not say.
    """

    line: int
    id: str
    question: int | None
    action: str
    old: str
    new: str
    reason: str


class CorrectionResult(NamedTuple):
    """The problems that are left, the corrections that were applied, and one message for every fault."""

    problems: list[Problem]
    applied: list[Correction]
    faults: list[str]


def read_corrections(path: Path) -> tuple[list[Correction], list[str]]:
    """Read corrections.csv.

    Returns:
        The valid rows, and one message for every fault.

    Raises:
        UserError: the file cannot be read.
    """
    rows: list[Correction] = []
    faults: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = tuple(reader.fieldnames or ())
            missing = [name for name in CORRECTION_COLUMNS if name not in header]
            if missing:
                columns = ",".join(CORRECTION_COLUMNS)
                return [], [f"{path}:1: column {', '.join(missing)} is missing; the header must be {columns}"]
            for cells in reader:
                values = {name: (cells[name] or "").strip() for name in CORRECTION_COLUMNS}
                fault = _row_fault(values)
                if fault:
                    faults.append(f"{path}:{reader.line_num}: {fault}")
                    continue
                question = int(values["question"]) if values["question"] else None
                rows.append(
                    Correction(
                        line=reader.line_num,
                        id=values["id"],
                        question=question,
                        action=values["action"],
                        old=values["old"],
                        new=values["new"],
                        reason=values["reason"],
                    )
                )
    except OSError as error:
        raise cannot_read(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        faults.append(f"{path}: not a CSV file in UTF-8: {error}")
    return rows, faults


def _row_fault(values: Mapping[str, str]) -> str | None:
    """The first fault of a row's cells, None for a valid row."""
    question, action = values["question"], values["action"]
    if not values["id"]:
        return "id is empty"
    if action not in {"answer", "drop"}:
        return f"action {action!r} is unknown; it is 'answer' or 'drop'"
    if question and not question.isdecimal():
        return f"question {question!r} is not an index; the first question has index 0"
    if action == "answer" and not (question and values["old"] and values["new"]):
        return "action 'answer' needs question, old and new"
    return None


def apply_corrections(problems: list[Problem], rows: list[Correction], path: Path) -> CorrectionResult:
    """Apply corrections; a row that matches nothing, or contradicts the problems or another row, is a fault.

    Args:
        path: of the corrections, for messages.
    """
    by_id = {problem.id: problem for problem in problems}
    faults: list[str] = []
    applied: list[Correction] = []
    line_of: dict[tuple[str, int | None], int] = {}
    for row in rows:
        where = f"{path}:{row.line}"
        problem = by_id.get(row.id)
        if problem is None:
            faults.append(f"{where}: there is no problem {row.id!r}")
            continue
        earlier = line_of.setdefault((row.id, row.question), row.line)
        if earlier != row.line:
            faults.append(f"{where}: line {earlier} already corrects the same question")
            continue
        fault = _misfit(problem, row)
        if fault:
            faults.append(f"{where}: {fault}")
            continue
        corrected = (_correct(question, row) for question in problem.questions)
        by_id[row.id] = replace(problem, questions=tuple(filter(None, corrected)))
        applied.append(row)
    return CorrectionResult([problem for problem in by_id.values() if problem.questions], applied, faults)


def _misfit(problem: Problem, row: Correction) -> str | None:
    """Why a correction does not fit the problem that it names, None if it fits."""
    if row.question is None:
        return None
    question = next((each for each in problem.questions if each.index == row.question), None)
    if question is None:
        return f"problem {row.id!r} has no question {row.question} (or it was dropped above)"
    if row.old and row.old != question.answer:
        return f"question {row.question} of {row.id!r} has answer {question.answer!r}, not old {row.old!r}"
    if row.action == "answer" and (row.new not in question.letters or len(row.new) != 1):
        return f"new {row.new!r} is not an option; there are {', '.join(question.letters)}"
    return None


def _correct(question: Question, row: Correction) -> Question | None:
    """The question after a correction of its problem, None if it is dropped."""
    if row.question not in (None, question.index):
        return question
    return replace(question, answer=row.new) if row.action == "answer" else None
