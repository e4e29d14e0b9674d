"""A checkpoint's chat template."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from errata.core.errors import UserError
from errata.core.files import read_json

if TYPE_CHECKING:
    import jinja2


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
        """What the model read and wrote, special tokens included.

        The completion stands as it was generated: a template's own way of showing earlier answers may leave
        reasoning out of them.
        """
        import jinja2

        messages = [{"role": "user", "content": prompt}]
        try:
            asked = self._template.render(messages=messages, add_generation_prompt=True, **self._tokens)
        except (jinja2.TemplateError, TypeError) as error:
            raise UserError(f"{self._checkpoint}: its chat template does not take a user message ({error}).") from error
        return f"{asked}{completion}{self._tokens.get('eos_token', '')}"


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
