"""Calibration texts: their content, their choice, and the errors."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.core.errors import UserError
from errata.data.records import Key
from errata.data.rows import AnswerRow, AttemptRow, RetryRow
from errata.quantizing import calibration
from helpers import StandInTemplate, problem, write_jsonl


@pytest.fixture(autouse=True)
def _stand_in_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ChatTemplate", StandInTemplate)


def answer(id: str, question: int, correct: bool | None, completion: str = "reasoning") -> dict[str, Any]:
    return AnswerRow(
        id=id,
        question=question,
        prompt=f"prompt of {id} {question}",
        completion=completion,
        answer="A" if correct else "B",
        expected=None if correct is None else "A",
        correct=correct,
        prompt_tokens=1,
        completion_tokens=1,
        finish_reason="stop",
        seconds=0.1,
        model="m",
    ).to_record()


def retried(id: str, question: int, outcome: str, *attempts: tuple[str, bool]) -> dict[str, Any]:
    rows = [
        AttemptRow(number, text, "A" if correct else "B", correct, completion_tokens=1, finish_reason="stop")
        for number, (text, correct) in enumerate(attempts, 1)
    ]
    return RetryRow(id, question, "A", "B", outcome, tuple(rows)).to_record()


ANSWERS = [
    answer("p1", 0, True, "first right"),
    answer("p1", 1, False, "first wrong"),
    answer("p2", 0, False, "wrong again"),
    answer("p3", 0, None, "unlabelled"),
]
RETRIES = [
    retried("p1", 1, "solved", ("still wrong", False), ("right later", True)),
    retried("p2", 0, "exhausted", ("never", False)),
]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


def texts(
    tmp_path: Path,
    checkpoint: Path,
    *,
    kind: str = "completions",
    samples: int = 10,
    seed: int = 1,
    held_out: Iterable[str] = (),
    **files: Any,
) -> Any:
    output = tmp_path / "calibration.json"
    data = write_jsonl(tmp_path / "train.jsonl", [problem(id, "A", text=f"Text of {id}") for id in ("p1", "p2", "p3")])
    calibration.run(
        argparse.Namespace(
            checkpoint=checkpoint,
            data=data,
            held_out=[write_jsonl(tmp_path / "test.jsonl", [problem("x", None, text=text) for text in held_out])],
            answers=write_jsonl(tmp_path / "answers.jsonl", files.get("answers", ANSWERS)),
            retries=write_jsonl(tmp_path / "retries.jsonl", files.get("retries", RETRIES)),
            kind=kind,
            samples=samples,
            seed=seed,
            output=output,
        )
    )
    return json.loads(output.read_text(encoding="utf-8"))


def test_completions_are_what_the_model_read_and_wrote_where_it_was_right(tmp_path: Path, checkpoint: Path) -> None:
    rows = texts(tmp_path, checkpoint)
    assert {(row["id"], row["question"]): row["text"] for row in rows} == {
        ("p1", 0): "<|im_start|>user\nprompt of p1 0<|im_end|>\n<|im_start|>assistant\nfirst right<|im_end|>",
        ("p1", 1): "<|im_start|>user\nprompt of p1 1<|im_end|>\n<|im_start|>assistant\nright later<|im_end|>",
    }


def test_prompts_are_bare_and_of_every_question(tmp_path: Path, checkpoint: Path) -> None:
    rows = texts(tmp_path, checkpoint, kind="prompts")
    assert sorted(row["text"] for row in rows) == [f"prompt of {key}" for key in ("p1 0", "p1 1", "p2 0", "p3 0")]


def test_only_completions_that_may_be_trained_on_are_taken_and_each_question_once(
    tmp_path: Path, checkpoint: Path
) -> None:
    retries = [
        retried("p1", 0, "solved", ("a teacher's", True)),
        retried("p1", 1, "rejected", ("gives it away", True)),
        retried("p2", 0, "solved", ("rejected", True), ("its own", True)),
    ]
    retries[1]["attempts"][0]["rejected"] = retries[2]["attempts"][0]["rejected"] = "gives-away"
    rows = texts(tmp_path, checkpoint, retries=retries)
    assert sorted((row["id"], row["question"]) for row in rows) == [("p1", 0), ("p2", 0)]
    assert [row["text"].split("assistant\n")[1] for row in rows if row["id"] == "p1"] == ["first right<|im_end|>"]
    assert [row["text"].split("assistant\n")[1] for row in rows if row["id"] == "p2"] == ["its own<|im_end|>"]


@pytest.mark.parametrize("kind", ["completions", "prompts"])
def test_problems_that_are_scored_are_left_out(tmp_path: Path, checkpoint: Path, kind: str) -> None:
    answers = [*ANSWERS, answer("p2", 1, True)]
    rows = texts(tmp_path, checkpoint, kind=kind, answers=answers, held_out=["Text\n of  p1", "Text of p3"])
    assert {row["id"] for row in rows} == {"p2"}
    with pytest.raises(UserError, match="but of 3 problems that are held out"):
        texts(tmp_path, checkpoint, kind=kind, answers=answers, held_out=[f"Text of p{n}" for n in (1, 2, 3)])


def test_where_nothing_is_right_the_message_names_the_keys_to_change(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(UserError, match=r"generate\.attempts.*quantize\.calibration"):
        texts(tmp_path, checkpoint, answers=[answer("p1", 0, False)], retries=[])


keys = st.builds(Key, st.text(min_size=1), st.integers(0, 9))


@given(st.lists(keys, unique=True), st.integers(1, 20), st.integers(), st.randoms(use_true_random=False))
def test_the_choice_depends_on_the_seed_alone(found: list[Key], samples: int, seed: int, chance: Any) -> None:
    exchanges = [calibration.Exchange(key, "prompt", None, None) for key in found]
    chosen = calibration.choose(exchanges, samples, seed)
    assert len(chosen) == min(samples, len(found))
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(exchanges)
    chance.shuffle(exchanges)
    assert calibration.choose(exchanges, samples, seed) == chosen


def test_another_seed_chooses_others() -> None:
    exchanges = [calibration.Exchange(Key("p", number), "prompt", None, None) for number in range(100)]
    assert calibration.choose(exchanges, 10, 1) != calibration.choose(exchanges, 10, 2)
