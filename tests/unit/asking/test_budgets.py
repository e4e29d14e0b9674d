"""Step retry within a budget of tokens or of time, and the figures of continued runs."""

import time
from collections import Counter, defaultdict
from typing import Any

import pytest

from asking import Done, StepRunner, answer_row
from helpers import indexed, problem, read_jsonl, write_jsonl
from servers import ScriptedServer, Start

# wrong completions of several lengths in tokens, as the server reports them
WRONG = [
    {"content": "The answer is B", "delay": 0.01, "usage": {"completion_tokens": tokens}}
    for tokens in (10, 30, 15, 25, 20)
]


def first_wrong(steps: StepRunner, count: int) -> None:
    ids = [f"p{number}" for number in range(count)]
    write_jsonl(steps.data, indexed(*(problem(id, "A") for id in ids)))
    write_jsonl(steps.answers, [answer_row(id, "B") for id in ids])


def rounds(server: ScriptedServer) -> list[int]:
    """For each request, its number among the requests for the same question, from 1."""
    counts: Counter[str] = Counter()
    order = []
    for request in server.seen():
        counts[request["prompt"]] += 1
        order.append(counts[request["prompt"]])
    return order


def texts(done: Done) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for row in done.rows:
        found[row["id"]] = row["attempts"]
    return found


@pytest.mark.parametrize("hedging", [0, 0.3])
def test_a_token_budget_is_kept_and_a_raised_one_continues(steps: StepRunner, scripted: Start, hedging: float) -> None:
    first_wrong(steps, 12)
    server = scripted(rules=[{"match": "[p", "replies": WRONG * 100}])
    flags = {"concurrency": 4, "attempts": 6, "max_tokens": 30, "hedging": hedging}
    small = steps.retry(server.base_url, token_budget=400, **flags)
    # the rest had no room for one more completion of the longest kind beside those in flight
    assert 400 - (4 + 1) * 30 <= small.summary["completion_tokens"] <= 400 + 4 * 30
    assert all(len(row["attempts"]) >= 1 for row in small.rows)
    order = rounds(server)
    # four requests are in flight, which may arrive in another order than they were sent
    assert order.index(2) >= 12 - 3, "every question has its first attempt before any has its second"
    before = len(server.seen())
    again = steps.retry(server.base_url, token_budget=400, **flags)
    assert again.rows == small.rows
    assert len(server.seen()) == before
    more = steps.retry(server.base_url, token_budget=800, **flags)
    assert 800 - (4 + 1) * 30 <= more.summary["completion_tokens"] <= 800 + 4 * 30
    assert more.summary["reused"] == small.summary["attempts"]
    for id, attempts in texts(small).items():
        assert texts(more)[id][: len(attempts)] == attempts
    # without a budget everything is asked
    assert steps.retry(server.base_url, **flags).summary["attempts"] == 12 * 6


def test_a_budget_that_is_spent_at_once_skips_the_rest_and_starts_no_server(steps: StepRunner, scripted: Start) -> None:
    first_wrong(steps, 12)
    server = scripted(rules=[{"match": "[p", "replies": WRONG}])
    done = steps.retry(server.base_url, concurrency=2, max_tokens=30, token_budget=100)
    outcomes = [row["outcome"] for row in done.rows]
    asked = len(server.seen())
    assert 3 <= asked <= 6
    # the first attempts go in the order of the answers
    assert outcomes == ["exhausted"] * asked + ["skipped"] * (12 - asked)
    assert (done.summary["skipped"], done.summary["solved"]) == (12 - asked, 0)
    assert done.summary["tokens_per_solved"] is None
    server.stop()
    nothing = steps.retry(server.base_url, max_tokens=64, token_budget=10)
    assert nothing.summary["skipped"] == 12


def test_a_time_budget_ends_the_asking_and_cancels_requests_in_flight(steps: StepRunner, scripted: Start) -> None:
    first_wrong(steps, 10)
    reply = {"content": "The answer is B", "delay": 0.1}
    server = scripted(
        rules=[{"match": "[p9]", "replies": [{**reply, "delay": 30}]}, {"match": "[p", "replies": [reply]}]
    )
    start = time.monotonic()
    # the slow request must not be sent again for being slow
    done = steps.retry(server.base_url, concurrency=5, attempts=50, hedging=0, time_budget=0.05)
    # 3 s; the slow request alone takes 30 s
    assert 3 <= time.monotonic() - start < 25
    assert done.status == 0
    order = rounds(server)
    assert order[:10] == [1] * 10
    assert done.rows[9]["outcome"] == "skipped"
    assert {row["outcome"] for row in done.rows[:9]} == {"exhausted"}
    # at most 5 in every 0.1 s
    assert 9 <= done.summary["attempts"] <= 150
    assert done.summary["requests"] - done.summary["attempts"] <= 5
    assert 1 <= done.summary["wall_seconds"] <= 4
    assert "[p9]" in {closed["prompt"] for closed in server.closed()}
    assert len(read_jsonl(steps.journal)) == done.summary["attempts"]
    # the budget is for all runs together
    before = len(server.seen())
    again = steps.retry(server.base_url, concurrency=5, attempts=50, hedging=0, time_budget=0.05)
    # what the first run left of its 3 s: at most 5 attempts in every 0.1 s
    left = 5 * (1 + 10 * (3 - done.summary["wall_seconds"]))
    assert again.summary["attempts"] - done.summary["attempts"] <= left
    assert len(server.seen()) - before <= left + 5
    more = steps.retry(server.base_url, concurrency=5, attempts=50, hedging=0, time_budget=0.1)
    assert more.summary["attempts"] > again.summary["attempts"]


@pytest.mark.parametrize("hedging", [0, 0.1])
def test_figures_of_a_continued_run_include_earlier_runs(steps: StepRunner, scripted: Start, hedging: float) -> None:
    first_wrong(steps, 6)
    cached = {"prompt_tokens": 50, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 40}}
    bad = {"content": "The answer is B", "delay": 0.1, "usage": cached}
    server = scripted(rules=[{"match": "[p", "replies": [*[bad] * 17, {**bad, "content": "The answer is A"}]}])
    flags = {"concurrency": 6, "hedging": hedging}
    two = steps.retry(server.base_url, attempts=2, **flags).summary
    assert two["wall_seconds"] >= 0.2
    assert (two["completion_tokens"], two["prompt_tokens"], two["cached_tokens"]) == (12 * 7, 12 * 50, 12 * 40)
    five = steps.retry(server.base_url, attempts=5, **flags).summary
    assert five["reused"] == 12
    attempts = five["attempts"]
    assert attempts >= 18
    assert (five["completion_tokens"], five["cached_tokens"]) == (attempts * 7, attempts * 40)
    assert five["wall_seconds"] >= two["wall_seconds"] + 0.1
    assert five["tokens_per_solved"] == pytest.approx(attempts * 7 / five["solved"], abs=0.1)
    server.stop()
    nothing = steps.retry(server.base_url, attempts=5, **flags).summary
    assert (nothing["requests"], nothing["saturated"], nothing["reused"]) == (0, None, attempts)
    for name in ("wall_seconds", "completion_tokens", "prompt_tokens", "cached_tokens", "tokens_per_solved", "solved"):
        assert nothing[name] == five[name], name
