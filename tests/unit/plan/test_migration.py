"""Records of version 0.1.0 are rewritten; others are left alone."""

import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest

from errata.config.validation import validate
from errata.plan import layout
from errata.plan.configuration_file import write_configuration
from errata.plan.migration import migrate

CONFIG = {"dataset": {"train": "a", "test": "b"}, "models": {"m": {"source": "x"}}}
PYTHON = repr(".envs/serve-cpu/bin/python")


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The record of the report; the working directory is a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ".snakemake" / "metadata" / urlsafe_b64encode(layout.REPORT.encode()).decode()
    path.parent.mkdir(parents=True)
    return path


def old(**changed: Any) -> dict[str, Any]:
    text = json.dumps(validate(CONFIG).to_record())
    return {
        **{"rule": "report", "params": [PYTHON, repr(text)], "input": ["a"], "code": "{params.python} ..."},
        **{"endtime": 1.5, "record_format_version": 6, **changed},
    }


def test_the_configuration_of_an_old_record_becomes_the_path_of_its_file(record: Path) -> None:
    record.write_text(json.dumps(old()))
    migrate(Path(".snakemake"))
    migrated = json.loads(record.read_text())
    # the same configuration is no reason to make it again, another one is
    assert migrated["params"] == sorted([PYTHON, repr(write_configuration(validate(CONFIG)))])
    assert repr(write_configuration(validate({**CONFIG, "generate": {"seed": 2}}))) not in migrated["params"]
    assert migrated == old(params=migrated["params"], input=None, code=None)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(old(params=[PYTHON, repr("results/x.json"), "[]", "3"])),
        json.dumps(old(params=None)),
        '{"rule": "re',
        "[]",
    ],
)
def test_records_of_this_version_and_broken_ones_are_left_alone(record: Path, text: str) -> None:
    record.write_text(text)
    migrate(Path(".snakemake"))
    assert record.read_text() == text


def test_without_records_there_is_nothing_to_do(tmp_path: Path) -> None:
    migrate(tmp_path)
