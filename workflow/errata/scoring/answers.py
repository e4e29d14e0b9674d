"""Reads a file of answers by question, and checks it before anything is counted."""

from pathlib import Path

from errata.core.errors import Faults
from errata.core.files import read_jsonl
from errata.data.records import Key
from errata.data.rows import AnswerRow


def read_answers_by_key(path: Path) -> dict[Key, AnswerRow]:
    """The rows of a file of answers by question, in the file's order.

    Raises:
        Faults: a line is not a row of answers, a question is answered twice, or `correct` contradicts the answer.
        UserError: the file is missing or is not JSON Lines.
    """
    answers: dict[Key, AnswerRow] = {}
    first_line: dict[Key, int] = {}
    faults = []
    for number, record in enumerate(read_jsonl(path), 1):
        try:
            row = AnswerRow.from_record(record)
        except KeyError as error:
            faults.append(f"{path}:{number}: not a row of answers: {error} is missing")
            continue
        if row.key in answers:
            faults.append(
                f"{path}:{number}: question {row.question} of problem {row.id!r} is answered twice, "
                f"first in line {first_line[row.key]}"
            )
            continue
        if row.correct is not None and row.correct != (row.answer == row.expected):
            faults.append(
                f"{path}:{number}: correct is {row.correct}, "
                f"but the answer is {row.answer} and {row.expected} is expected"
            )
        answers[row.key] = row
        first_line[row.key] = number
    if faults:
        raise Faults(str(path), faults, "delete the file and run again; the journal keeps the completions.")
    return answers
