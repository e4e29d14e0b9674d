"""Step calibration: the texts that the quantizer sees, from the training split only."""

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from errata.errors import UserError
from errata.files import read_jsonl, write_json
from errata.records import Key


class Exchange(NamedTuple):
    """A prompt and, where one is known, the model's own right completion."""

    key: Key
    prompt: str
    completion: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint whose chat template is used")
    parser.add_argument("--answers", type=Path, required=True, help="first answers of the training split")
    parser.add_argument("--retries", type=Path, required=True, help="retries of its first-wrong questions")
    parser.add_argument(
        "--kind",
        choices=["completions", "prompts"],
        default="completions",
        help="completions: whole exchanges with right completions; prompts: bare prompts, as in the original",
    )
    parser.add_argument("--samples", type=int, required=True, help="number of texts at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="JSON array of {id, question, text}")


def run(arguments: argparse.Namespace) -> None:
    exchanges = list(right_exchanges(arguments.answers, arguments.retries))
    if arguments.kind == "prompts":
        exchanges = [
            Exchange(Key(row["id"], row["question"]), row["prompt"], None) for row in read_jsonl(arguments.answers)
        ]
    if not exchanges:
        raise UserError(
            f"{arguments.answers}: no question was answered rightly, at first or later, so there is nothing to "
            "calibrate on. Raise generate.attempts, or set quantize.calibration: prompts."
        )
    chosen = choose(exchanges, arguments.samples, arguments.seed)
    if len(chosen) < arguments.samples:
        print(f"calibration: {len(chosen)} texts, {arguments.samples} were asked for", file=sys.stderr)
    template = chat_template(arguments.checkpoint) if arguments.kind == "completions" else (lambda one: one.prompt)
    write_json(
        arguments.output,
        [{"id": one.key.id, "question": one.key.question, "text": template(one)} for one in chosen],
    )


def right_exchanges(answers: Path, retries: Path) -> Iterator[Exchange]:
    """Every right first answer, and the right attempt of every question that was solved later."""
    prompts: dict[Key, str] = {}
    for row in read_jsonl(answers):
        key = Key(row["id"], row["question"])
        prompts[key] = row["prompt"]
        if row["correct"]:
            yield Exchange(key, row["prompt"], row["completion"])
    for row in read_jsonl(retries):
        key = Key(row["id"], row["question"])
        right = next((attempt for attempt in row["attempts"] if attempt["correct"]), None)
        if row["outcome"] == "solved" and right is not None and key in prompts:
            yield Exchange(key, prompts[key], right["completion"])


def choose(exchanges: list[Exchange], samples: int, seed: int) -> list[Exchange]:
    """`samples` of them at random, the same ones for the same seed whatever their order was."""
    ordered = sorted(exchanges, key=lambda one: (str(one.key.id), one.key.question))
    return random.Random(seed).sample(ordered, min(samples, len(ordered)))


def chat_template(checkpoint: Path) -> Callable[[Exchange], str]:
    """A function that writes an exchange as the model reads it.

    Raises:
        UserError: the checkpoint has no chat template.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    if not tokenizer.chat_template:
        raise UserError(f"{checkpoint}: its tokenizer has no chat template. Set quantize.calibration: prompts.")

    def whole(one: Exchange) -> str:
        messages = [{"role": "user", "content": one.prompt}, {"role": "assistant", "content": one.completion}]
        return str(tokenizer.apply_chat_template(messages, tokenize=False))

    return whole
