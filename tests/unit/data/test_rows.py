"""Rows and summaries are written byte for byte as they were read, and rows say how a completion ended."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from errata.core.errors import UserError
from errata.data.rows import (
    OUTCOMES,
    REJECTIONS,
    AnswerRow,
    AttemptRow,
    Ending,
    RetryRow,
    SampleRow,
    read_answers,
    read_places,
)
from errata.data.summaries import (
    AnswerSummary,
    RetrySummary,
    SampleSummary,
    Summary,
    VoteSummary,
    parse_summary,
    read_summary,
)
from helpers import write_jsonl

ANSWER: dict[str, Any] = {
    "id": "题",
    "question": 1,
    "template": "0123456789ab",
    "prompt": "?",
    "completion": "The answer is A",
    "answer": "A",
    "expected": "B",
    "correct": False,
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "finish_reason": "stop",
    "seconds": 0.5,
    "model": "m",
}
VOTE = {**{name: ANSWER[name] for name in list(ANSWER)[:8]}, "votes": {"A": 2}, **ANSWER}
SAMPLE = {name: ANSWER[name] for name in ("completion", "answer", "prompt_tokens", "completion_tokens")}
SAMPLE |= {"finish_reason": "error", "seconds": 0.1, "error": "HTTP 500"}
SAMPLES = {name: ANSWER[name] for name in ("id", "question", "template", "prompt", "expected")}
SAMPLES |= {"completions": [SAMPLE, SAMPLE], "model": "m"}
ATTEMPT = {
    "attempt": 3,
    "temperature": 0.8,
    "completion": "So A.",
    "answer": "A",
    "correct": True,
    "rejected": "inconclusive",
    "completion_tokens": 4,
    "finish_reason": "stop",
    "critique": "It overlooked Ann.",
    "conclusion": "B",
}
RETRY = {"id": "p", "question": 0, "expected": "A", "first": None, "outcome": "rejected", "template": None}
RETRY |= {"attempts": [ATTEMPT]}


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        (AnswerRow, ANSWER),
        (AnswerRow, {**ANSWER, "completion": "", "answer": None, "finish_reason": "error", "error": "HTTP 400"}),
        (AnswerRow, VOTE),
        (SampleRow, SAMPLES),
        (RetryRow, RETRY),
    ],
    ids=["answer", "failed answer", "vote", "samples", "retry"],
)
def test_a_row_is_written_as_it_was_read(kind: type[AnswerRow | SampleRow | RetryRow], record: dict[str, Any]) -> None:
    assert json.dumps(kind.from_record(record).to_record()) == json.dumps(record)


@pytest.mark.parametrize(
    ("reason", "failed", "truncated", "complete"),
    [
        ("stop", False, False, True),
        (None, False, False, True),
        ("length", False, True, False),
        ("error", True, False, False),
    ],
)
def test_how_a_completion_ended(reason: str | None, failed: bool, truncated: bool, complete: bool) -> None:
    ending: Ending = AnswerRow.from_record({**ANSWER, "finish_reason": reason})
    assert (ending.failed, ending.truncated, ending.complete) == (failed, truncated, complete)


def test_an_attempt_is_accepted_if_it_is_right_and_not_rejected() -> None:
    attempt = {**ATTEMPT, "rejected": None}
    assert AttemptRow.from_record(attempt).accepted
    assert not AttemptRow.from_record({**attempt, "correct": False}).accepted
    assert not any(AttemptRow.from_record({**attempt, "rejected": reason}).accepted for reason in REJECTIONS)


def test_an_attempt_of_an_early_version_has_the_number_of_its_place() -> None:
    early = {name: value for name, value in ATTEMPT.items() if name != "attempt"}
    row = RetryRow.from_record({**RETRY, "attempts": [early, early]})
    assert [attempt.attempt for attempt in row.attempts] == [1, 2]


def test_a_line_that_is_no_row_is_reported_with_its_place(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "answers.jsonl", [ANSWER, {"id": "p"}])
    with pytest.raises(UserError, match=r"answers\.jsonl:2: not a row of this file \('question' is missing\)"):
        list(read_answers(path))
    with pytest.raises(UserError, match=r"answers\.jsonl: a row has no 'question'"):
        list(read_places(path))


# --- summaries

COSTS: dict[str, Any] = {
    "prompt_tokens": 9,
    "cached_tokens": None,
    "completion_tokens": 4,
    "wall_seconds": 1.5,
    "requests": 1,
    "cancelled": 0,
    "saturated": None,
}
PART = {"part": "1/2", "asked_seconds": 1.0, "runs": [[1.0, 2.0]]}
PARTS = [{"part": "1/2", "questions": 1, "completion_tokens": 4, "wall_seconds": 1.5, "requests": 1, "saturated": 0.5}]
COUNTS = {"template": "abc", "questions": 1, "correct": 1, "unreadable": 0, "truncated": 0, "failed": 0}
ANSWERS = {**COUNTS, "reused": 0, **COSTS}
SAMPLED = {"template": "abc", "questions": 1, "samples": 2, "unreadable": 0, "failed": 0, "failed_samples": 0}
SAMPLED |= {"truncated": 0, "reused": 0, **COSTS}
VOTES = {**COUNTS, "samples": 2, "labelled_samples": 2, "right_samples": 1}
VOTES |= {"prompt_tokens": 9, "completion_tokens": 4, "wall_seconds": None}
REJECTED = {f"rejected_{reason.replace('-', '_')}": 0 for reason in REJECTIONS}
RETRIES = {"method": "reflect", "template": None, "conclude_template": "def", "questions": 1}
RETRIES |= {**dict.fromkeys(OUTCOMES, 0), "solved_by_attempt": [0, 1], "attempts": 2, "right": 1, **REJECTED}
RETRIES |= {"reused": 0, "tokens_per_solved": 4.0, "cancelled_tokens": 0, **COSTS}
SELF = {name: value for name, value in RETRIES.items() if name != "conclude_template"}


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        (AnswerSummary, ANSWERS),
        (AnswerSummary, {**ANSWERS, **PART}),
        (AnswerSummary, {**ANSWERS, "server_seconds": 2.0, "parts": PARTS}),
        (SampleSummary, SAMPLED),
        (VoteSummary, VOTES),
        (RetrySummary, RETRIES),
        (RetrySummary, SELF),
    ],
    ids=["answers", "part", "gathered", "samples", "votes", "reflect", "self"],
)
def test_a_summary_is_written_as_it_was_read(tmp_path: Path, kind: type[Summary], record: dict[str, Any]) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(record))
    summary = read_summary(tmp_path / "summary.json")
    assert type(summary) is kind
    assert json.dumps(summary.to_record()) == json.dumps(record)


def test_a_summary_of_folds_does_not_say_how_busy_a_server_was() -> None:
    folds = {name: value for name, value in ANSWERS.items() if name != "saturated"}
    assert list(parse_summary(folds).to_record()) == list(folds)


def test_only_votes_have_the_accuracy_of_one_sample() -> None:
    assert parse_summary(VOTES).sampled_accuracy == 0.5
    assert parse_summary({**VOTES, "labelled_samples": 0, "right_samples": 0}).sampled_accuracy is None
    assert parse_summary(ANSWERS).sampled_accuracy is None


def test_a_retry_summary_counts_every_outcome_and_every_rejection() -> None:
    names = {field.name for field in fields(RetrySummary)}
    assert {*OUTCOMES, *REJECTED} <= names


@pytest.mark.parametrize("text", ["[]", "3", '{"part": "1/2"}', '{"parts": [7]}'])
def test_a_file_that_is_no_summary_is_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(UserError, match=r"summary\.json: not a summary of this workflow .*Delete it and run again"):
        read_summary(tmp_path / "summary.json")
