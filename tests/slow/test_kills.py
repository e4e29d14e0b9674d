"""Exactly once: steps answer and retry with llama.cpp's real server, killed at random; and what it is spared."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from steps import CONCURRENCY, Steps, ordering, wait_for

import engines
from helpers import indexed, problem, read_jsonl, write_jsonl

pytestmark = pytest.mark.slow


def killed(steps: Steps, kills: int, chance: random.Random, **flags: object) -> int:
    """Start a step and kill it so often; give how many requests its servers began."""
    asked = 0
    kept = steps.journal.read_bytes() if steps.journal.exists() else b""
    for _ in range(kills):
        # some time after so many more completions, or while its server starts
        target = steps.finished() + chance.choice([0, 0, 1, 2, 4])
        with steps.start(**flags) as process:
            wait_for(lambda target=target, process=process: steps.finished() >= target or process.poll() is not None)
            time.sleep(chance.random() * 0.5)
            assert process.poll() is None, "it ended before it was killed: give it more to do"
            process.kill()
            process.communicate()
        steps.nothing_is_left()
        asked += steps.asked()
        content = steps.journal.read_bytes() if steps.journal.exists() else b""
        assert content.startswith(kept)
        # a line torn off by the kill was never finished
        kept = content[: content.rfind(b"\n") + 1]
    return asked


def journaled(steps: Steps) -> dict[tuple[str, int, int], str]:
    """Completions by problem, question and attempt; every one stands there once."""
    rows = [json.loads(line) for line in steps.journal.read_bytes().splitlines()]
    texts = {tuple(row["key"]): row["text"] for row in rows}
    assert len(texts) == len(rows)
    return texts


def test_answers_killed_at_five_random_moments_lose_nothing_and_ask_nothing_twice(steps: Steps) -> None:
    kills, questions = 5, 60
    write_jsonl(steps.data, indexed(*map(ordering, range(questions))))
    # how long a completion is does not matter here
    short = {"max_tokens": 6}
    asked = killed(steps, kills, random.Random(7), **short)
    status, output = steps.finish(**short)
    assert status == 0, output
    steps.nothing_is_left()
    asked += steps.asked()
    rows = read_jsonl(steps.output)
    assert [row["id"] for row in rows] == [f"p{number}" for number in range(questions)]
    assert steps.finished() == questions
    assert steps.summary()["reused"] + steps.asked() == questions
    assert questions <= asked <= questions + kills * CONCURRENCY, "what was under way is asked again, nothing else"
    assert {(row["id"], 0, 0): row["completion"] for row in rows} == journaled(steps)
    # and now there is nothing left to ask: no server is started
    assert steps.finish(**short) == (0, "")
    assert not steps.log.exists()
    assert read_jsonl(steps.output) == rows


def test_answers_killed_at_fifteen_more_moments_lose_nothing_and_ask_nothing_twice(
    tmp_path: Path, engine: engines.Prepare
) -> None:
    """Against a stand-in for vLLM's server, which starts in a moment and needs no core to itself."""
    kills, questions, chance = 15, 120, random.Random(9)
    server = engine(rules=[{"match": "Question", "replies": [engines.SLOW_REPLY]}])
    data = write_jsonl(tmp_path / "all.jsonl", indexed(*(problem(f"p{number}", "A") for number in range(questions))))
    journal, kept = tmp_path / "journal.jsonl", b""
    for _ in range(kills):
        target = engines.finished(tmp_path) + chance.choice([0, 0, 1, 2, 4])
        with engines.step(tmp_path, "--data", str(data)) as process:
            wait_for(lambda target=target, process=process: engines.finished(tmp_path) >= target or process.poll())
            time.sleep(chance.random() * 0.5)
            assert process.poll() is None, "it ended before it was killed: give it more to do"
            process.kill()
            process.communicate()
        if (server.folder / "pid").exists():
            wait_for(lambda: not engines.alive(engines.pid(server)))
            # the stand-in leaves its child, which vLLM's own server ends when the kernel sends it SIGTERM
            if engines.alive(engines.pid(server, "child")):
                os.kill(engines.pid(server, "child"), signal.SIGKILL)
        content = journal.read_bytes() if journal.exists() else b""
        assert content.startswith(kept)
        kept = content[: content.rfind(b"\n") + 1]
    with engines.step(tmp_path, "--data", str(data)) as process:
        output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    engines.gone(server)
    assert [row["id"] for row in read_jsonl(tmp_path / "out.jsonl")] == [f"p{number}" for number in range(questions)]
    assert engines.finished(tmp_path) == len({row["digest"] for row in read_jsonl(journal)}) == questions
    assert questions <= len(server.seen()) <= questions + kills * CONCURRENCY


