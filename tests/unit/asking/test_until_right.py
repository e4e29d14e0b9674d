"""Step retry against a scripted server: the order of the attempts, and which are cancelled."""

import json
from typing import Any

import pytest

from asking import StepRunner, answer_row
from errata.__main__ import main
from helpers import indexed, problem, read_jsonl, write_jsonl
from servers import ScriptedServer, Start

GOOD, BAD = {"content": "The answer is A"}, {"content": "The answer is B"}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errata.inference.client._PAUSE", 0.01)


def first_wrong(steps: StepRunner, *ids: str) -> None:
    """Write problems of one question each with a wrong first answer; the prompt is the id in brackets."""
    write_jsonl(steps.data, indexed(*(problem(id, "A") for id in ids)))
    write_jsonl(steps.answers, [answer_row(id, "B") for id in ids])


def rule(id: str, *replies: dict[str, Any]) -> dict[str, Any]:
    return {"match": f"[{id}]", "replies": list(replies)}


def asked(server: ScriptedServer, id: str) -> list[dict[str, Any]]:
    return [request for request in server.seen() if request["prompt"] == f"[{id}]"]


# --- attempts of one question


def test_each_attempt_has_its_own_temperature_and_further_ones_have_the_last(
    steps: StepRunner, scripted: Start
) -> None:
    first_wrong(steps, "p")
    server = scripted(rules=[rule("p", BAD)])
    done = steps.retry(server.base_url, attempts=5, temperature=(0.6, 0.8, 1.0))
    ladder = [0.6, 0.8, 1.0, 1.0, 1.0]
    assert [attempt["temperature"] for attempt in done.rows[0]["attempts"]] == ladder
    assert sorted(request["temperature"] for request in server.seen()) == ladder
    # with other temperatures, only attempts at the same temperature are reused
    assert steps.retry(server.base_url, attempts=5, temperature=(0.6, 0.9, 1.0)).summary["reused"] == 4


def test_keep_asks_until_enough_different_completions_are_right(steps: StepRunner, scripted: Start) -> None:
    first_wrong(steps, "two", "alike", "late")
    again = {"content": "  the ANSWER  is a\n"}
    other = {"content": "B is younger, so the answer is A"}
    server = scripted(
        rules=[
            rule("two", BAD, GOOD, again, BAD, other, {"content": "Thus the answer is A"}),
            rule("alike", GOOD, again),
            rule("late", *[BAD] * 5, GOOD),
        ]
    )
    done = steps.retry(server.base_url, attempts=6, keep=2, hedging=0)
    rows = {row["id"]: row for row in done.rows}
    assert [attempt["correct"] for attempt in rows["two"]["attempts"]] == [False, True, True, False, True]
    assert [attempt["correct"] for attempt in rows["alike"]["attempts"]] == [True] * 6
    assert {row["outcome"] for row in done.rows} == {"solved"}
    assert done.summary["solved_by_attempt"] == [1, 1, 0, 0, 0, 1]
    assert done.summary["right"] == 3 + 6 + 1
    files = ["--data", str(steps.data), "--answers", str(steps.answers)]
    files += ["--retries", str(steps.folder / "retry.out.jsonl")]
    output = steps.folder / "self.json"
    for keep, outputs in (
        (1, ["The answer is A"] * 3),
        (2, ["The answer is A", other["content"], "The answer is A", "The answer is A"]),
    ):
        assert main(["training-set", *files, "--keep", str(keep), "--output", str(output)]) == 0
        assert [row["output"] for row in json.loads(output.read_text())] == outputs


def test_the_outcome_says_why_a_question_was_not_solved(steps: StepRunner, scripted: Start) -> None:
    cut = {"content": "The answer is A. But", "finish_reason": "length"}
    mute, broken = {"content": "Hm."}, {"status": 500}
    replies = {
        "truncated": [cut],
        "unreadable": [cut, mute],
        "exhausted": [cut, mute, BAD],
        "failed": [*[broken] * 15],
        "truncated or failed": [*[broken] * 5, cut],
        "solved": [cut, mute, GOOD],
    }
    first_wrong(steps, *replies)
    server = scripted(rules=[rule(id, *each) for id, each in replies.items()])
    done = steps.retry(server.base_url, attempts=3, hedging=0, concurrency=1)
    assert {row["id"]: row["outcome"] for row in done.rows} == {
        **{id: id for id in replies},
        "truncated or failed": "truncated",
    }
    assert done.summary["truncated"] == 2
    again = steps.retry(server.base_url, attempts=3, hedging=0)
    assert again.summary["reused"] == 14
    assert len(asked(server, "failed")) == 30, "the next run asks failures again"


