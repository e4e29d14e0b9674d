"""Shared by the benchmarks: the scripted server, whole commands with their cost, rounds, tables, the machine.

This process stays small on purpose: on Linux a child's peak memory starts from that of the process that forked it.
"""

import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# the Python of the rules that ask a model; the Python that runs the benchmarks has only the peers' packages
ERRATA = os.environ.get("ERRATA_PYTHON", str(ROOT / ".envs" / "serve-cpu" / "bin" / "python"))
PEERS = Path(sys.executable).parent
MODEL = "scripted"
PROMPT = ROOT / "config" / "prompts" / "en" / "answer.txt"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Cost:
    """The cost of a command: seconds of wall and CPU time, and the peak memory of its largest process in MiB."""

    wall: float
    cpu: float
    memory: float


def command(arguments: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end; its output goes to `log`.

    Raises:
        SystemExit: it failed; with the end of the log.
    """
    with log.open("wb") as output:
        start = time.monotonic()
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}: exit status {process.returncode}\n{log.read_text()[-3000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def errata(
    step: str, data: Path, folder: Path, base_url: str, *flags: str | int | float | Path, model: str = MODEL
) -> tuple[Cost, dict[str, Any]]:
    """Run a step of Errata as its rule does; return its cost and summary. Its rows are in {folder}/{step}.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments: list[str | Path] = [ERRATA, "-m", "errata", step, "--engine", "endpoint", "--model", model]
    arguments += ["--base-url", base_url, "--data", data, "--output", folder / f"{step}.jsonl"]
    arguments += ["--summary", folder / f"{step}.json", "--journal", folder / f"{step}.journal.jsonl"]
    arguments += ["--server-log", folder / "server.log", *map(str, flags)]
    cost = command(arguments, folder / f"{step}.log", {"PYTHONPATH": str(ROOT / "workflow")})
    return cost, json.loads((folder / f"{step}.json").read_text())


@dataclass(frozen=True)
class Scripted:
    """A running scripted server."""

    url: str
    pid: int

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def reset(self) -> dict[str, Any]:
        """The requests and tokens since the last reset, see `scripted.Metrics`."""
        with urllib.request.urlopen(f"{self.url}/reset", timeout=30) as reply:
            metrics: dict[str, Any] = json.load(reply)
            return metrics


@contextmanager
def scripted(*flags: str | int | float) -> Iterator[Scripted]:
    """Run the scripted server in a process of its own until the block ends."""
    arguments = [sys.executable, str(HERE / "scripted.py"), *map(str, flags)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Scripted(f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid)
        finally:
            process.terminate()


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder; KEEP=1 keeps it. The limit of open files is raised as far as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = Path(tempfile.mkdtemp(prefix="errata-bench-"))
    try:
        yield folder
    finally:
        if os.environ.get("KEEP"):
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)


def alternate(clients: Mapping[str, Callable[[int], Result]], rounds: int) -> dict[str, list[Result]]:
    """A B C A B C ...: every client once a round, so that a slow minute of the machine affects all of them."""
    results: dict[str, list[Result]] = {name: [] for name in clients}
    for number in range(rounds):
        for name, client in clients.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            results[name].append(client(number))
    return results


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers are aligned to the right."""
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(['---', *['--:'] * (len(header) - 1)])}|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)]) + "\n"


def machine(*packages: str) -> str:
    """One line: processor, cores, Python, versions of packages of this environment, and the load at this moment."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = next((line.partition(":")[2].strip() for line in cpu.splitlines() if line.startswith("model name")), "?")
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [
        f"{len(os.sched_getaffinity(0))} cores of an {name}",
        f"{gib:.0f} GiB",
        f"Python {platform.python_version()}",
    ]
    parts += [f"{package} {version(package)}" for package in packages]
    return f"{', '.join(parts)}; load at the start {os.getloadavg()[0]:.2f}"
