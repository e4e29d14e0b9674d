"""Step retry against a scripted server: asked until right, at most as often as allowed, and every attempt is kept."""

from typing import Any

from asking import StepRunner, answer_row
from errata.data.rows import OUTCOMES
from helpers import indexed, problem, write_jsonl
from servers import Start


def wrong(id: str, *answers: str | None, expected: str = "A") -> list[dict[str, Any]]:
    """Lines of answers, as step answer writes them."""
    return [
        answer_row(id, answer, expected, question=index, prompt=f"[{id}/{index}]")
        for index, answer in enumerate(answers)
    ]


def test_every_first_wrong_question_is_asked_until_right_and_keeps_all_its_attempts(
    steps: StepRunner, scripted: Start
) -> None:
    write_jsonl(
        steps.data, indexed(*(problem(name, "A") for name in ["right", "second", "never", "mute", "refused", "first"]))
    )
    answers = [
        *wrong("right", "A"),
        *wrong("second", "B"),
        *wrong("never", None),
        *wrong("mute", "C"),
        *wrong("refused", "B"),
        *wrong("first", "D"),
    ]
    write_jsonl(steps.answers, answers)
    good, bad = {"content": "The answer is A"}, {"content": "The answer is B"}
    server = scripted(
        rules=[
            {"match": "[second/0]", "replies": [bad, good, bad]},
            {"match": "[never/0]", "replies": [bad]},
            {
                "match": "[mute/0]",
                "replies": [{"content": "Hm."}, {"content": "The answer is A", "finish_reason": "length"}],
            },
            {"match": "[refused/0]", "replies": [{"status": 400, "error": "too long"}]},
            {"match": "[first/0]", "replies": [good]},
        ]
    )
    done = steps.retry(server.base_url, attempts=3, hedging=0)
    rows = {row["id"]: row for row in done.rows}
    assert list(rows) == ["second", "never", "mute", "refused", "first"], (
        "the order of the answers; right ones are not asked"
    )
    assert {id: row["outcome"] for id, row in rows.items()} == {
        "second": "solved",
        "never": "exhausted",
        "mute": "unreadable",
        "refused": "failed",
        "first": "solved",
    }
    assert [attempt["answer"] for attempt in rows["second"]["attempts"]] == ["B", "A"], (
        "it stops at the first right one"
    )
    assert [attempt["correct"] for attempt in rows["second"]["attempts"]] == [False, True]
    assert [attempt["answer"] for attempt in rows["never"]["attempts"]] == ["B"] * 3
    assert [attempt["finish_reason"] for attempt in rows["mute"]["attempts"]] == ["stop", "length", "length"]
    assert [attempt["finish_reason"] for attempt in rows["refused"]["attempts"]] == ["error"], (
        "it will be refused again"
    )
    assert rows["first"] == {
        "id": "first",
        "question": 0,
        "expected": "A",
        "first": "D",
        "outcome": "solved",
        "template": None,
        "attempts": [
            {
                "attempt": 1,
                "temperature": 0.8,
                "completion": "The answer is A",
                "answer": "A",
                "correct": True,
                "completion_tokens": 15,
                "finish_reason": "stop",
            }
        ],
    }
    assert rows["never"]["first"] is None
    assert {outcome: done.summary[outcome] for outcome in OUTCOMES} == {
        "solved": 2,
        "rejected": 0,
        "exhausted": 1,
        "unreadable": 1,
        "truncated": 0,
        "failed": 1,
        "skipped": 0,
    }
    assert done.summary["attempts"] == len(server.seen()) == 10
    assert not any("[right/0]" in request["prompt"] for request in server.seen())


def test_attempts_have_different_seeds_and_the_sampling_of_the_retry(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A", "A")))
    write_jsonl(steps.answers, wrong("p", "B", "B"))
    server = scripted(rules=[{"match": "", "replies": [{"content": "The answer is B"}]}])
    steps.retry(server.base_url, attempts=4, temperature=0.7, top_p=0.9)
    seen = server.seen()
    assert len({request["seed"] for request in seen}) == len(seen) == 8
    assert {(request["temperature"], request["top_p"]) for request in seen} == {(0.7, 0.9)}


def test_a_second_run_asks_nothing_and_more_attempts_ask_only_the_rest(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A"), problem("q", "A")))
    write_jsonl(steps.answers, [*wrong("p", "B"), *wrong("q", "B")])
    bad = {"content": "The answer is B"}
    server = scripted(
        rules=[
            {"match": "[p/0]", "replies": [bad, bad, bad, {"content": "The answer is A"}]},
            {"match": "[q/0]", "replies": [bad]},
        ]
    )
    two = steps.retry(server.base_url, attempts=2, hedging=0)
    assert steps.retry(server.base_url, attempts=2, concurrency=1).rows == two.rows
    assert len(server.seen()) == 4
    five = steps.retry(server.base_url, attempts=5, hedging=0)
    assert [(row["outcome"], len(row["attempts"])) for row in five.rows] == [("solved", 4), ("exhausted", 5)]
    assert [row["attempts"][:2] for row in five.rows] == [row["attempts"] for row in two.rows]
    assert len(server.seen()) == 9
    server.stop()
    # with fewer attempts, only so many are taken from the journal
    assert steps.retry(server.base_url, attempts=2).rows == two.rows


def test_an_interrupted_retry_continues_with_its_attempt(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A")))
    write_jsonl(steps.answers, wrong("p", "B"))
    bad, refused = {"content": "The answer is B"}, {"status": 401, "error": "the key has expired"}
    server = scripted(rules=[{"match": "[p/0]", "replies": [bad, bad, refused, {"content": "The answer is A"}]}])
    assert steps.retry(server.base_url, hedging=0).status == 1
    done = steps.retry(server.base_url, hedging=0)
    assert [attempt["answer"] for attempt in done.rows[0]["attempts"]] == ["B", "B", "A"]
    assert done.summary["reused"] == 2
    assert len(server.seen()) == 4


def test_with_nothing_wrong_no_server_is_needed_and_a_message_says_so(steps: StepRunner) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A", None)))
    rows = wrong("p", "A", "B")
    rows[1] |= {"expected": None, "correct": None}
    write_jsonl(steps.answers, rows)
    done = steps.retry("http://127.0.0.1:9/v1")
    assert done.rows == []
    assert done.summary["questions"] == 0
    assert "nothing to learn from" in done.message