# --- side by side


def test_the_last_question_gets_attempts_side_by_side_and_the_server_learns_which_are_cancelled(
    steps: StepRunner, scripted: Start
) -> None:
    # so many that hedging may still waste enough on the hard one, whatever a busy machine has wasted on these
    easy = [f"p{number}" for number in range(150)]
    first_wrong(steps, "hard", *easy)
    slow = {**BAD, "delay": 30}
    server = scripted(
        rules=[
            rule("hard", {**BAD, "delay": 0.4}, slow, {**GOOD, "delay": 0.4}, slow),
            {"match": "[p", "replies": [GOOD]},
        ]
    )
    done = steps.retry(server.base_url, concurrency=8, attempts=6)
    row = done.rows[0]
    assert row["outcome"] == "solved"
    assert [attempt["correct"] for attempt in row["attempts"]] == [False, True]
    sent = asked(server, "hard")
    assert 3 <= len(sent) <= 6
    assert max(request["of_this_prompt"] for request in sent) >= 2
    # all the slow ones, and the server has noticed
    assert len([closed for closed in server.closed() if closed["prompt"] == "[hard]"]) == len(sent) - 2
    assert done.summary["cancelled"] >= len(sent) - 2
    # they ran for longer than a usual completion takes, so each counts as one completion
    each = done.summary["completion_tokens"] / done.summary["attempts"]
    assert 0.5 * each <= done.summary["cancelled_tokens"] <= done.summary["cancelled"] * 1.5 * each
    # an easy question may have had two attempts at the same moment; a cancelled one is no attempt
    least = len(easy) + 2
    assert least <= done.summary["attempts"] == len(read_jsonl(steps.journal)) <= least + 7
    # a solved question gets no further attempt in a later run
    before = len(server.seen())
    again = steps.retry(server.base_url, concurrency=8, attempts=6)
    assert again.rows == done.rows
    assert len(server.seen()) == before
    assert again.summary["cancelled_tokens"] == 0, "it is of one run"
    assert again.summary["completion_tokens"] == done.summary["completion_tokens"]


def test_without_hedging_no_question_has_two_attempts_in_flight(steps: StepRunner, scripted: Start) -> None:
    ids = [f"p{number}" for number in range(12)]
    first_wrong(steps, *ids)
    slow_bad, slow_good = {**BAD, "delay": 0.05}, {**GOOD, "delay": 0.05}
    server = scripted(
        rules=[rule(id, *[slow_bad] * (number % 4), slow_good) for number, id in enumerate(ids)],
    )
    done = steps.retry(server.base_url, concurrency=16, attempts=4, hedging=0)
    assert [len(row["attempts"]) for row in done.rows] == [1, 2, 3, 4] * 3
    assert {request["of_this_prompt"] for request in server.seen()} == {1}
    assert (done.summary["cancelled"], done.summary["cancelled_tokens"], server.closed()) == (0, 0, [])
    assert len(server.seen()) == done.summary["requests"] == 30


def test_hedging_does_not_spend_more_than_its_share_when_every_attempt_is_wrong(
    steps: StepRunner, scripted: Start
) -> None:
    first_wrong(steps, *(f"p{number}" for number in range(10)))
    server = scripted(rules=[{"match": "[p", "replies": [{**BAD, "delay": 0.02}]}])
    done = steps.retry(server.base_url, concurrency=32, attempts=5)
    # all attempts are needed, so asking them at once wastes nothing
    assert len(server.seen()) == 50
    assert done.summary["cancelled"] == 0
    assert [[attempt["attempt"] for attempt in row["attempts"]] for row in done.rows] == [[1, 2, 3, 4, 5]] * 10
