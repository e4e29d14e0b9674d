"""Starts steps with llama.cpp's real server on the real small model, and looks for what they leave behind."""

import json
import os
import random
import re
import socket
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers import PROMPTS, indexed, write_jsonl

QUESTIONS = 20
CONCURRENCY = 4
NAMES = ["Anna", "Bert", "Cleo", "Dora"]


class Steps:
    """Starts steps in the serve environment; every process of theirs carries a mark that is looked for afterwards."""

    def __init__(self, python: Path, gguf: Path, folder: Path) -> None:
        self.python, self._gguf = python, gguf
        self.folder = folder
        self.journal = folder / "journal.jsonl"
        self.log = folder / "server.log"
        self.output = folder / "results" / "out.jsonl"
        self._mark = f"ERRATA_TEST={uuid.uuid4()}"
        self.data = write_jsonl(folder / "data.jsonl", indexed(*map(ordering, range(QUESTIONS))))

    def start(self, *more: object, step: str = "answer", **flags: object) -> "subprocess.Popen[str]":
        given: dict[str, object] = {
            "data": self.data,
            "model": "smollm2",
            "weights": self._gguf,
            "server-options": json.dumps({"context": 512}),
            "max-tokens": 24,
            "concurrency": CONCURRENCY,
            "journal": self.journal,
            "server-log": self.log,
            "output": self.output,
            "summary": self.folder / "results" / "summary.json",
            **({"prompt": PROMPTS / "en" / "answer.txt"} if step == "answer" else {}),
            **{name.replace("_", "-"): value for name, value in flags.items()},
        }
        self.log.unlink(missing_ok=True)
        words = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
        name, _, mark = self._mark.partition("=")
        return subprocess.Popen(
            [self.python, "-m", "errata", step, *words, *map(str, more)],
            env={**os.environ, name: mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, *more: object, **flags: Any) -> tuple[int, str]:
        """Run a step to its end; give its exit status and what it printed."""
        with self.start(*more, **flags) as process:
            output, _ = process.communicate(timeout=900)
        return process.returncode, output

    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads((self.folder / "results" / "summary.json").read_text())
        return summary

    def finished(self) -> int:
        """Completions that are in the journal."""
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def logged(self, words: str) -> int:
        """How often the server's log of this run says so."""
        return self.log.read_text(errors="replace").count(words) if self.log.exists() else 0

    def asked(self) -> int:
        """Requests that the server of this log began, without the one that asked whether it is ready."""
        return max(0, self.logged(" launch_slot_: ") - 1)

    def ports(self) -> set[int]:
        """Of the server, and of those before it that broke down in this run."""
        # five digits, since lines of several threads may stand in one
        return set(map(int, re.findall(r"http://127\.0\.0\.1:(\d{5})", self.log.read_text(errors="replace"))))

    def processes(self) -> list[int]:
        """Every process of a step that is still alive, servers and their children included."""
        found = []
        for process in Path("/proc").iterdir():
            try:
                if process.name.isdigit() and self._mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except (OSError, ProcessLookupError):
                continue
        return found

    def server(self) -> int:
        """The process of the server, once it asks for nothing but to be asked."""
        for process in self.processes():
            if b"errata.inference.llamacpp" in Path(f"/proc/{process}/cmdline").read_bytes():
                return process
        raise AssertionError("no server runs")

    def nothing_is_left(self) -> None:
        wait_for(lambda: not self.processes(), 30)
        if self.logged("listening on"):
            # a process that ends loses its environment, by which it is found, a moment before its sockets
            wait_for(lambda: all(map(free, self.ports())), 5)


def free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def ordering(number: int, questions: int = 1) -> dict[str, Any]:
    """A small puzzle with up to three questions; the numbers make the prompts differ."""
    names = random.Random(number).sample(NAMES, 3)
    places = ["the oldest", "in the middle", "the youngest"][:questions]
    return {
        "id": f"p{number}",
        "problem": f"Case {number}. {names[0]} is older than {names[1]}. {names[1]} is older than {names[2]}.",
        "questions": [
            {"question": f"Who is {place}?", "options": sorted(names), "answer": "ABC"[sorted(names).index(name)]}
            for place, name in zip(places, names, strict=False)
        ],
    }


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until something is so: as long as an idle machine needs at most, and five times as long on a busy one."""
    deadline = time.monotonic() + 5 * seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