@pytest.mark.parametrize("hedging", [0, 0.3])
def test_retries_killed_at_random_moments_lose_nothing_and_ask_nothing_twice(steps: Steps, hedging: float) -> None:
    kills = 5
    write_jsonl(steps.data, indexed(*map(ordering, range(20))))
    short = {"max_tokens": 12}
    assert steps.finish(**short)[0] == 0
    answers = steps.output.rename(steps.folder / "answers.jsonl")
    first = journaled(steps)
    flags = {"step": "retry", "answers": answers, "attempts": 5, "temperature": 0.9, "hedging": hedging, **short}
    asked = killed(steps, kills, random.Random(8), **flags)
    status, output = steps.finish(**flags)
    assert status == 0, output
    steps.nothing_is_left()
    asked += steps.asked()
    rows = read_jsonl(steps.output)
    assert [row["id"] for row in rows] == [row["id"] for row in read_jsonl(answers) if not row["correct"]]
    again = {(row["id"], 0, attempt["attempt"]): attempt["completion"] for row in rows for attempt in row["attempts"]}
    assert journaled(steps) == first | again
    assert steps.summary()["attempts"] == len(again)
    for row in rows:
        right = [attempt["correct"] for attempt in row["attempts"]]
        assert any(right) if row["outcome"] == "solved" else len(right) == 5
        assert hedging or right.count(True) == (row["outcome"] == "solved")
    if not hedging:
        assert len(again) <= asked <= len(again) + kills * CONCURRENCY
    assert steps.finish(**flags)[0] == 0
    assert not steps.log.exists()
    assert read_jsonl(steps.output) == rows


# Asks for four long completions, drops them as the dispatcher drops losers, and asks for a short one.
CANCEL = """
import asyncio, sys, time
from pathlib import Path
from errata.inference.client import open_client
from errata.inference.journal import Journal
from errata.inference.requests import Request, Sampling
from errata.data.records import Key
from errata.inference.server import ServerSpec, run_server

def request(number, prompt, tokens):
    return Request(Key("p", number), 1, prompt, Sampling(tokens, 0.0, 1.0, number))

async def main(server, journal):
    async with open_client(server, journal, 60.0) as client:
        count = "Count from 1 to 1000, every number on a line of its own: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
        long = [asyncio.create_task(client.complete(request(number, count, 1500))) for number in range(4)]
        await asyncio.sleep(2)
        losers = [task for task in long if task.cancel()]
        await asyncio.gather(*long, return_exceptions=True)
        print(len(losers), flush=True)
        start = time.monotonic()
        await client.complete(request(4, "Hello", 1))
        await asyncio.sleep(max(0, start + 3 - time.monotonic()))

weights, journal, log = map(Path, sys.argv[1:])
spec = ServerSpec("llamacpp", "m", weights, {"parallel": 4, "context": 2048})
with Journal(journal, "m") as journal, run_server(spec, log) as server:
    asyncio.run(main(server, journal))
"""


def test_a_loser_that_is_cancelled_stops_on_the_server_too(steps: Steps, gguf: Path) -> None:
    command = [steps.python, "-c", CANCEL, gguf, steps.journal, steps.log]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    losers = int(done.stdout)
    assert losers >= 1, "all of them came to their end within two seconds"
    # the server looks for closed connections once a second: one may have come to its end before that
    assert 1 <= steps.logged("cancel task") <= losers
    assert steps.finished() == 4 - losers + 1, "what was cancelled is not in the journal"


def test_the_questions_of_one_problem_hit_the_prefix_cache(steps: Steps) -> None:
    write_jsonl(steps.data, indexed(*(ordering(number, questions=3) for number in range(8))))
    status, output = steps.finish(concurrency=2, max_tokens=6)
    assert status == 0, output
    summary = steps.summary()
    # two of three questions find the problem there
    assert summary["cached_tokens"] > 0.4 * summary["prompt_tokens"]
