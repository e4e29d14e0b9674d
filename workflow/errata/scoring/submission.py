"""Step submission: the input records with the model's answers filled in, in the form that a contest accepts."""

import argparse
import sys
from pathlib import Path
from typing import Any

from errata.core.files import write_jsonl
from errata.data.records import Key
from errata.scoring.answers import read_answers_by_key
from errata.scoring.merge_questions import change_questions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="results/data/{split}.jsonl")
    parser.add_argument("--answers", type=Path, required=True, help="the variant's answers of the same split")
    parser.add_argument("--output", type=Path, required=True)


def run(arguments: argparse.Namespace) -> None:
    """Fill in `answer` of every question, labelled or not; null where none could be read. Report the nulls.

    Raises:
        UserError: a file cannot be read, or the answers have faults.
    """
    answers = read_answers_by_key(arguments.answers)
    missing = 0

    def fill_in(key: Key, question: dict[str, Any]) -> dict[str, Any]:
        nonlocal missing
        answer = answers[key].answer if key in answers else None
        missing += answer is None
        # `index` is Errata's own key, not one of the input record
        others = {name: value for name, value in question.items() if name not in {"index", "answer"}}
        return {**others, "answer": answer}

    write_jsonl(arguments.output, change_questions(arguments.data, fill_in))
    if missing:
        print(f"{arguments.output}: {missing} questions have no readable answer (null).", file=sys.stderr)
