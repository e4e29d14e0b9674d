"""Step score: counts of a file of answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from errata.__main__ import main
from errata.core.errors import Faults, UserError
from errata.scoring.answers import read_answers_by_key
from errata.scoring.score import Score, is_held_out, read_summary_of


def answer_row(id: str, question: int, answer: str | None, expected: str | None, **more: Any) -> dict[str, Any]:
    correct = None if expected is None else answer == expected
    return {
        "id": id,
        "question": question,
        "prompt": "?",
        "completion": f"The answer is {answer}",
        "answer": answer,
        "expected": expected,
        "correct": correct,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "finish_reason": "stop",
        "seconds": 2.0,
        "model": "m",
        **more,
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run_score(tmp_path: Path, rows: list[dict[str, Any]], *more: str) -> Score:
    answers = write(tmp_path / "answers" / "test.jsonl", rows)
    output = tmp_path / "scores" / "test.json"
    flags = ["--model", "m", "--variant", "base", "--split", "test", "--served", "llama.cpp, f16"]
    assert main(["score", "--answers", str(answers), *flags, "--output", str(output), *more]) == 0
    return Score.read(output)


def test_counts(tmp_path: Path) -> None:
    rows = [
        answer_row("p", 0, "A", "A"),
        answer_row("p", 1, "B", "A"),
        answer_row("p", 2, None, "A", finish_reason="length"),
        answer_row("q", 0, "C", "C"),
        answer_row("q", 1, "A", None),
        answer_row("q", 2, None, None, finish_reason="length"),
    ]
    score = run_score(tmp_path, rows)
    assert (score.questions, score.unlabelled, score.correct) == (4, 2, 2)
    assert (score.unreadable, score.truncated) == (1, 1), "unlabelled questions count nowhere else"
    assert score.accuracy == 0.5
    assert (score.ci_low, score.ci_high) == pytest.approx((0.150039, 0.849961), abs=1e-6)
    assert (score.prompt_tokens, score.completion_tokens) == (60, 30), "tokens of all questions"
    assert (score.model, score.variant, score.split, score.served) == ("m", "base", "test", "llama.cpp, f16")
    assert score.seconds is None, "latencies overlap, so their sum is not the wall time"
    assert score.weights_gib is None


def test_without_labels_there_is_no_accuracy(tmp_path: Path) -> None:
    score = run_score(tmp_path, [answer_row("p", 0, "A", None), answer_row("p", 1, None, None)])
    assert (score.questions, score.unlabelled, score.correct, score.unreadable) == (0, 2, 0, 0)
    assert score.accuracy is score.ci_low is score.ci_high is None


def test_a_missing_token_count_leaves_the_sum_unknown(tmp_path: Path) -> None:
    score = run_score(tmp_path, [answer_row("p", 0, "A", "A"), answer_row("p", 1, "A", "A", completion_tokens=None)])
    assert score.completion_tokens is None
    assert score.prompt_tokens == 20
    no_tokens = {"completion_tokens": None, "prompt_tokens": None}
    no_completion = answer_row("p", 1, None, "A", completion="", finish_reason="error", **no_tokens)
    assert run_score(tmp_path, [answer_row("p", 0, "A", "A"), no_completion]).completion_tokens == 5


def test_wall_time_comes_from_the_summary(tmp_path: Path) -> None:
    rows = [answer_row("p", 0, "A", "A")]
    (tmp_path / "answers").mkdir()
    beside = tmp_path / "answers" / "test.summary.json"
    beside.write_text('{"wall_seconds": 12.5, "generated_seconds": 90.0}')
    assert run_score(tmp_path, rows).seconds == 12.5
    named = tmp_path / "other.json"
    named.write_text('{"wall_seconds": 7}')
    assert run_score(tmp_path, rows, "--summary", str(named)).seconds == 7.0
    with pytest.raises(UserError, match=r"nowhere\.json"):
        read_summary_of(tmp_path / "answers" / "test.jsonl", tmp_path / "nowhere.json")
    assert read_summary_of(tmp_path / "answers" / "train.jsonl") is None
    named.write_text("[]")
    with pytest.raises(UserError, match="not a summary"):
        read_summary_of(tmp_path / "answers" / "test.jsonl", named)


def test_a_question_that_is_answered_twice_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        answer_row("p", 0, "A", "A"),
        answer_row("p", 1, "A", "A"),
        answer_row("p", 0, "B", "A"),
        answer_row("p", 1, "A", "A"),
    ]
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(Faults) as caught:
        read_answers_by_key(path)
    assert [fault.split(": ", 1)[0] for fault in caught.value.faults] == [f"{path}:3", f"{path}:4"]
    output = tmp_path / "s.json"
    flags = ["--model", "m", "--variant", "base", "--split", "test", "--served", "x", "--output", str(output)]
    assert main(["score", "--answers", str(path), *flags]) == 1
    assert "question 0 of problem 'p' is answered twice, first in line 1" in capsys.readouterr().err
    assert not output.exists()


def test_questions_of_two_problems_may_have_the_same_index(tmp_path: Path) -> None:
    assert run_score(tmp_path, [answer_row("p", 0, "A", "A"), answer_row("q", 0, "A", "A")]).questions == 2


def test_a_row_that_contradicts_itself_is_an_error(tmp_path: Path) -> None:
    rows = [answer_row("p", 0, "A", "B", correct=True), {"completion": "no key"}]
    with pytest.raises(Faults) as caught:
        read_answers_by_key(write(tmp_path / "a.jsonl", rows))
    assert "correct is True" in caught.value.faults[0]
    assert "not a row of answers: 'id' is missing" in caught.value.faults[1]


def test_the_size_is_that_of_the_weights_of_the_checkpoint(tmp_path: Path) -> None:
    rows = [answer_row("p", 0, "A", "A")]
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"x" * 3000)
    blob = tmp_path / "blob"
    blob.write_bytes(b"x" * 500)
    (folder / "model-00002-of-00002.safetensors").symlink_to(blob)
    (folder / "tokenizer.json").write_bytes(b"x" * 9999)
    weights = run_score(tmp_path, rows, "--checkpoint", str(folder)).weights_gib
    assert weights == pytest.approx(3500 / 2**30)


def test_a_checkpoint_without_weights_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = write(tmp_path / "a.jsonl", [answer_row("p", 0, "A", "A")])
    flags = [
        "--answers",
        str(answers),
        "--model",
        "m",
        "--variant",
        "base",
        "--split",
        "test",
        "--served",
        "x",
    ]
    output = tmp_path / "s.json"
    assert main(["score", *flags, "--checkpoint", str(tmp_path / "gone"), "--output", str(output)]) == 1
    assert "gone" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("variant", "split", "held_out"),
    [
        ("base", "train", True),
        ("base+maj8", "train", True),
        ("self", "test", True),
        ("self-4bit+maj8", "test", True),
        ("self", "train", False),
        ("self-round2-4bit+maj8", "train", False),
        ("self-round2+maj8", "folds", True),
        ("base", "fold2", True),
        ("self.fold2-4bit", "fold2", True),
        ("self.fold2", "fold1", False),
        ("self.fold12", "fold2", False),
        ("self", "fold2", False),
    ],
)
def test_held_out_questions_of_a_variant(variant: str, split: str, held_out: bool) -> None:
    assert is_held_out(variant, split) is held_out


def test_the_caller_may_say_that_a_base_model_was_trained_on_the_questions(tmp_path: Path) -> None:
    rows = [answer_row("p", 0, "A", "A")]
    assert run_score(tmp_path, rows).held_out
    assert not run_score(tmp_path, rows, "--held-out", "no").held_out
    assert run_score(tmp_path, rows).sampled_accuracy is None


def test_other_files_are_refused(tmp_path: Path) -> None:
    for text in ("[]", '{"model": "m"}'):
        path = tmp_path / "s.json"
        path.write_text(text)
        with pytest.raises(UserError, match="not a score file"):
            Score.read(path)
