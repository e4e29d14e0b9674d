"""Step calibration: the texts that the quantizer sees, from the training split only."""

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
from errata.held_out import add_held_out_arguments, left_out
from errata.records import Key, usable

if TYPE_CHECKING:
    import jinja2


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
            "text": one.prompt if one.completion is None or template is None else template.dialogue(one),
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

    def dialogue(self, exchange: Exchange) -> str:
        """What the model read and wrote, special tokens included.

        The completion stands as it was generated: a template's own way of showing earlier answers may leave
        reasoning out of them.
        """
        import jinja2

        messages = [{"role": "user", "content": exchange.prompt}]
        try:
            asked = self._template.render(messages=messages, add_generation_prompt=True, **self._tokens)
        except (jinja2.TemplateError, TypeError) as error:
            raise UserError(f"{self._checkpoint}: its chat template does not take a user message ({error}).") from error
        return f"{asked}{exchange.completion}{self._tokens.get('eos_token', '')}"


def _source(checkpoint: Path, settings: dict[str, Any]) -> str:
    """The default chat template: a file of its own, or a value in the tokenizer's settings."""
    file = checkpoint / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = {each["name"]: each["template"] for each in found}.get("default")
    if not isinstance(found, str):
        raise UserError(f"{checkpoint}: has no chat template. Set quantize.calibration to `prompts`.")
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
