"""Endpoints that misbehave: what fails fails alone, what is hopeless ends soon, and what was finished is kept."""

import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from asking import Asking
from engines import finished, wait_for
from helpers import indexed, problem, read_jsonl, write_jsonl
from servers import ScriptedServer, Start

GOOD = {"content": "The answer is A", "delay": 0.05}
HANG = {"content": "The answer is A", "delay": 1000}
DOWN = {"status": 500, "error": "CUDA error"}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errata.inference.client._PAUSE", 0.01)


def ask(asking: Asking, questions: int) -> None:
    write_jsonl(asking.data, indexed(*(problem(f"p{number}", "A") for number in range(questions))))


def times(server: ScriptedServer, id: str) -> list[float]:
    """When a problem's question came to the server."""
    return [request["time"] for request in server.seen() if f"of {id}?" in request["prompt"]]


# --- one question


FAULTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "an error": (DOWN, 5, "CUDA error"),
    "garbage": ({"body": "\x00\x01{", "type": "application/json"}, 5, "no JSON"),
    "empty choices": ({"body": '{"choices": []}'}, 5, "no completion"),
    "a dropped connection": ({"drop": True}, 5, "payload"),
    "a hang": (HANG, 3, "no answer within 0.3 s"),
    "a hang within the answer": ({"stall": True}, 3, "no answer within 0.3 s"),
}


def test_questions_that_fail_for_ever_fail_alone_and_only_they_are_asked_again(asking: Asking, scripted: Start) -> None:
    ask(asking, 60)
    names = {f"p{5 * number}": fault for number, fault in enumerate(FAULTS.values())}
    server = scripted(
        rules=[
            *({"match": f"of {id}?", "replies": [*[reply] * tries, GOOD]} for id, (reply, tries, _) in names.items()),
            {"match": "Question", "replies": [GOOD]},
        ]
    )
    start = time.monotonic()
    done = asking.answer(server.base_url, concurrency=4, request_timeout=0.3)
    assert done.status == 0, done.message
    assert time.monotonic() - start < 10
    errors = {row["id"]: row["error"] for row in done.rows if "error" in row}
    assert errors.keys() == names.keys()
    for id, (_, tries, message) in names.items():
        assert message in errors[id]
        assert len(times(server, id)) == tries
    assert {row["answer"] for row in done.rows if row["id"] not in names} == {"A"}
    assert len(read_jsonl(asking.journal)) == 60 - len(names)
    before = len(server.seen())
    again = asking.answer(server.base_url)
    assert [row["answer"] for row in again.rows] == ["A"] * 60
    assert len(server.seen()) == before + len(names)


def test_a_request_that_hangs_is_asked_anew_while_the_others_go_on(asking: Asking, scripted: Start) -> None:
    ask(asking, 40)
    server = scripted(
        rules=[{"match": "of p0?", "replies": [HANG, GOOD]}, {"match": "Question", "replies": [GOOD]}],
    )
    done = asking.answer(server.base_url, concurrency=4, request_timeout=0.3)
    assert done.summary["failed"] == 0
    first, second = times(server, "p0")
    assert second - first < 1
    assert sum(first < request["time"] < second for request in server.seen()) >= 3
    (closed,) = server.closed()
    assert "of p0?" in closed["prompt"], "the server is told that nobody waits any more"


@pytest.mark.parametrize(
    ("status", "headers", "least", "most"),
    [
        (429, {"retry-after": "0.7"}, 0.7, 1.6),
        (503, {"retry-after-ms": "400"}, 0.4, 1.3),
        (429, {"retry-after": "86400"}, 0.0, 1.0),
        (429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0, 1.0),
        (429, {"retry-after": "nan"}, 0.0, 1.0),
        (429, {"retry-after": "-5"}, 0.0, 1.0),
    ],
    ids=["seconds", "milliseconds", "a day", "a date", "nan", "negative"],
)
def test_a_server_that_says_when_to_come_back_is_believed_within_reason(
    asking: Asking, scripted: Start, status: int, headers: dict[str, str], least: float, most: float
) -> None:
    ask(asking, 1)
    busy = {"status": status, "error": "slow down", "headers": headers}
    server = scripted(rules=[{"match": "Question", "replies": [busy, GOOD]}])
    assert asking.answer(server.base_url).summary["correct"] == 1
    first, second = times(server, "p0")
    assert least <= second - first < most


# --- all of them


