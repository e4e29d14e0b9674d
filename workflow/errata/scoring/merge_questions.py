"""Step merge-questions: the input records with the model's answer beside each question."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from errata.core.errors import Faults
from errata.core.files import read_jsonl, write_jsonl
from errata.data.records import Key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="results/data/{split}.jsonl")
    parser.add_argument("--answers", type=Path, required=True, help="answers of the same split")
    parser.add_argument("--output", type=Path, required=True)


def run(arguments: argparse.Namespace) -> None:
    """Write the records with `model_answer` beside each question, null where the model gave none."""
    answers = answers_by_key(arguments.answers)

    def beside(key: Key, question: dict[str, Any]) -> dict[str, Any]:
        return {**question, "model_answer": answers.get(key)}

    write_jsonl(arguments.output, with_answers(arguments.data, beside))


def answers_by_key(path: Path) -> dict[Key, str | None]:
    """The answer read for each question of an answers file.

    Raises:
        Faults: a question stands in the file twice.
    """
    answers: dict[Key, str | None] = {}
    twice = []
    for number, row in enumerate(read_jsonl(path), 1):
        key = Key(row["id"], row["question"])
        if key in answers:
            twice.append(f"{path}:{number}: question {key.question} of problem {key.id!r} is answered twice")
        answers[key] = row["answer"]
    if twice:
        raise Faults(str(path), twice, "delete the file and run again; the journal keeps what was generated.")
    return answers


def with_answers(data: Path, change: Callable[[Key, dict[str, Any]], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The records of a data file, each question replaced by `change(key, question)`; all else as it was."""
    for record in read_jsonl(data):
        questions = [change(Key(record["id"], question["index"]), question) for question in record["questions"]]
        yield {**record, "questions": questions}
