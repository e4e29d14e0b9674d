"""What the tests share: small data, a scripted server, the package for child processes."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent
sys.path.insert(0, str(TESTS))

from servers import ScriptedServer  # noqa: E402

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


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
