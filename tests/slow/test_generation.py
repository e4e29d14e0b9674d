"""Steps answer and retry with llama.cpp's real server on a real model: broken off, resumed, told what is wrong."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from steps import CONCURRENCY, QUESTIONS, Steps, ordering, wait_for

from helpers import indexed, read_jsonl, write_jsonl

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_step_stops_its_server(steps: Steps, how: signal.Signals) -> None:
    with steps.start() as process:
        wait_for(lambda: steps.finished() >= 3)
        process.send_signal(how)
        start = time.monotonic()
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 128 + how, output
    assert time.monotonic() - start < 60
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


def test_a_killed_server_is_started_anew_and_the_run_ends_well(steps: Steps) -> None:
    with steps.start() as process:
        for kills in (1, 2):
            wait_for(lambda kills=kills: steps.finished() >= 4 * kills)
            os.kill(steps.server(), signal.SIGKILL)
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert output.count("the server of smollm2 ended (exit status -9)") == 2
    assert "Traceback" not in output
    steps.nothing_is_left()
    assert len(steps.ports()) == 3
    rows = read_jsonl(steps.output)
    assert [row["id"] for row in rows] == [f"p{number}" for number in range(QUESTIONS)]
    assert steps.finished() == QUESTIONS
    assert (steps.summary()["failed"], steps.summary()["reused"]) == (0, 0)
    # what was under way at a death is asked again, nothing else; each life is asked whether it is ready
    assert steps.logged(" launch_slot_: ") <= QUESTIONS + 2 * CONCURRENCY + 3


def test_a_killed_server_that_may_not_be_started_anew_ends_the_step_and_the_next_run_goes_on(steps: Steps) -> None:
    with steps.start(restarts=0) as process:
        wait_for(lambda: steps.finished() >= 3)
        os.kill(steps.server(), signal.SIGKILL)
        start = time.monotonic()
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert time.monotonic() - start < 30
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
    assert steps.ports() == {port}
    steps.nothing_is_left()


@pytest.mark.parametrize("content", ["half", "text", "empty"])
def test_a_broken_model_file_is_told_with_the_end_of_the_log(steps: Steps, gguf: Path, content: str) -> None:
    broken = steps.folder / "broken.gguf"
    whole = gguf.read_bytes()
    broken.write_bytes({"half": whole[: len(whole) // 2], "text": b"<html>404</html>" * 100, "empty": b""}[content])
    start = time.monotonic()
    status, output = steps.finish(weights=broken)
    assert status == 1
    assert time.monotonic() - start < 120
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
    assert steps.finish()[0] == 0
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
