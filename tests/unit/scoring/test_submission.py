"""Steps merge-questions and submission: the input records with answers."""

from pathlib import Path
from typing import Any

import pytest

from errata.__main__ import main
from helpers import indexed, problem, read_jsonl, write_jsonl


def answer_row(id: str, question: int, answer: str | None, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "question": question,
        "prompt": f"[{id}/{question}]\n怎么？",
        "completion": "",
        "answer": answer,
        "expected": None,
        "correct": None,
        **more,
    }


def records() -> list[dict[str, Any]]:
    """Labelled and unlabelled problems with keys of the user's own; question 1 of p was dropped by a correction."""
    first, second = indexed(problem("p", "A", "B", "C", level="难"), problem("q", None))
    del first["questions"][1]
    first["questions"][0]["source"] = {"page": 7}
    return [first, second]


def test_each_question_gets_the_answer_with_its_key(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", records())
    rows = [answer_row("q", 0, "D"), answer_row("p", 2, "B"), answer_row("p", 1, "A"), answer_row("z", 0, "A")]
    answers = write_jsonl(tmp_path / "answers.jsonl", rows)
    output = tmp_path / "merged" / "train.jsonl"
    assert main(["merge-questions", "--data", str(data), "--answers", str(answers), "--output", str(output)]) == 0
    merged = read_jsonl(output)
    given = [[question.pop("model_answer") for question in record["questions"]] for record in merged]
    assert given == [[None, "B"], ["D"]], "null without an answer; the key contains the index, not the position"
    assert merged == records(), "the rest is unchanged"


def test_a_submission_is_the_input_with_answers_filled_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", records())
    answers = write_jsonl(
        tmp_path / "answers.jsonl", [answer_row("p", 0, "D"), answer_row("q", 0, "B"), answer_row("p", 2, None)]
    )
    output = tmp_path / "submission.jsonl"
    assert main(["submission", "--data", str(data), "--answers", str(answers), "--output", str(output)]) == 0
    filled = read_jsonl(output)
    assert [[question["answer"] for question in record["questions"]] for record in filled] == [["D", None], ["B"]]
    expected = records()
    for record in expected:
        for question in record["questions"]:
            del question["index"]
            question.pop("answer", None)
    for record in filled:
        for question in record["questions"]:
            del question["answer"]
    assert filled == expected, "no key of Errata is added, no key of the user is lost"
    assert "1 questions have no readable answer" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["merge-questions", "submission"])
def test_a_question_that_is_answered_twice_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], step: str
) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", records())
    rows = [answer_row("p", 0, "D"), answer_row("q", 0, "B"), answer_row("p", 0, "A"), answer_row("q", 0, "B")]
    answers = write_jsonl(tmp_path / "answers.jsonl", rows)
    assert main([step, "--data", str(data), "--answers", str(answers), "--output", str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert "answers.jsonl:3: question 0 of problem 'p' is answered twice" in message
    assert "answers.jsonl:4: question 0 of problem 'q' is answered twice" in message
    assert not (tmp_path / "out").exists()
