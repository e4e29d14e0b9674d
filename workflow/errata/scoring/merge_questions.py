"""Step merge-questions: the input records with the model's answer beside each question."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from errata.core.files import read_jsonl, write_jsonl
from errata.data.records import Key
from errata.scoring.answers import read_answers_by_key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="results/data/{split}.jsonl")
    parser.add_argument("--answers", type=Path, required=True, help="answers of the same split")
    parser.add_argument("--output", type=Path, required=True)


def run(arguments: argparse.Namespace) -> None:
    """Write the records with `model_answer` in each question, null where the model gave no readable answer.

    Raises:
        UserError: a file cannot be read, or the answers have faults.
    """
    answers = read_answers_by_key(arguments.answers)

    def add_answer(key: Key, question: dict[str, Any]) -> dict[str, Any]:
        return {**question, "model_answer": answers[key].answer if key in answers else None}

    write_jsonl(arguments.output, change_questions(arguments.data, add_answer))


def change_questions(data: Path, change: Callable[[Key, dict[str, Any]], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The records of a data file, with each question replaced by `change(key, question)`; everything else is unchanged.

    The records stay dicts: users' own keys in them are passed on.
    """
    for record in read_jsonl(data):
        questions = [change(Key(record["id"], question["index"]), question) for question in record["questions"]]
        yield {**record, "questions": questions}
