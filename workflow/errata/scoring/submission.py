"""Step submission: the input records with the model's answers filled in, as a contest wants them back."""

import argparse
import sys
from pathlib import Path
from typing import Any

from errata.core.files import write_jsonl
from errata.data.records import Key
from errata.scoring.merge_questions import answers_by_key, with_answers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="results/data/{split}.jsonl")
    parser.add_argument("--answers", type=Path, required=True, help="the variant's answers of the same split")
    parser.add_argument("--output", type=Path, required=True)


def run(arguments: argparse.Namespace) -> None:
    """Fill `answer` in, for labelled and unlabelled files alike; null where the model gave none, and say how many."""
    answers = answers_by_key(arguments.answers)
    missing = 0

    def filled(key: Key, question: dict[str, Any]) -> dict[str, Any]:
        nonlocal missing
        answer = answers.get(key)
        missing += answer is None
        # `index` is ours: the input records do not have it
        kept = {name: value for name, value in question.items() if name not in {"index", "answer"}}
        return {**kept, "answer": answer}

    write_jsonl(arguments.output, with_answers(arguments.data, filled))
    if missing:
        print(f"{arguments.output}: {missing} questions have no readable answer (null).", file=sys.stderr)
