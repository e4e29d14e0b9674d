"""Step fix: validate and correct a file of problems, before any model is started."""

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from errata.core.errors import Faults, UserError
from errata.core.files import atomic_file, cannot_read, write_jsonl
from errata.data.records import LETTERS, Problem

CORRECTION_COLUMNS = ("id", "question", "action", "old", "new", "reason")


class Correction(NamedTuple):
    """A row of corrections.csv. `question` is None for the whole problem; `action` is `answer` or `drop`."""

    line: int
    id: str
    question: int | None
    action: str
    old: str
    new: str
    reason: str


class Fixed(NamedTuple):
    """What became of a file: the problems that stay, the corrections applied, and what is odd but no fault."""

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
    fixed = fix(arguments.input, arguments.corrections, arguments.other, labelled=arguments.labelled)
    for warning in fixed.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    problems = fixed.problems[: arguments.take]
    write_jsonl(arguments.output, (problem.to_record() for problem in problems))
    with atomic_file(arguments.changes) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CORRECTION_COLUMNS)
        writer.writerows(
            (row.id, "" if row.question is None else row.question, row.action, row.old, row.new, row.reason)
            for row in fixed.applied
        )
    questions = sum(len(problem.questions) for problem in problems)
    print(
        f"{arguments.input}: {len(problems)} problems, {questions} questions, "
        f"{len(fixed.applied)} corrections applied, {len(fixed.warnings)} warnings",
        file=sys.stderr,
    )


def fix(path: Path, corrections: Path | None, others: Iterable[Path] = (), *, labelled: bool = False) -> Fixed:
    """Validate a file of problems and apply the corrections that name its ids.

    Args:
        path: one JSON object a line.
        corrections: the CSV file, which may name problems of other splits too.
        others: the files of the other splits; only their ids are read.
        labelled: a question without an answer is a fault.

    Raises:
        Faults: all faults of both files, each with file and line.
        UserError: a file cannot be read.
    """
    warnings: list[str] = []
    problems, faults = read_problems(path, warnings, labelled=labelled)
    applied: list[Correction] = []
    if corrections is not None:
        rows, csv_faults = read_corrections(corrections)
        faults += csv_faults
        # a broken line has no id that could be known, so what names it is not held against the corrections
        known = {id: other for other in others for id in _ids(other)}
        own = {problem.id for problem in problems}
        mine = [row for row in rows if row.id in own or row.id not in known]
        faults += [
            f"{corrections}:{row.line}: {row.id!r} is an id of {path} and of {known[row.id]} too, so it is open "
            "which of them is meant; rename one"
            for row in mine
            if row.id in known
        ]
        if not faults:
            problems, applied, faults = apply_corrections(problems, mine, corrections)
    if not faults and not problems:
        faults.append(f"{path}: no problem is left")
    if faults:
        raise Faults(str(path), faults, "mend the lines named above, then run again; nothing was started.")
    return Fixed(problems, applied, warnings)


def read_problems(path: Path, warnings: list[str], *, labelled: bool = False) -> tuple[list[Problem], list[str]]:
    """Read and validate problems; give those that are sound and a message for every fault."""
    problems: list[Problem] = []
    faults: list[str] = []
    seen: dict[str, int] = {}
    for number, line in _lines(path):
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            faults.append(f"{where}: not valid JSON: {error}")
            continue
        half = re.search(r"[\ud800-\udfff]", json.dumps(record, ensure_ascii=False))
        if half:
            # it could neither be written as UTF-8 nor be sent to a model
            faults.append(f"{where}: holds \\u{ord(half[0]):x}, half a character; mend the escape or take it out")
            continue
        found = [f"{where}: {fault}" for fault in _record_faults(record, labelled)]
        if isinstance(record, dict) and isinstance(record.get("id"), str):
            first = seen.setdefault(record["id"], number)
            if first != number:
                found.append(f"{where}: id {record['id']!r} is already used in line {first}")
        if found:
            faults += found
            continue
        for index, question in enumerate(record["questions"]):
            # the input's order is the key; an `index` of the user's own would contradict it
            question["index"] = index
            if len(set(question["options"])) < len(question["options"]):
                warnings.append(f"{where}: question {index}: options repeat (kept as they are)")
        problems.append(Problem.from_record(record))
    if not problems and not faults:
        faults.append(f"{path}: the file holds no problem")
    return problems, faults


def _record_faults(record: Any, labelled: bool) -> Iterator[str]:
    """What is wrong with one record, in the reader's words."""
    if not isinstance(record, dict):
        yield f"a JSON object is wanted, not {_kind(record)}"
        return
    for name in ("id", "problem"):
        value = record.get(name)
        if name not in record:
            yield f"key {name!r} is missing"
        elif not isinstance(value, str):
            yield f"{name!r} must be a string, not {_kind(value)}"
        elif not value.strip():
            yield f"{name!r} is empty"
    questions = record.get("questions")
    if "questions" not in record:
        yield "key 'questions' is missing"
    elif not isinstance(questions, list):
        yield f"'questions' must be a list, not {_kind(questions)}"
    elif not questions:
        yield "'questions' is empty"
    else:
        for index, question in enumerate(questions):
            for fault in _question_faults(question, labelled):
                yield f"question {index}: {fault}"


