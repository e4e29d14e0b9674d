"""Generates files from the configuration's classes: its JSON schema, and the tables of keys in config/README.md.

Run `python -m errata.config.docs` after a change of `errata.config.configuration`; tests compare the files.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from errata.config.configuration import Configuration
from errata.config.section import sections_in
from errata.config.values import DEFAULT_TEXT
from errata.core.errors import UserError
from errata.core.files import write_text
from errata.core.places import REPOSITORY, SCHEMAS

SCHEMA = SCHEMAS / "config.schema.yaml"
README = REPOSITORY / "config" / "README.md"
_TABLE = re.compile(r"(<!-- keys: (.+?) -->\n).*?(<!-- end of keys -->)", re.DOTALL)


def schema_text() -> str:
    """The JSON schema of the configuration as a user writes it, in YAML."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_without_noise(Configuration.model_json_schema()),
    }
    head = "# Generated from workflow/errata/config/configuration.py by `python -m errata.config.docs`.\n"
    return head + yaml.safe_dump(schema, sort_keys=False, allow_unicode=True, width=120)


def _without_noise(rules: Any) -> Any:
    """A schema without pydantic's titles, which only repeat the keys, and without the texts for the tables."""
    if isinstance(rules, list):
        return [_without_noise(item) for item in rules]
    if not isinstance(rules, dict):
        return rules
    return {
        name: {key: _without_noise(item) for key, item in value.items()}
        # names of keys are not words of the schema
        if name in ("properties", "$defs")
        else _without_noise(value)
        for name, value in rules.items()
        if name not in ("title", DEFAULT_TEXT)
    }


def with_tables(text: str) -> str:
    """A page with updated tables of keys. `<!-- keys: dataset.*, hardware -->` starts a table of all keys of
    the section `dataset`, and the key `hardware` itself; `<!-- end of keys -->` ends it.

    Raises:
        UserError: there is no such section or key.
    """
    return _TABLE.sub(lambda match: f"{match[1]}{_table(match[2].split(', '))}{match[3]}", text)


def _table(names: Iterable[str]) -> str:
    names = list(names)
    rows = [row for name in names for row in _rows(name)]
    word = "option" if names == ["strategies.*"] else "key"
    lines = [f"| {word} | default | meaning |", "|---|---|---|"]
    lines += [f"| `{key}` | {_default(field)} | {_meaning(field)} |" for key, field in rows]
    return "\n".join(["", *lines, "", ""])


def _rows(name: str) -> Iterator[tuple[str, FieldInfo]]:
    key, _, rest = name.partition(".")
    field = Configuration.model_fields.get(key)
    if field is None:
        raise UserError(f"{README}: the configuration has no key {key!r}.")
    if not rest:
        yield key, field
    for section in sections_in(field.annotation) if rest else ():
        yield from section.model_fields.items()


def _default(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and DEFAULT_TEXT in extra:
        return str(extra[DEFAULT_TEXT])
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _meaning(field: FieldInfo) -> str:
    """A description as the cell of a table. It is one or more sentences."""
    return (field.description or "").replace("|", "\\|")


def generate_files() -> dict[Path, str]:
    """The text of every generated file."""
    return {SCHEMA: schema_text(), README: with_tables(README.read_text(encoding="utf-8"))}


if __name__ == "__main__":
    for path, text in generate_files().items():
        write_text(path, text)
