"""The command `errata`, which is the same as `python -m errata`."""

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from errata.__main__ import main
from helpers import REPOSITORY


def test_the_command_of_the_package_is_the_module(capsys: pytest.CaptureFixture[str]) -> None:
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert list(scripts) == ["errata"]
    assert EntryPoint("errata", scripts["errata"], "console_scripts").load() is main
    assert main(["fold", "--data", "none", "--fold", "1", "--folds", "2", "--output", "none"]) == 1
    assert capsys.readouterr().err.startswith("errata fold: ")


@pytest.mark.parametrize("name", ["errata", "__main__.py"])
def test_its_help_says_how_it_was_called(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path("/somewhere", name)), "score", "--help"])
    with pytest.raises(SystemExit):
        main()
    called = "errata" if name == "errata" else "python -m errata"
    assert capsys.readouterr().out.startswith(f"usage: {called} score ")


def test_the_module_runs() -> None:
    done = subprocess.run([sys.executable, "-m", "errata", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: python -m errata [-h]")
