"""What users install: commands run after `make setup` alone, without the development extras."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from errata.__main__ import STEPS
from errata.environments.environment import find_uv, uv_environment
from helpers import REPOSITORY, copy_project, copy_run

pytestmark = pytest.mark.slow

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


class Installation:
    """A copy of the project, installed into an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = copy_project(folder, REPOSITORY / "config" / "config.yaml")
        for name in ("pyproject.toml", "README.md"):
            shutil.copy2(REPOSITORY / name, folder)
        uv, variables = find_uv(), uv_environment()
        self._bin = folder / ".venv" / "bin"
        # as the Makefile does with venv and pip, in a tenth of the time
        for words in (["venv", "--python", sys.executable, ".venv"], ["pip", "install", "--editable", "."]):
            place = ["--python", str(self._bin / "python")] if words[0] == "pip" else []
            subprocess.run([*uv, *words, *place, "--quiet"], cwd=folder, env=variables, check=True)

    def run(self, command: str, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command as in a shell in which .venv is activated, in the project or in another folder."""
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        variables["PATH"] = f"{self._bin}:{variables['PATH']}"
        name, *words = shlex.split(command)
        return subprocess.run(
            [self._bin / name, *words],
            cwd=folder or self.folder,
            env=variables,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("installed") / "errata")


def test_none_of_the_development_extras_is_there(installed: Installation) -> None:
    shown = installed.run(
        'python -c \'import importlib.util as util; print(*map(util.find_spec, ["pytest", "mypy"]))\''
    )
    assert shown.stdout == "None None\n", shown.stderr


@pytest.mark.parametrize("start", ["errata", "python -m errata"])
def test_the_command_says_its_version(installed: Installation, start: str) -> None:
    shown = installed.run(f"{start} --version")
    assert shown.returncode == 0, shown.stderr
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", shown.stdout)


def test_every_step_shows_its_flags(installed: Installation) -> None:
    shown = {name: installed.run(f"errata {name} --help") for name in STEPS}
    assert {name: done.stderr for name, done in shown.items() if done.returncode} == {}
    assert all("--" in done.stdout for done in shown.values())


@pytest.mark.parametrize("profile", ["profiles/local", "slurm"])
def test_the_workflow_is_planned(installed: Installation, profile: str) -> None:
    shown = installed.run(f"snakemake --profile {profile} -n")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert re.search(r"^report +1$", shown.stdout, re.MULTILINE)


def test_graphs_are_drawn_by_the_commands_that_the_pages_show(installed: Installation) -> None:
    """Nothing may precede the graph, which is for `dot`."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    commands = {
        each.strip() for text in texts for each in re.findall(r"(snakemake [^`|\n]*--(?:rulegraph|dag)[^`|\n]*)", text)
    }
    assert commands
    for command in commands:
        shown = installed.run(command)
        assert shown.returncode == 0, shown.stderr
        assert re.match(r"digraph|flowchart|---\n", shown.stdout), f"{command}: {shown.stdout[:200]}"


def test_snakemake_reports_on_a_run(installed: Installation, pipeline: Path, tmp_path: Path) -> None:
    run = copy_run(pipeline, tmp_path / "errata")
    shown = installed.run("snakemake --profile profiles/local --report report.zip", run)
    assert shown.returncode == 0, shown.stderr
    assert (run / "report.zip").stat().st_size > 10_000
