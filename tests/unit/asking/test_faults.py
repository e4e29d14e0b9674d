"""Endpoints that misbehave: one question's failure leaves the others alone, a hopeless run ends soon, and finished
completions are kept.

Limits in seconds are generous: they only tell a run that ends from one that hangs, for a hanging reply takes 1000 s.
"""

import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from asking import StepRunner, answer_row
from engines import finished, wait_for
from helpers import indexed, problem, read_jsonl, write_jsonl
from servers import PATIENCE, ScriptedServer, Start

GOOD = {"content": "The answer is A", "delay": 0.05}
AT_ONCE = {"content": "The answer is A"}
HANG = {"content": "The answer is A", "delay": 1000}
DOWN = {"status": 500, "error": "CUDA error"}
# A request timeout that no good reply exceeds on a busy machine; each hanging request costs a test this many seconds.
TIMEOUT = 1.0


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errata.inference.client._PAUSE", 0.01)


def ask(steps: StepRunner, questions: int) -> None:
    write_jsonl(steps.data, indexed(*(problem(f"p{number}", "A") for number in range(questions))))


def times(server: ScriptedServer, id: str) -> list[float]:
    """When the requests for a problem's question arrived at the server."""
    return [request["time"] for request in server.seen() if f"of {id}?" in request["prompt"]]


# --- one question


FAULTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "an error": (DOWN, 5, "CUDA error"),
    "garbage": ({"body": "\x00\x01{", "type": "application/json"}, 5, "no JSON"),
    "empty choices": ({"body": '{"choices": []}'}, 5, "no completion"),
    "a dropped connection": ({"drop": True}, 5, "payload"),
    "a hang": (HANG, 3, "no answer within 1 s"),
    "a hang within the answer": ({"stall": True}, 3, "no answer within 1 s"),
}


def test_questions_that_always_fail_leave_the_others_alone_and_only_they_are_asked_again(
    steps: StepRunner, scripted: Start
) -> None:
    ask(steps, 60)
    names = {f"p{5 * number}": fault for number, fault in enumerate(FAULTS.values())}
    server = scripted(
        rules=[
            *({"match": f"of {id}?", "replies": [*[reply] * tries, GOOD]} for id, (reply, tries, _) in names.items()),
            {"match": "Question", "replies": [GOOD]},
        ]
    )
    start = time.monotonic()
    done = steps.answer(server.base_url, concurrency=4, request_timeout=TIMEOUT)
    assert done.status == 0, done.message
    assert time.monotonic() - start < PATIENCE
    errors = {row["id"]: row["error"] for row in done.rows if "error" in row}
    assert errors.keys() == names.keys()
    for id, (_, tries, message) in names.items():
        assert message in errors[id]
        assert len(times(server, id)) == tries
    assert {row["answer"] for row in done.rows if row["id"] not in names} == {"A"}
    assert len(read_jsonl(steps.journal)) == 60 - len(names)
    before = len(server.seen())
    again = steps.answer(server.base_url)
    assert [row["answer"] for row in again.rows] == ["A"] * 60
    assert len(server.seen()) == before + len(names)


def test_a_request_that_hangs_is_sent_again_while_the_others_go_on(steps: StepRunner, scripted: Start) -> None:
    ask(steps, 40)
    server = scripted(
        rules=[{"match": "of p0?", "replies": [HANG, GOOD]}, {"match": "Question", "replies": [GOOD]}],
    )
    done = steps.answer(server.base_url, concurrency=4, request_timeout=TIMEOUT)
    assert done.summary["failed"] == 0
    first, second = times(server, "p0")
    assert second - first < PATIENCE
    assert sum(first < request["time"] < second for request in server.seen()) >= 3
    # the server learns that nobody waits any longer, as soon as its thread runs
    wait_for(server.closed)
    (closed,) = server.closed()
    assert "of p0?" in closed["prompt"]


