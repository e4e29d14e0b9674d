"""Step calibration: the texts that the quantizer sees, from the training split only."""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from errata.core.errors import UserError
from errata.core.files import read_jsonl, write_json
from errata.data.held_out import add_held_out_arguments, left_out
from errata.data.records import Key, usable
from errata.models.chat_template import ChatTemplate


class Exchange(NamedTuple):
    """A prompt and, where it is to be seen too, a right completion; `template` is the digest of its prompt template."""

    key: Key
    prompt: str
    completion: str | None
    template: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint whose chat template is used")
    add_held_out_arguments(parser)
    parser.add_argument("--answers", type=Path, required=True, help="first answers of the training split")
    parser.add_argument("--retries", type=Path, required=True, help="what the strategy's completions are taken from")
    parser.add_argument(
        "--kind",
        choices=["completions", "prompts"],
        default="completions",
        help="completions: whole exchanges with right completions; prompts: bare prompts, as in the original",
    )
    parser.add_argument("--samples", type=int, required=True, help="number of texts at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="JSON array of {id, question, text, template}")


def run(arguments: argparse.Namespace) -> None:
    """Write the texts.

    Raises:
        UserError: there is nothing to take them from; the checkpoint has no chat template that can be used.
    """
    source = prompts if arguments.kind == "prompts" else right_exchanges
    scored = left_out(arguments.data, arguments.held_out)
    exchanges = [each for each in source(arguments.answers, arguments.retries) if each.key.id not in scored]
    if scored:
        print(f"calibration: {len(scored)} problems are held out", file=sys.stderr)
    if not exchanges:
        besides = f" but of {len(scored)} problems that are held out" if scored else ""
        raise UserError(
            f"{arguments.answers}: no question was answered rightly, at first or later{besides}, so there is nothing "
            "to calibrate on. Raise generate.attempts, or set quantize.calibration: prompts."
            if source is right_exchanges
            else f"{arguments.answers}: no question to calibrate on{besides}. Bring more questions."
        )
    chosen = choose(exchanges, arguments.samples, arguments.seed)
    if len(chosen) < arguments.samples:
        print(f"calibration: {len(chosen)} texts, {arguments.samples} were asked for", file=sys.stderr)
    template = ChatTemplate(arguments.checkpoint) if arguments.kind == "completions" else None
    rows = [
        {
            "id": one.key.id,
            "question": one.key.question,
            "text": one.prompt
            if one.completion is None or template is None
            else template.dialogue(one.prompt, one.completion),
            "template": one.template,
        }
        for one in chosen
    ]
    write_json(arguments.output, rows)


def prompts(answers: Path, _: Path) -> Iterator[Exchange]:
    """The prompt of every question."""
    for row in read_jsonl(answers):
        yield Exchange(Key(row["id"], row["question"]), row["prompt"], None, row.get("template"))


def right_exchanges(answers: Path, retries: Path) -> Iterator[Exchange]:
    """Every right first answer, and the first usable completion of every question that has one later."""
    asked: dict[Key, str] = {}
    right = set()
    for row in read_jsonl(answers):
        key = Key(row["id"], row["question"])
        asked[key] = row["prompt"]
        if row["correct"]:
            right.add(key)
            yield Exchange(key, row["prompt"], row["completion"], row.get("template"))
    for row in read_jsonl(retries):
        key = Key(row["id"], row["question"])
        later = next((attempt for attempt in row["attempts"] if usable(attempt)), None)
        if later is not None and key in asked and key not in right:
            yield Exchange(key, asked[key], later["completion"], row.get("template"))


def choose(exchanges: list[Exchange], samples: int, seed: int) -> list[Exchange]:
    """`samples` of them at random, the same ones for the same seed whatever their order was."""
    ordered = sorted(exchanges, key=lambda one: (str(one.key.id), one.key.question))
    return random.Random(seed).sample(ordered, min(samples, len(ordered)))
