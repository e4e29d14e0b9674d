"""Reading the configuration."""

import json
from pathlib import Path

import pytest

from errata.__main__ import main
from errata.core.errors import Faults
from errata.reporting.configuration import read_configuration_file
from helpers import REPOSITORY

YAML = """
dataset: {train: a, test: b}
models: {m: {source: x}}
memory_budget_gib: {3: 32}
"""


def test_a_configuration_is_checked_and_completed(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(YAML)
    configuration = read_configuration_file(path)
    assert (configuration.memory_budget_gib, configuration.generate.attempts) == ({"3": 32}, 6)
    path.write_text(YAML.replace("source", "sauce"))
    with pytest.raises(Faults, match=r"config.yaml(.|\n)*models.m.sauce: unknown key"):
        read_configuration_file(path)


@pytest.mark.parametrize("name", ["config.yaml", "gpu.yaml", "llama3.1-70b.yaml"])
def test_a_completed_configuration_stays_the_same(name: str, tmp_path: Path) -> None:
    """Snakemake's rules give the steps a file that is complete already."""
    configuration = read_configuration_file(REPOSITORY / "config" / name)
    copy = tmp_path / "config.json"
    copy.write_text(json.dumps(configuration.to_record()))
    assert json.dumps(read_configuration_file(copy).to_record()) == copy.read_text()


def test_numbers_of_json_stay_numbers(tmp_path: Path) -> None:
    """YAML reads 1e-05 as a text."""
    path = tmp_path / "config.json"
    path.write_text('{"dataset": {"train": "a", "test": "b"}, "models": {"m": {"source": "x", "serve": {"a": 1e-05}}}}')
    assert read_configuration_file(path).models["m"].serve == {"a": 0.00001}


@pytest.mark.parametrize("text", [None, "{broken", "[1]"])
@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_configuration_that_cannot_be_read(
    text: str | None, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"config.{suffix}"
    if text is not None:
        path.write_text(text)
    flags = ["--leaderboard", str(tmp_path / "l.csv"), "--output", str(tmp_path / "r.html")]
    assert main(["report", "--scores", "x/base/test.json", "--config", str(path), *flags]) == 1
    assert f"--config {path}: " in capsys.readouterr().err
