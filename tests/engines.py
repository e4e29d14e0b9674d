"""Steps that start a server: a stand-in for vLLM's, in real processes that are killed and searched for."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers import PROMPTS, indexed, problem, write_jsonl
from servers import PATIENCE, ScriptedServer, stand_in

Prepare = Callable[..., ScriptedServer]
SLOW_REPLY = {"content": "The answer is A", "delay": 0.1}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prepare]:
    """Let `python -m vllm...` run a stand-in. Processes that it leaves behind are killed at the end of the test."""
    scripts: list[ScriptedServer] = []

    def prepare(**script: object) -> ScriptedServer:
        server = ScriptedServer(tmp_path / "engine", start=False, **script)
        path = stand_in(tmp_path / "stand-in", server.script)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(path), os.environ["PYTHONPATH"]]))
        scripts.append(server)
        return server

    yield prepare
    for server in scripts:
        for name in ("pid", "child"):
            if (server.folder / name).exists() and alive(pid(server, name)):
                os.kill(pid(server, name), signal.SIGKILL)


def pid(server: ScriptedServer, name: str = "pid") -> int:
    """The process id of the stand-in, or of the `child` that it started."""
    wait_for(lambda: (server.folder / name).exists() and (server.folder / name).read_text() != "")
    return int((server.folder / name).read_text())


def alive(process: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds; the limit only matters if the test fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def gone(server: ScriptedServer) -> None:
    """Wait until nothing of the server is left: no process, no child, no open port."""
    wait_for(lambda: not alive(pid(server)))
    wait_for(lambda: not alive(pid(server, "child")))
    wait_for(lambda: free(server.port))


def words(folder: Path, *more: str, step: str = "answer") -> list[str]:
    """The command of a step that asks, with twenty questions, as a rule writes it."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(exist_ok=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    data = write_jsonl(folder / "data.jsonl", indexed(*(problem(f"p{number}", "A") for number in range(20))))
    flags = {
        "data": data,
        "output": folder / "out.jsonl",
        "summary": folder / "summary.json",
        "model": "m",
        "engine": "vllm",
        "weights": checkpoint,
        "journal": folder / "journal.jsonl",
        "server-log": folder / "server.log",
        "concurrency": 4,
        **({"prompt": PROMPTS / "en" / "answer.txt"} if step == "answer" else {}),
    }
    return [step, *(word for name, value in flags.items() for word in (f"--{name}", str(value))), *more]


def step(folder: Path, *more: str) -> "subprocess.Popen[str]":
    """Start step answer in a process of its own."""
    command = [sys.executable, "-m", "errata", *words(folder, *more)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(folder: Path) -> int:
    """The number of completions in the journal."""
    journal = folder / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0
