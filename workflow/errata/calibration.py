"""Step calibration: the texts that quantization is calibrated on, from the training split only."""

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from errata.errors import UserError
from errata.files import read_json, read_jsonl, write_json
from errata.records import Key

if TYPE_CHECKING:
    import jinja2

KINDS = ("completions", "prompts")
Message = dict[str, str]


class Sample(NamedTuple):
    """One calibration text and the question that it is about."""

    key: Key
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, help="model folder that holds the chat template")
    parser.add_argument("--answers", type=Path, required=True, help="first answers of the training split")
    parser.add_argument("--retries", type=Path, required=True, help="results/{model}/retries/{strategy}.jsonl")
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0], help="right completions, or bare prompts")
    parser.add_argument("--samples", type=int, required=True, help="texts at most")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of texts")
    parser.add_argument("--output", type=Path, required=True, help="JSON array of id, question, text")


def run(arguments: argparse.Namespace) -> None:
    """Write at most `--samples` texts, chosen by the seed, in file order.

    Raises:
        UserError: no chat template, or there is no text to calibrate on.
    """
    if arguments.kind == "prompts":
        texts = list(prompts(arguments.answers))
    else:
        texts = list(completions(arguments.answers, arguments.retries, ChatTemplate(arguments.checkpoint)))
    if not texts:
        raise UserError(
            f"{arguments.answers}: no right completion to calibrate on. Set quantize.calibration to `prompts`, "
            "raise generate.attempts, or bring more questions."
            if arguments.kind == "completions"
            else f"{arguments.answers}: no question to calibrate on. Bring a training set with questions."
        )
    chosen = choose(texts, arguments.samples, arguments.seed)
    rows = [{"id": sample.key.id, "question": sample.key.question, "text": sample.text} for sample in chosen]
    write_json(arguments.output, rows)
    print(f"{arguments.output}: {len(chosen)} of {len(texts)} {arguments.kind}", file=sys.stderr)


def prompts(answers: Path) -> Iterator[Sample]:
    """The user messages alone, as the original did: the quantizer sees no reasoning."""
    for row in read_jsonl(answers):
        yield Sample(Key(row["id"], row["question"]), row["prompt"])


def completions(answers: Path, retries: Path, template: "ChatTemplate") -> Iterator[Sample]:
    """What the model read and wrote where it was right: at once, or in the attempt that solved a question."""
    asked: dict[Key, str] = {}
    for row in read_jsonl(answers):
        key = Key(row["id"], row["question"])
        asked[key] = row["prompt"]
        if row["correct"]:
            yield Sample(key, template.dialogue(row["prompt"], row["completion"]))
    for row in read_jsonl(retries):
        key = Key(row["id"], row["question"])
        if row["outcome"] == "solved":
            if key not in asked:
                raise UserError(
                    f"{retries}: question {key.question} of problem {key.id!r} is not in {answers}. "
                    "Delete both and run again; the journal keeps what was generated."
                )
            yield Sample(key, template.dialogue(asked[key], row["attempts"][-1]["completion"]))


def choose(samples: list[Sample], count: int, seed: int) -> list[Sample]:
    """At most `count` samples, the same ones for the same seed, in the order given."""
    if count >= len(samples):
        return samples
    places = sorted(random.Random(seed).sample(range(len(samples)), count))
    return [samples[place] for place in places]


class ChatTemplate:
    """A checkpoint's chat template, filled in as transformers does, without its 6 s of imports.

    Raises:
        UserError: the checkpoint has none, or one that is no valid template.
    """

    def __init__(self, checkpoint: Path) -> None:
        import jinja2

        self._checkpoint = checkpoint
        settings = read_json(checkpoint / "tokenizer_config.json")
        self._tokens = {name: _content(value) for name, value in settings.items() if name.endswith("_token")}
        source = _source(checkpoint, settings)
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise UserError(f"{checkpoint}: its chat template is not valid ({error}).") from error

    def dialogue(self, prompt: str, completion: str) -> str:
        """The tokens' text of one answered question, special tokens included.

        The completion stands as it was generated: a template's own way of showing earlier answers may leave
        reasoning out of them.
        """
        import jinja2

        messages: list[Message] = [{"role": "user", "content": prompt}]
        try:
            asked = self._template.render(messages=messages, add_generation_prompt=True, **self._tokens)
        except (jinja2.TemplateError, TypeError) as error:
            raise UserError(f"{self._checkpoint}: its chat template does not take a user message ({error}).") from error
        return asked + completion + self._tokens.get("eos_token", "")


def _source(checkpoint: Path, settings: dict[str, Any]) -> str:
    """The default chat template: a file of its own, or a value in the tokenizer's settings."""
    file = checkpoint / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = {each["name"]: each["template"] for each in found}.get("default")
    if not isinstance(found, str):
        raise UserError(f"{checkpoint}: has no chat template. Use an instruction-tuned model.")
    return found


def _content(token: Any) -> str:
    """A special token's text; the settings may hold it with flags around."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _environment() -> "jinja2.Environment":
    """Jinja as transformers sets it up. Sandboxed: the template comes with the model."""
    import jinja2
    import jinja2.ext
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """`{% generation %}` marks for a trainer what the model wrote; here it is only text."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: "jinja2.parser.Parser") -> list["jinja2.nodes.Node"]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def now(form: str) -> str:
        return datetime.now().strftime(form)

    def to_json(value: Any, **options: Any) -> str:
        return json.dumps(value, **{"ensure_ascii": False, **options})

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    helpers: dict[str, Callable[..., Any]] = {"raise_exception": refuse, "strftime_now": now}
    environment.globals.update(helpers)
    environment.filters["tojson"] = to_json
    return environment
