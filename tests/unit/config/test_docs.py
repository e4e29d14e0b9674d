"""The JSON schema and the tables of keys follow from the configuration's classes, and nothing in them has drifted."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic.fields import FieldInfo

from errata.config import docs
from errata.config.configuration import Configuration
from errata.config.section import Section, sections_in
from errata.core.errors import UserError
from helpers import REPOSITORY

CONFIGS = sorted((REPOSITORY / "config").glob("*.yaml"))


def keys(
    section: type[Section] = Configuration, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every key of a section, at every depth."""
    for name, field in section.model_fields.items():
        yield (*path, name), field
        for inner in sections_in(field.annotation):
            yield from keys(inner, (*path, name))


def test_generated_files_are_up_to_date() -> None:
    stale = [str(path) for path, text in docs.generate_files().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run python -m errata.config.docs"


def test_every_key_has_a_description() -> None:
    assert not [".".join(path) for path, field in keys() if not field.description]


def test_the_readme_has_a_row_for_every_key() -> None:
    text = docs.README.read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    sections = {"dataset", "prompts", "models", "generate", "score", "distributed", "quantize"}
    missing = {path[-1] for path, _ in keys()} - rows - sections
    # a part of the row of `take`
    assert missing <= {"train", "test"}


def test_a_table_of_keys_shows_defaults_and_meanings() -> None:
    table = docs.with_tables("<!-- keys: score.*, hardware -->\nold\n<!-- end of keys -->\n")
    assert "old" not in table
    assert "| `majority` | `[]` | Each number k adds a variant" in table
    assert "| `samples` | 8 | " in table
    assert "| `hardware` | `cpu` | " in table
    assert docs.with_tables(table) == table


def test_a_table_of_an_unknown_key_is_refused() -> None:
    with pytest.raises(UserError, match="no key 'generat'"):
        docs.with_tables("<!-- keys: generat.* -->\n<!-- end of keys -->")


def test_the_readme_names_every_committed_configuration() -> None:
    text = docs.README.read_text(encoding="utf-8")
    assert [path.name for path in CONFIGS if path.name not in text] == []


def schema_faults(config: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(yaml.safe_load(docs.SCHEMA.read_text(encoding="utf-8")))
    return [error.message for error in validator.iter_errors(config)]


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if path.name != "llm_reason.yaml"], ids=lambda path: path.name
)
def test_the_schema_accepts_every_committed_configuration(path: Path) -> None:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    # JSON has no numbers as keys
    config["memory_budget_gib"] = {str(bits): limit for bits, limit in config.get("memory_budget_gib", {}).items()}
    for model in config["models"].values():
        model["serve_quantized"] = {str(bits): each for bits, each in model.get("serve_quantized", {}).items()}
    assert schema_faults(config) == []


@pytest.mark.parametrize(
    "section",
    [
        {"generat": {}},
        {"generate": {"atempts": 3}},
        {"generate": {"attempts": 0}},
        {"generate": {"top_p": 0}},
        {"generate": {"retry_temperature": []}},
        {"generate": {"retry_temperature": [-1]}},
        {"models": {"a/b": {"source": "x"}}},
        {"models": {}},
        {"strategies": []},
        {"strategies": ["sefl"]},
        {"strategies": {"self": {"method": "sefl"}}},
        {"quantize": {"bits": [3, 3]}},
        {"quantize": {"bits": [5]}},
        {"score": {"majority": [0]}},
        {"memory_budget_gib": {"5": 1}},
        {"distributed": {"strategy": "mpi"}},
        {"dataset": {"train": "a", "test": "b", "folds": 1}},
        {"dataset": {"train": "a"}},
    ],
    ids=str,
)
def test_the_schema_and_the_classes_refuse_the_same(section: dict[str, Any]) -> None:
    config = {"dataset": {"train": "a", "test": "b"}, "models": {"m": {"source": "x"}}}
    assert schema_faults(config) == []
    assert schema_faults({**config, **section})
