"""Steps answer and retry with llama.cpp's real server on a real model: killed, broken off, resumed."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import indexed, read_jsonl, write_jsonl

pytestmark = pytest.mark.slow

QUESTIONS = 20
CONCURRENCY = 4
NAMES = ["Anna", "Bert", "Cleo", "Dora"]


class Steps:
    """Starts steps in the serve environment; every process of theirs carries a mark that is looked for afterwards."""

    def __init__(self, python: Path, gguf: Path, folder: Path) -> None:
        self._python, self._gguf = python, gguf
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
            **{name.replace("_", "-"): value for name, value in flags.items()},
        }
        self.log.unlink(missing_ok=True)
        words = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
        name, _, mark = self._mark.partition("=")
        return subprocess.Popen(
            [self._python, "-m", "errata", step, *words, *map(str, more)],
            env={**os.environ, name: mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, *more: object, **flags: Any) -> tuple[int, str]:
        """Run a step to its end; give its exit status and what it printed."""
        with self.start(*more, **flags) as process:
            output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads((self.folder / "results" / "summary.json").read_text())
        return summary

    def finished(self) -> int:
        """Completions that are in the journal."""
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def asked(self) -> int:
        """Requests that the server of this log began, without the one that asked whether it is ready."""
        return max(0, self.log.read_text(errors="replace").count(" launch_slot_: ") - 1) if self.log.exists() else 0

    def port(self) -> int:
        (port,) = set(re.findall(r"http://127\.0\.0\.1:(\d+)", self.log.read_text(errors="replace")))
        return int(port)

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
            if b"errata.llamacpp" in Path(f"/proc/{process}/cmdline").read_bytes():
                return process
        raise AssertionError("no server runs")

    def nothing_is_left(self) -> None:
        wait_for(lambda: not self.processes(), 30)
        if self.log.exists() and "listening on" in self.log.read_text(errors="replace"):
            # a process that ends loses its environment, by which it is found, a moment before its sockets
            wait_for(self.port_is_free, 5)

    def port_is_free(self) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port()))
            except OSError:
                return False
            return True


@pytest.fixture
def steps(environment: Callable[[str], Path], gguf: Path, tmp_path: Path) -> Iterator[Steps]:
    runner = Steps(environment("serve-cpu"), gguf, tmp_path)
    yield runner
    for process in runner.processes():
        os.kill(process, signal.SIGKILL)


def ordering(number: int) -> dict[str, Any]:
    """A small puzzle; the numbers make the prompts differ."""
    names = random.Random(number).sample(NAMES, 3)
    return {
        "id": f"p{number}",
        "problem": f"Case {number}. {names[0]} is older than {names[1]}. {names[1]} is older than {names[2]}.",
        "questions": [
            {"question": "Who is the oldest?", "options": sorted(names), "answer": "ABC"[sorted(names).index(names[0])]}
        ],
    }


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_killed_at_random_moments_nothing_is_lost_and_nothing_asked_twice(steps: Steps) -> None:
    chance = random.Random(7)
    asked = kills = 0
    kept = b""
    while True:
        before = steps.finished()
        with steps.start() as process:
            # some time after this run's first completion, or while its server starts
            target = before + chance.choice([0, 1, 3, 6])
            wait_for(lambda target=target: steps.finished() >= target or process.poll() is not None)
            time.sleep(chance.random() * 0.5)
            process.kill()
            process.communicate()
        steps.nothing_is_left()
        asked += steps.asked()
        kills += 1
        content = steps.journal.read_bytes() if steps.journal.exists() else b""
        assert content.startswith(kept)
        # a line torn off by the kill was never finished
        kept = content[: content.rfind(b"\n") + 1]
        if kills == 5 or process.returncode == 0:
            break
    status, output = steps.finish()
    assert status == 0, output
    steps.nothing_is_left()
    asked += steps.asked()
    rows = read_jsonl(steps.output)
    assert [row["id"] for row in rows] == [f"p{number}" for number in range(QUESTIONS)]
    assert steps.finished() == QUESTIONS
    assert steps.summary()["reused"] + steps.asked() == QUESTIONS
    assert QUESTIONS <= asked <= QUESTIONS + kills * CONCURRENCY, "what was under way may be asked again, nothing else"
    journaled = {
        json.loads(line)["key"][0]: json.loads(line)["text"] for line in steps.journal.read_bytes().splitlines()
    }
    assert {row["id"]: row["completion"] for row in rows} == journaled
    # and now there is nothing left to ask: no server is started
    assert steps.finish() == (0, "")
    assert not steps.log.exists()
    assert read_jsonl(steps.output) == rows


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_step_stops_its_server(steps: Steps, how: signal.Signals) -> None:
    with steps.start() as process:
        wait_for(lambda: steps.finished() >= 3)
        process.send_signal(how)
        start = time.monotonic()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + how, output
    assert time.monotonic() - start < 15
    assert "Traceback" not in output
    steps.nothing_is_left()
    assert not steps.output.exists()
    assert steps.finished() >= 3


def test_a_step_killed_while_its_server_loads_leaves_nothing(steps: Steps) -> None:
    with steps.start() as process:
        wait_for(lambda: steps.log.exists() and len(steps.processes()) == 2)
        process.kill()
        process.communicate()
    steps.nothing_is_left()


def test_a_killed_server_ends_the_step_at_once_and_the_next_run_goes_on(steps: Steps) -> None:
    with steps.start() as process:
        wait_for(lambda: steps.finished() >= 3)
        os.kill(steps.server(), signal.SIGKILL)
        start = time.monotonic()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert time.monotonic() - start < 10
    assert "the server of smollm2 ended (exit status -9)" in output
    assert f"The end of {steps.log}:" in output
    assert output.count("  | ") >= 10
    assert "Traceback" not in output
    steps.nothing_is_left()
    kept = steps.finished()
    assert steps.finish()[0] == 0
    assert steps.summary()["reused"] == kept
    assert len(read_jsonl(steps.output)) == QUESTIONS


def test_a_fixed_port_is_taken_or_told_to_be_in_use(steps: Steps) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, output = steps.finish(port=port)
        assert status == 1
        assert f"port {port} is in use" in output
        assert not steps.log.exists(), "nothing was started"
    status, output = steps.finish(port=port)
    assert status == 0, output
    assert steps.port() == port
    steps.nothing_is_left()


@pytest.mark.parametrize("content", ["half", "text", "empty"])
def test_a_broken_model_file_is_told_with_the_end_of_the_log(steps: Steps, gguf: Path, content: str) -> None:
    broken = steps.folder / "broken.gguf"
    whole = gguf.read_bytes()
    broken.write_bytes({"half": whole[: len(whole) // 2], "text": b"<html>404</html>" * 100, "empty": b""}[content])
    start = time.monotonic()
    status, output = steps.finish(weights=broken)
    assert status == 1
    assert time.monotonic() - start < 60
    assert "the server of smollm2 ended" in output
    assert "broken.gguf" in output
    steps.nothing_is_left()


def test_faults_are_told_before_the_server_is_started(steps: Steps) -> None:
    results = steps.folder / "results"
    results.write_text("a file in place of the folder")
    status, output = steps.finish(journal=results / "journal.jsonl")
    assert status == 1
    assert f"{results / 'journal.jsonl'}: cannot write" in output
    status, output = steps.finish(weights=steps.folder / "nowhere.gguf")
    assert status == 1
    assert "nowhere.gguf: no such model folder or GGUF file" in output
    assert not steps.log.exists()


def test_an_unknown_engine_option_is_told(steps: Steps) -> None:
    status, output = steps.finish(server_options=json.dumps({"contxt": 512}))
    assert status == 1
    assert "unknown llama.cpp options: contxt" in output
    assert "context" in output
    steps.nothing_is_left()


def test_a_question_too_long_for_the_context_fails_alone(steps: Steps) -> None:
    records = [ordering(0), ordering(1), ordering(2)]
    records[1]["problem"] += " It rains." * 400
    write_jsonl(steps.data, indexed(*records))
    status, output = steps.finish()
    assert status == 0, output
    rows = read_jsonl(steps.output)
    assert [row["finish_reason"] == "error" for row in rows] == [False, True, False]
    assert "context" in rows[1]["error"]
    assert steps.summary()["failed"] == 1


def test_retries_of_a_real_model_differ_and_end_when_right(steps: Steps) -> None:
    write_jsonl(steps.data, indexed(*map(ordering, range(8))))
    assert steps.finish(prompt="en")[0] == 0
    answers = steps.output.rename(steps.folder / "answers.jsonl")
    wrong = [row for row in read_jsonl(answers) if not row["correct"]]
    assert wrong, "a model this small does not get everything right"
    flags = {"answers": answers, "attempts": 3, "temperature": 0.9, "top_p": 0.95}
    status, output = steps.finish(step="retry", **flags)
    assert status == 0, output
    rows = read_jsonl(steps.output)
    assert [row["id"] for row in rows] == [row["id"] for row in wrong]
    for row in rows:
        right = [attempt["correct"] for attempt in row["attempts"]]
        assert right.count(True) == (row["outcome"] == "solved")
        assert right[-1] if row["outcome"] == "solved" else len(right) == 3
    texts = [[attempt["completion"] for attempt in row["attempts"]] for row in rows if len(row["attempts"]) > 1]
    assert any(len(set(each)) > 1 for each in texts), "the seed of an attempt makes a difference"
    # nothing is asked twice, and attempts that came later are asked for alone
    assert steps.finish(step="retry", **flags)[0] == 0
    assert not steps.log.exists()
    assert read_jsonl(steps.output) == rows