@pytest.mark.parametrize(
    ("step", "reply", "message"),
    [
        ("answer", DOWN, "CUDA error"),
        ("answer", {"status": 429, "error": "quota"}, "quota"),
        ("answer", {"body": "<html>"}, "no JSON"),
        ("answer", HANG, "no answer within 0.1 s"),
        ("answer", {"drop": True}, "payload"),
        ("retry", DOWN, "CUDA error"),
    ],
    ids=["500", "429", "garbage", "hangs", "dropped", "500 again"],
)
def test_a_server_that_fails_everything_is_an_error_after_a_bounded_number_of_requests(
    asking: Asking, scripted: Start, step: str, reply: dict[str, Any], message: str
) -> None:
    ask(asking, 200)
    wrong = {"answer": "B", "expected": "A", "correct": False, "question": 0, "prompt": "Question"}
    write_jsonl(asking.answers, [{"id": f"p{number}", **wrong} for number in range(200)])
    server = scripted(rules=[{"match": "Question", "replies": [*[GOOD] * 10, reply]}])
    start = time.monotonic()
    flags = {"concurrency": 8, "request_timeout": 0.1}
    run = asking.answer if step == "answer" else asking.retry
    done = run(server.base_url, **flags)
    assert done.status == 1
    assert time.monotonic() - start < 10
    assert f"{server.base_url}: the server of m stopped answering" in done.message
    assert message in done.message
    assert "Traceback" not in done.message
    assert 8 <= len(read_jsonl(asking.journal)) <= 10
    # sixteen that came to nothing, before and after the last good one, and those under way; each tried five times
    assert len(server.seen()) <= 10 + (2 * 16 + 8) * 5


def test_an_endpoint_that_goes_away_ends_the_run_within_seconds(asking: Asking, scripted: Start) -> None:
    ask(asking, 50)
    server = scripted(
        rules=[{"match": "of p20?", "replies": [{"die": 0}]}, {"match": "Question", "replies": [GOOD]}],
    )
    start = time.monotonic()
    done = asking.answer(server.base_url, concurrency=4)
    assert done.status == 1
    assert time.monotonic() - start < 10
    assert "stopped answering" in done.message
    assert "run again to go on" in done.message
    assert 16 <= len(read_jsonl(asking.journal)) <= 20


def test_a_completion_of_another_model_ends_the_run_and_is_thrown_away(asking: Asking, scripted: Start) -> None:
    ask(asking, 30)
    server = scripted(
        rules=[
            {"match": "of p9?", "replies": [{**GOOD, "model": "someone-elses"}]},
            {"match": "", "replies": [GOOD]},
        ],
    )
    done = asking.answer(server.base_url, concurrency=3)
    assert done.status == 1
    assert f"{server.base_url}: someone-elses answers there now, not m" in done.message
    kept = [row["key"][0] for row in read_jsonl(asking.journal)]
    assert "p9" not in kept
    assert 7 <= len(kept) <= 12


def test_an_alias_of_an_endpoint_may_answer_under_the_name_of_its_version(asking: Asking, scripted: Start) -> None:
    ask(asking, 5)
    server = scripted(rules=[{"match": "", "replies": [{**GOOD, "model": "m-2026-11-01"}]}])
    assert asking.answer(server.base_url).summary["correct"] == 5


# --- the run itself


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_against_an_endpoint_ends_at_once_and_keeps_its_journal(
    asking: Asking, scripted: Start, how: signal.Signals
) -> None:
    ask(asking, 40)
    server = scripted(rules=[{"match": "of p15?", "replies": [HANG, GOOD]}, {"match": "Question", "replies": [GOOD]}])
    command = [sys.executable, "-m", "errata", *asking.command("answer", server.base_url, concurrency=4)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        wait_for(lambda: finished(asking.folder) >= 20)
        running.send_signal(how)
        start = time.monotonic()
        try:
            output, _ = running.communicate(timeout=20)
        finally:
            running.kill()
    assert time.monotonic() - start < 5
    assert running.returncode == 128 + how, output
    assert "Traceback" not in output
    kept = finished(asking.folder)
    assert kept >= 20
    assert not list(asking.folder.glob("answer.*")), "a part of an output was left behind"
    done = asking.answer(server.base_url)
    assert (len(done.rows), done.summary["reused"], done.summary["failed"]) == (40, kept, 0)


def test_of_two_runs_at_once_the_second_is_told_and_the_first_is_not_disturbed(asking: Asking, scripted: Start) -> None:
    ask(asking, 40)
    server = scripted(rules=[{"match": "Question", "replies": [GOOD]}])
    command = [sys.executable, "-m", "errata", *asking.command("answer", server.base_url, concurrency=2)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as first:
        wait_for(lambda: finished(asking.folder) >= 5)
        second = asking.answer(server.base_url, output=asking.folder / "second.jsonl")
        assert first.poll() is None, "the first run ended before the second was told"
        output, _ = first.communicate(timeout=60)
    assert second.status == 1
    assert f"{asking.journal}: another run writes this journal. Wait for it or stop it." in second.message
    assert first.returncode == 0, output
    assert len(server.seen()) == 40
    assert not (asking.folder / "second.jsonl").exists()


def test_a_proxy_of_the_environment_is_the_way_to_an_endpoint(
    asking: Asking, scripted: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(asking, 3)
    proxy = scripted()
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    assert asking.answer("http://far-away.invalid/v1").summary["correct"] == 3
    assert len(proxy.seen()) == 3
