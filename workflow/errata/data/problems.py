"""Files of problems as users write them: reading and validating."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from errata.core.errors import UserError
from errata.data.records import LETTERS, Problem


class ProblemFile(NamedTuple):
    """The valid problems of a file, one message for every fault, and warnings."""

    problems: list[Problem]
    faults: list[str]
    warnings: list[str]


def read_problems(path: Path, *, labelled: bool = False) -> ProblemFile:
    """Read and validate a file of problems.

    Args:
        labelled: a question without an answer is a fault.

    Raises:
        UserError: the file cannot be read.
    """
    problems: list[Problem] = []
    faults: list[str] = []
    warnings: list[str] = []
    line_of: dict[str, int] = {}
    for number, line in _read_lines(path):
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            faults.append(f"{where}: not valid JSON: {error}")
            continue
        half = re.search(r"[\ud800-\udfff]", json.dumps(record, ensure_ascii=False))
        if half:
            # Such text can neither be written as UTF-8 nor sent to a model.
            faults.append(f"{where}: contains \\u{ord(half[0]):x}, half a character; fix the escape or remove it")
            continue
        found = [f"{where}: {fault}" for fault in _record_faults(record, labelled)]
        if isinstance(record, dict) and isinstance(record.get("id"), str):
            first = line_of.setdefault(record["id"], number)
            if first != number:
                found.append(f"{where}: id {record['id']!r} is already used in line {first}")
        if found:
            faults += found
            continue
        for index, question in enumerate(record["questions"]):
            # The position in the file is the key; a user's own `index` would contradict it.
            question["index"] = index
            if len(set(question["options"])) < len(question["options"]):
                warnings.append(f"{where}: question {index}: options repeat (kept as they are)")
        problems.append(Problem.from_record(record))
    if not problems and not faults:
        faults.append(f"{path}: the file contains no problem")
    return ProblemFile(problems, faults, warnings)


def read_ids(path: Path) -> Iterator[str]:
    """The ids of the lines that can be read; `read_problems` reports the faults of the others."""
    for _, line in _read_lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("id"), str):
            yield record["id"]


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
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


def _record_faults(record: Any, labelled: bool) -> Iterator[str]:
    """The faults of one line, without file and line number."""
    if not isinstance(record, dict):
        yield f"must be a JSON object, not {_kind(record)}"
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
        yield f"must be a JSON object, not {_kind(question)}"
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
        yield f"must have 2 to {len(LETTERS)} options, not {len(options)}"
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
        yield f"answer {answer!r} is not an option; there are {len(options)}: {', '.join(letters)}"


def _kind(value: Any) -> str:
    """The type of a JSON value, for messages."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)
