"""Step fetch with the hub's real library, against a small server that speaks what a download asks for."""

import hashlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from errata.models.store import MARK
from helpers import REPOSITORY

pytestmark = pytest.mark.slow

COMMIT = "c" * 40
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors": bytes(range(256)) * 100_000,
    "README.md": b"not asked for",
    "pytorch_model.bin": b"never asked for",
}


class Hub(ThreadingHTTPServer):
    """One repository, org/name. `stalls`: after so many bytes of a file nothing more comes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[str] = []
        self.stalls: int | None = None
        self.stopped = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        self.stopped.set()
        self.shutdown()
        self.server_close()


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        self.server.asked.append(f"{self.command} {path}")
        file = re.fullmatch(r"/org/name/resolve/\w+/(.+)", path)
        if re.fullmatch(r"/api/models/org/name(/revision/\w+)?", path):
            siblings = [{"rfilename": name} for name in FILES]
            self._json({"id": "org/name", "sha": COMMIT, "siblings": siblings})
        elif re.fullmatch(r"/api/models/org/name/tree/\w+", path):
            self._json([self._entry(name, data) for name, data in FILES.items()])
        elif file and file[1] in FILES:
            self._file(FILES[file[1]])
        else:
            self.send_error(404)

    @staticmethod
    def _entry(name: str, data: bytes) -> dict[str, object]:
        return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.server.stalls is not None and len(data) > self.server.stalls:
            self.wfile.write(data[: self.server.stalls])
            self.server.stopped.wait(60)
            self.close_connection = True
            return
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Callable[[], Hub]]:
    started: list[Hub] = []

    def start() -> Hub:
        server = Hub()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def fetch(environment: Callable[[str], Path], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    python = environment("serve-cpu")

    def run(server: Hub, *flags: str, until: Callable[[], bool] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the step; with `until`, kill it as soon as that holds."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        variables |= {
            "PYTHONPATH": str(REPOSITORY / "workflow"),
            "HF_ENDPOINT": server.address,
            "HF_HOME": str(tmp_path / "home"),
            # as a job has it
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
        }
        command = [python, "-m", "errata", "fetch", "--source", "org/name", *flags]
        command += ["--output", "results/m/base/checkpoint"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=pipe, stderr=pipe, text=True) as process:
            while until is not None and process.poll() is None:
                if until():
                    process.kill()
                time.sleep(0.05)
            out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    return run


def test_a_checkpoint_is_fetched_once_and_used_when_the_hub_is_gone(
    hub: Callable[[], Hub], fetch: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    server = hub()
    done = fetch(server)
    assert done.returncode == 0, done.stderr
    assert f"org/name: commit {COMMIT}, now in models/org--name@{COMMIT}" in done.stdout
    folder = tmp_path / "models" / f"org--name@{COMMIT}"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        MARK,
        "model.safetensors",
        "tokenizer.json",
    ]
    assert (tmp_path / "results/m/base/checkpoint/model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not any("agent" in path for path in server.asked)

    count = len(server.asked)
    assert fetch(server).returncode == 0
    assert server.asked[count:] == ["GET /api/models/org/name"]

    server.stop()
    done = fetch(server)
    assert done.returncode == 0, done.stderr
    assert f"does not name the commit of main (ConnectError); using commit {COMMIT}" in done.stdout


def test_a_broken_download_is_taken_up_file_by_file(
    hub: Callable[[], Hub], fetch: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    server = hub()
    server.stalls = 15_000_000
    part = tmp_path / "models" / f".org--name@{COMMIT}.part"

    def half_there() -> bool:
        small = all((part / name).exists() for name in ("config.json", "tokenizer.json"))
        return small and any(path.stat().st_size > 10_000_000 for path in part.rglob("*.incomplete"))

    done = fetch(server, "--revision", COMMIT, until=half_there)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "results/m/base/checkpoint").exists()
    assert not (tmp_path / "models" / f"org--name@{COMMIT}").exists()

    # now the hub is gone: what is there is not taken for the whole
    server.stop()
    done = fetch(server, "--revision", COMMIT)
    assert done.returncode == 1
    assert "org/name: cannot be downloaded" in done.stderr
    assert "Traceback" not in done.stderr

    server = hub()
    done = fetch(server, "--revision", COMMIT)
    assert done.returncode == 0, done.stderr
    # what had come whole is not asked for again
    got = {path.rpartition("/")[2] for path in server.asked if path.startswith("GET /org")}
    assert got == {"model.safetensors"}
    assert (tmp_path / "results/m/base/checkpoint/model.safetensors").read_bytes() == FILES["model.safetensors"]