@pytest.mark.parametrize(
    ("status", "headers", "least"),
    [
        (429, {"retry-after": "0.7"}, 0.7),
        (503, {"retry-after-ms": "400"}, 0.4),
        (429, {"retry-after": "86400"}, 0.0),
        (429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
        (429, {"retry-after": "nan"}, 0.0),
        (429, {"retry-after": "-5"}, 0.0),
    ],
    ids=["seconds", "milliseconds", "a day", "a date", "nan", "negative"],
)
def test_a_pause_that_the_server_asks_for_is_kept_within_reason(
    steps: StepRunner, scripted: Start, status: int, headers: dict[str, str], least: float
) -> None:
    ask(steps, 1)
    busy = {"status": status, "error": "slow down", "headers": headers}
    server = scripted(rules=[{"match": "Question", "replies": [busy, GOOD]}])
    assert steps.answer(server.base_url).summary["correct"] == 1
    first, second = times(server, "p0")
    assert least <= second - first < PATIENCE


# --- all questions


@pytest.mark.parametrize(
    ("step", "reply", "message"),
    [
        ("answer", DOWN, "CUDA error"),
        ("answer", {"status": 429, "error": "quota"}, "quota"),
        ("answer", {"body": "<html>"}, "no JSON"),
        ("answer", HANG, "no answer within 1 s"),
        ("answer", {"drop": True}, "payload"),
        ("retry", DOWN, "CUDA error"),
    ],
    ids=["500", "429", "garbage", "hangs", "dropped", "500 again"],
)
def test_a_server_that_fails_everything_is_an_error_after_a_bounded_number_of_requests(
    steps: StepRunner, scripted: Start, step: str, reply: dict[str, Any], message: str
) -> None:
    ask(steps, 200)
    write_jsonl(steps.answers, [answer_row(f"p{number}", "B", prompt="Question") for number in range(200)])
    # The failures come later than the good replies, so that these arrive before the run ends.
    server = scripted(rules=[{"match": "Question", "replies": [*[AT_ONCE] * 10, {"delay": 0.05, **reply}]}])
    start = time.monotonic()
    run = steps.answer if step == "answer" else steps.retry
    done = run(server.base_url, concurrency=8, request_timeout=TIMEOUT if reply is HANG else 10 * PATIENCE)
    assert done.status == 1
    assert time.monotonic() - start < PATIENCE
    assert f"{server.base_url}: the server of m stopped answering" in done.message
    assert message in done.message
    assert "Traceback" not in done.message
    assert 8 <= len(read_jsonl(steps.journal)) <= 10
    # 16 failures before and 16 after the last good reply, and the requests in flight; each is tried five times
    assert len(server.seen()) <= 10 + (2 * 16 + 8) * 5


def test_an_endpoint_that_goes_away_ends_the_run_within_seconds(steps: StepRunner, scripted: Start) -> None:
    ask(steps, 50)
    server = scripted(
        rules=[{"match": "of p20?", "replies": [{"die": 0}]}, {"match": "Question", "replies": [GOOD]}],
    )
    start = time.monotonic()
    done = steps.answer(server.base_url, concurrency=4)
    assert done.status == 1
    assert time.monotonic() - start < PATIENCE
    assert "stopped answering" in done.message
    assert "run again to go on" in done.message
    keys = {row["key"][0] for row in read_jsonl(steps.journal)}
    # three others were in flight with p20; a slow server may finish a few later ones before it dies
    assert len(keys & {f"p{number}" for number in range(20)}) >= 17
    assert len(keys) < 50


def test_a_completion_of_another_model_ends_the_run_and_is_discarded(steps: StepRunner, scripted: Start) -> None:
    ask(steps, 30)
    server = scripted(
        rules=[
            {"match": "of p9?", "replies": [{**GOOD, "model": "someone-elses"}]},
            {"match": "", "replies": [GOOD]},
        ],
    )
    done = steps.answer(server.base_url, concurrency=3)
    assert done.status == 1
    assert f"{server.base_url}: someone-elses answers there now, not m" in done.message
    kept = [row["key"][0] for row in read_jsonl(steps.journal)]
    assert "p9" not in kept
    # two others were in flight with p9; later ones may be finished before its reply is read
    assert len(set(kept) & {f"p{number}" for number in range(9)}) >= 7
    assert len(kept) < 29


def test_an_alias_of_an_endpoint_may_answer_under_the_name_of_its_version(steps: StepRunner, scripted: Start) -> None:
    ask(steps, 5)
    server = scripted(rules=[{"match": "", "replies": [{**GOOD, "model": "m-2026-11-01"}]}])
    assert steps.answer(server.base_url).summary["correct"] == 5


# --- the run itself


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_against_an_endpoint_ends_at_once_and_keeps_its_journal(
    steps: StepRunner, scripted: Start, how: signal.Signals
) -> None:
    ask(steps, 40)
    server = scripted(rules=[{"match": "of p15?", "replies": [HANG, GOOD]}, {"match": "Question", "replies": [GOOD]}])
    command = [sys.executable, "-m", "errata", *steps.command("answer", server.base_url, concurrency=4)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        wait_for(lambda: finished(steps.folder) >= 20)
        running.send_signal(how)
        try:
            output, _ = running.communicate(timeout=PATIENCE)
        finally:
            running.kill()
    assert running.returncode == 128 + how, output
    assert "Traceback" not in output
    kept = finished(steps.folder)
    assert kept >= 20
    assert not list(steps.folder.glob("answer.*")), "a part of an output was left behind"
    done = steps.answer(server.base_url)
    assert (len(done.rows), done.summary["reused"], done.summary["failed"]) == (40, kept, 0)


def test_a_second_run_at_once_is_refused_and_the_first_is_not_disturbed(steps: StepRunner, scripted: Start) -> None:
    ask(steps, 40)
    # the first run cannot end before the second was refused
    server = scripted(
        rules=[{"match": "of p39?", "replies": [{**AT_ONCE, "until": "refused"}]}, {"match": "", "replies": [AT_ONCE]}]
    )
    command = [sys.executable, "-m", "errata", *steps.command("answer", server.base_url, concurrency=2)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as first:
        wait_for(lambda: finished(steps.folder) >= 5)
        second = steps.answer(server.base_url, output=steps.folder / "second.jsonl")
        assert first.poll() is None
        server.release("refused")
        output, _ = first.communicate(timeout=PATIENCE)
    assert second.status == 1
    assert f"{steps.journal}: another run writes this journal. Wait for it or stop it." in second.message
    assert first.returncode == 0, output
    assert len(server.seen()) == 40
    assert not (steps.folder / "second.jsonl").exists()