def _question_faults(question: Any, labelled: bool) -> Iterator[str]:
    if not isinstance(question, dict):
        yield f"a JSON object is wanted, not {_kind(question)}"
        return
    text = question.get("question")
    if "question" not in question:
        yield "key 'question' is missing"
    elif not isinstance(text, str):
        yield f"'question' must be a string, not {_kind(text)}"
    options = question.get("options")
    if "options" not in question:
        yield "key 'options' is missing"
        return
    if not isinstance(options, list):
        yield f"'options' must be a list, not {_kind(options)}"
        return
    if not 2 <= len(options) <= len(LETTERS):
        yield f"2 to {len(LETTERS)} options are wanted, not {len(options)}"
    for position, option in enumerate(options):
        if not isinstance(option, str):
            yield f"option {position} must be a string, not {_kind(option)}"
    answer = question.get("answer")
    letters = LETTERS[: len(options)]
    if answer is None:
        if labelled:
            yield "the answer is missing; a training question needs one"
    elif not isinstance(answer, str):
        yield f"'answer' must be a letter, not {_kind(answer)}"
    elif len(answer) != 1 or answer not in letters:
        yield f"answer {answer!r} is no option; there are {len(options)}: {', '.join(letters)}"


def read_corrections(path: Path) -> tuple[list[Correction], list[str]]:
    """Read corrections.csv; give the rows that are sound and a message for every fault."""
    rows: list[Correction] = []
    faults: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = tuple(reader.fieldnames or ())
            missing = [name for name in CORRECTION_COLUMNS if name not in header]
            if missing:
                wanted = ",".join(CORRECTION_COLUMNS)
                return [], [f"{path}:1: column {', '.join(missing)} is missing; the header must be {wanted}"]
            for cells in reader:
                where = f"{path}:{reader.line_num}"
                values = {name: (cells[name] or "").strip() for name in CORRECTION_COLUMNS}
                question, action = values["question"], values["action"]
                if not values["id"]:
                    faults.append(f"{where}: id is empty")
                elif action not in {"answer", "drop"}:
                    faults.append(f"{where}: action {action!r} is unknown; it is 'answer' or 'drop'")
                elif question and not question.isdecimal():
                    faults.append(f"{where}: question {question!r} is no index; they count from 0")
                elif action == "answer" and not (question and values["old"] and values["new"]):
                    faults.append(f"{where}: action 'answer' needs question, old and new")
                else:
                    index = int(question) if question else None
                    rows.append(
                        Correction(
                            reader.line_num,
                            values["id"],
                            index,
                            action,
                            values["old"],
                            values["new"],
                            values["reason"],
                        )
                    )
    except OSError as error:
        raise cannot_read(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        faults.append(f"{path}: not a CSV file in UTF-8: {error}")
    return rows, faults


def apply_corrections(
    problems: list[Problem], rows: list[Correction], path: Path
) -> tuple[list[Problem], list[Correction], list[str]]:
    """Apply corrections; a row that matches nothing, contradicts the file or another row is a fault."""
    by_id = {problem.id: problem for problem in problems}
    faults: list[str] = []
    applied: list[Correction] = []
    done: dict[tuple[str, int | None], int] = {}
    for row in rows:
        where = f"{path}:{row.line}"
        problem = by_id.get(row.id)
        if problem is None:
            faults.append(f"{where}: there is no problem {row.id!r}")
            continue
        earlier = done.setdefault((row.id, row.question), row.line)
        if earlier != row.line:
            faults.append(f"{where}: line {earlier} already corrects the same question")
            continue
        if row.question is None:
            by_id[row.id] = replace(problem, questions=())
            applied.append(row)
            continue
        question = next((each for each in problem.questions if each.index == row.question), None)
        if question is None:
            faults.append(f"{where}: problem {row.id!r} has no question {row.question} (or it was dropped above)")
        elif row.old and row.old != question.answer:
            faults.append(
                f"{where}: question {row.question} of {row.id!r} has answer {question.answer!r}, not old {row.old!r}"
            )
        elif row.action == "drop":
            rest = tuple(each for each in problem.questions if each.index != row.question)
            by_id[row.id] = replace(problem, questions=rest)
            applied.append(row)
        elif row.new not in question.letters or len(row.new) != 1:
            faults.append(f"{where}: new {row.new!r} is no option; there are {', '.join(question.letters)}")
        else:
            changed = tuple(
                replace(each, answer=row.new) if each.index == row.question else each for each in problem.questions
            )
            by_id[row.id] = replace(problem, questions=changed)
            applied.append(row)
    return [problem for problem in by_id.values() if problem.questions], applied, faults


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, numbered from 1."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise UserError(
            f"{path}: cannot read ({error.strerror or error}). Set dataset in the configuration."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error}). Convert it, e.g. with iconv -t utf-8.") from error


def _ids(path: Path) -> Iterator[str]:
    """The ids of a file as far as they can be read; its faults are told when that file is fixed."""
    for _, line in _lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("id"), str):
            yield record["id"]


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)
