"""Step training-set: the right completions of first-wrong questions, as LLaMA-Factory reads them."""

import argparse
import sys
from pathlib import Path

from errata.errors import UserError
from errata.files import read_jsonl, write_json
from errata.reading import likeness
from errata.records import Key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--answers", type=Path, required=True, help="first answers of the training split")
    parser.add_argument("--retries", type=Path, required=True, help="results/{model}/retries/{strategy}.jsonl")
    parser.add_argument("--keep", type=int, default=1, help="different right completions of a question, at most")
    parser.add_argument("--output", type=Path, required=True, help="results/{model}/sft/{strategy}.json")


def run(arguments: argparse.Namespace) -> None:
    """Write exactly the solved questions: the prompt that was asked, and the first right completions, no two alike.

    Raises:
        UserError: no question was solved, so there is nothing to train on; or the files do not belong together.
    """
    prompts = {Key(row["id"], row["question"]): row["prompt"] for row in read_jsonl(arguments.answers)}
    rows = []
    for number, row in enumerate(read_jsonl(arguments.retries), 1):
        key = Key(row["id"], row["question"])
        if key not in prompts:
            raise UserError(
                f"{arguments.retries}:{number}: question {key.question} of problem {key.id!r} is not in "
                f"{arguments.answers}. Give the answers that these retries were made from."
            )
        right: dict[str, str] = {}
        for attempt in row["attempts"]:
            if attempt["correct"]:
                right.setdefault(likeness(attempt["completion"]), attempt["completion"])
        for output in list(right.values())[: arguments.keep]:
            rows.append({**key._asdict(), "instruction": prompts[key], "input": "", "output": output})
    if not rows:
        raise UserError(
            f"{arguments.retries}: no first-wrong question was solved, so there is nothing to train on. "
            "Raise generate.attempts or generate.retry_temperature, or bring more questions."
        )
    write_json(arguments.output, rows)
    print(f"{arguments.output}: {len(rows)} right completions of first-wrong questions", file=sys.stderr)
