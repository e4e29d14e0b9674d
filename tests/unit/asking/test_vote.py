"""The majority of sampled answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.__main__ import main
from errata.asking.vote import majority
from errata.data.rows import SampleRow
from errata.scoring.answers import read_answers_by_key
from errata.scoring.score import Score
from helpers import read_jsonl, write_jsonl


def sampled(*answers: str | None, expected: str | None = "A", question: int = 0) -> dict[str, Any]:
    """A row of samples; `-` is a truncated one, `!` a failed one."""
    return {
        "id": "p",
        "question": question,
        "template": "0123456789ab",
        "prompt": "?",
        "expected": expected,
        "completions": [
            {
                "completion": f"sample {number}",
                "answer": None if answer in ("-", "!") else answer,
                "prompt_tokens": 0 if answer == "!" else 100,
                "completion_tokens": 0 if answer == "!" else 10 + number,
                "finish_reason": {"-": "length", "!": "error"}.get(answer or "", "stop"),
                "seconds": 0.5,
                **({"error": "refused"} if answer == "!" else {}),
            }
            for number, answer in enumerate(answers)
        ],
        "model": "m",
    }


def voted(folder: Path, rows: list[dict[str, Any]], votes: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    samples = write_jsonl(folder / "samples.jsonl", rows)
    (folder / "samples.summary.json").write_text('{"wall_seconds": 80.5, "template": "0123456789ab"}')
    flags = ["--samples", str(samples), "--samples-summary", str(folder / "samples.summary.json")]
    flags += ["--output", str(folder / "test.jsonl"), "--summary", str(folder / "test.summary.json")]
    assert main(["vote", *flags, "--votes", str(votes)]) == 0
    return read_jsonl(folder / "test.jsonl"), json.loads((folder / "test.summary.json").read_text())


def test_a_vote_is_written_as_an_answer(tmp_path: Path) -> None:
    rows, summary = voted(tmp_path, [sampled("B", "-", "A", None, "A")], 5)
    assert rows == [
        {
            "id": "p",
            "question": 0,
            "template": "0123456789ab",
            "prompt": "?",
            "completion": "sample 2",
            "answer": "A",
            "expected": "A",
            "correct": True,
            "votes": {"A": 2, "B": 1},
            "prompt_tokens": 500,
            "completion_tokens": 60,
            "finish_reason": "stop",
            "seconds": 2.5,
            "model": "m",
        }
    ]
    assert summary == {
        "template": "0123456789ab",
        "questions": 1,
        "correct": 1,
        "unreadable": 0,
        "truncated": 0,
        "failed": 0,
        "samples": 5,
        "labelled_samples": 5,
        "right_samples": 2,
        "prompt_tokens": 500,
        "completion_tokens": 60,
        "wall_seconds": 80.5,
    }


def test_a_vote_is_scored_like_an_answer_and_reports_the_accuracy_of_one_sample(tmp_path: Path) -> None:
    rows = [
        sampled("A", "A", "B"),
        sampled("B", "C", "A", question=1),
        sampled("-", "-", "A", question=2),
        sampled("D", "D", "D", question=3, expected=None),
    ]
    lines, summary = voted(tmp_path, rows, 2)
    # B and C have one vote each; B came first
    assert [line["answer"] for line in lines] == ["A", "B", None, "D"]
    assert summary["wall_seconds"] is None, "of three samples two vote, and the time for two was not measured"
    assert (summary["labelled_samples"], summary["right_samples"]) == (6, 2)
    output = tmp_path / "test.json"
    flags = ["--model", "m", "--variant", "self+maj2", "--split", "test", "--served", "x", "--output", str(output)]
    assert main(["score", "--answers", str(tmp_path / "test.jsonl"), *flags]) == 0
    score = Score.read(output)
    assert (score.questions, score.correct, score.unreadable, score.truncated) == (3, 1, 1, 1)
    assert score.sampled_accuracy == pytest.approx(2 / 6)
    assert (score.seconds, score.prompt_tokens) == (None, 800)
    assert len(read_answers_by_key(tmp_path / "test.jsonl")) == 4


def voted_line(*answers: str | None) -> dict[str, Any]:
    row = SampleRow.from_record(sampled(*answers))
    return majority(row, row.samples).to_record()


@pytest.mark.parametrize(
    ("samples", "shown", "finish_reason"),
    [
        (["!", "-", None, None], "sample 2", "stop"),
        (["!", "-", "-"], "sample 1", "length"),
        (["!", "!"], "sample 0", "error"),
    ],
)
def test_if_no_sample_votes_the_best_one_is_shown(samples: list[str | None], shown: str, finish_reason: str) -> None:
    line = voted_line(*samples)
    assert (line["answer"], line["correct"], line["votes"]) == (None, False, {})
    assert (line["completion"], line["finish_reason"], "error" in line) == (
        shown,
        finish_reason,
        finish_reason == "error",
    )


@given(st.lists(st.sampled_from(["A", "B", "C", "-", "!", None]), min_size=1, max_size=9))
def test_no_other_letter_has_more_votes_or_as_many_and_came_earlier(answers: list[str | None]) -> None:
    line = voted_line(*answers)
    letters = [answer for answer in answers if answer in ("A", "B", "C")]
    counts = {letter: letters.count(letter) for letter in letters}
    assert line["votes"] == counts
    if counts:
        best = [letter for letter, count in counts.items() if count == max(counts.values())]
        assert line["answer"] == min(best, key=answers.index)
        assert line["completion"] == f"sample {answers.index(line['answer'])}"
    else:
        assert line["answer"] is None


def test_too_few_samples_are_reported_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError):
        voted(tmp_path, [sampled("A", "A"), sampled("A", question=1)], 2)
    message = capsys.readouterr().err
    assert "samples.jsonl:2: 1 samples are too few for 2 votes. Set score.samples to 2 or more" in message
    assert not (tmp_path / "test.jsonl").exists()
    with pytest.raises(AssertionError):
        voted(tmp_path, [sampled("A")], 0)
    assert "score.majority" in capsys.readouterr().err
