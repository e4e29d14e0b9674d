"""What the tests share: small data, a scripted server, the package for child processes."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from asking import StepRunner
from engines import engine  # noqa: F401 - a fixture
from helpers import copy_project, errata, snakemake
from servers import ScriptedServer
from shared import once

REPOSITORY = Path(__file__).parents[1]

# A shell makes what it runs in the background ignore Ctrl-C, and every child inherits that: tests that send it would
# wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# examples take as long as a busy machine makes them
settings.register_profile("errata", deadline=None)
settings.load_profile("errata")


@pytest.fixture(autouse=True)
def _package_for_child_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m errata` in a child process finds the package, as it does under Snakemake."""
    path = [str(REPOSITORY / "workflow"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Callable[..., ScriptedServer]]:
    """Start OpenAI-compatible servers that answer by a script; they are stopped when the test ends."""
    started: list[ScriptedServer] = []

    def start(**script: Any) -> ScriptedServer:
        server = ScriptedServer(tmp_path / f"scripted-{len(started)}", **script)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> StepRunner:
    return StepRunner(tmp_path, capsys)


@pytest.fixture(scope="session")
def environment() -> Callable[[str], Path]:
    """Build a locked environment where the workflow has it, and give its Python. One that is there is left alone."""

    def build(name: str) -> Path:
        prefix = REPOSITORY / ".envs" / name
        lock, flag = f"envs/{name}.txt", f".envs/{name}.ok"
        errata(sys.executable, "environment", "--lock", lock, "--prefix", prefix, "--flag", flag)
        return prefix / "bin" / "python"

    return build


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the small configuration, run to its end on this machine. Tests leave it as it is."""

    def make(folder: Path) -> None:
        run = snakemake(copy_project(folder / "errata", REPOSITORY / "tests/slow/pipeline.yaml"))
        print(run.stdout[-20000:], run.stderr[-20000:])
        assert run.returncode == 0

    return once(tmp_path_factory, "pipeline", make) / "errata"
