"""Step calibration: the texts that the quantizer sees, from the training split only."""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from errata.core.errors import UserError
from errata.core.files import write_json
from errata.core.secrets import drop_secrets
from errata.data.held_out import add_held_out_arguments, held_out_ids
from errata.data.records import Key
from errata.data.rows import read_answers, read_retries
from errata.models.chat_template import ChatTemplate


class Exchange(NamedTuple):
    """A prompt, and a right completion of it.

    Attributes:
        completion: None where only prompts are used.
        template: the digest of the prompt template.
    """

    key: Key
    prompt: str
    completion: str | None
    template: str | None

    def to_record(self, text: str) -> dict[str, Any]:
        """The row of the output, with the text that the quantizer sees."""
        return {"id": self.key.id, "question": self.key.question, "text": text, "template": self.template}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint whose chat template is used")
    add_held_out_arguments(parser)
    parser.add_argument("--answers", type=Path, required=True, help="first answers of the training split")
    parser.add_argument("--retries", type=Path, required=True, help="retries that the strategy is trained on")
    parser.add_argument(
        "--kind",
        choices=["completions", "prompts"],
        default="completions",
        help="completions: prompts with right completions; prompts: prompts alone, as in the original",
    )
    parser.add_argument("--samples", type=int, required=True, help="number of texts at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="JSON array of {id, question, text, template}")


def run(arguments: argparse.Namespace) -> None:
    """Write the texts.

    Raises:
        UserError: no question can be used, or the checkpoint has no usable chat template.
    """
    drop_secrets()
    prompts_only = arguments.kind == "prompts"
    held_out = held_out_ids(arguments.data, arguments.held_out)
    found = (
        find_prompts(arguments.answers) if prompts_only else find_right_exchanges(arguments.answers, arguments.retries)
    )
    exchanges = [each for each in found if each.key.id not in held_out]
    if held_out:
        print(f"calibration: {len(held_out)} problems are held out", file=sys.stderr)
    if not exchanges:
        besides = f" but of {len(held_out)} problems that are held out" if held_out else ""
        raise UserError(
            f"{arguments.answers}: no question to calibrate on{besides}. Bring more questions."
            if prompts_only
            else f"{arguments.answers}: no question was answered rightly, at first or later{besides}, so there is "
            "nothing to calibrate on. Raise generate.attempts, or set quantize.calibration: prompts."
        )
    chosen = choose(exchanges, arguments.samples, arguments.seed)
    if len(chosen) < arguments.samples:
        print(f"calibration: {len(chosen)} texts; {arguments.samples} were requested", file=sys.stderr)
    template = None if prompts_only else ChatTemplate(arguments.checkpoint)
    rows = [
        each.to_record(
            each.prompt
            if each.completion is None or template is None
            else template.render_exchange(each.prompt, each.completion)
        )
        for each in chosen
    ]
    write_json(arguments.output, rows)


def find_prompts(answers: Path) -> Iterator[Exchange]:
    """The prompt of every question."""
    for row in read_answers(answers):
        yield Exchange(row.key, row.prompt, None, row.template)


def find_right_exchanges(answers: Path, retries: Path) -> Iterator[Exchange]:
    """Every right first answer, and for the other questions the first accepted attempt, if there is one."""
    prompts: dict[Key, str] = {}
    right_at_first = set()
    for row in read_answers(answers):
        prompts[row.key] = row.prompt
        if row.correct:
            right_at_first.add(row.key)
            yield Exchange(row.key, row.prompt, row.completion, row.template)
    for retry in read_retries(retries):
        accepted = next((attempt for attempt in retry.attempts if attempt.accepted), None)
        if accepted is not None and retry.key in prompts and retry.key not in right_at_first:
            yield Exchange(retry.key, prompts[retry.key], accepted.completion, retry.template)


def choose(exchanges: list[Exchange], samples: int, seed: int) -> list[Exchange]:
    """Draw at most `samples` exchanges at random. The draw depends on the keys and the seed, not on the order."""
    ordered = sorted(exchanges, key=lambda exchange: (str(exchange.key.id), exchange.key.question))
    return random.Random(seed).sample(ordered, min(samples, len(ordered)))
