"""Steps training-set, dataset-info, merge-questions and submission: what is handed on, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from errata.__main__ import main
from helpers import indexed, problem, read_jsonl, write_jsonl


def answered(id: str, question: int, answer: str | None, **more: Any) -> dict[str, Any]:
    return {"id": id, "question": question, "prompt": f"[{id}/{question}]\n怎么？", "answer": answer, **more}


def tried(id: str, question: int, outcome: str, *completions: str) -> dict[str, Any]:
    last = len(completions) - 1
    attempts = [
        {"completion": text, "correct": outcome == "solved" and number == last, "finish_reason": "stop"}
        for number, text in enumerate(completions)
    ]
    return {"id": id, "question": question, "outcome": outcome, "attempts": attempts}


# --- training-set


def test_the_training_set_holds_exactly_the_right_completions_of_solved_questions(tmp_path: Path) -> None:
    answers = write_jsonl(
        tmp_path / "answers.jsonl",
        [answered(id, question, "B") for id, question in [("p", 0), ("p", 2), ("q", 0), ("r", 1), ("s", 0), ("t", 0)]],
    )
    retries = write_jsonl(
        tmp_path / "retries.jsonl",
        [
            tried("p", 2, "solved", "wrong", "right of p\n因此答案是：A"),
            tried("q", 0, "exhausted", "wrong", "wrong again"),
            tried("r", 1, "solved", "right of r"),
            tried("s", 0, "unreadable", "hm"),
            tried("t", 0, "failed", ""),
        ],
    )
    output = tmp_path / "sft" / "self.json"
    assert main(["training-set", "--answers", str(answers), "--retries", str(retries), "--output", str(output)]) == 0
    assert json.loads(output.read_text(encoding="utf-8")) == [
        {"id": "p", "question": 2, "instruction": "[p/2]\n怎么？", "input": "", "output": "right of p\n因此答案是：A"},
        {"id": "r", "question": 1, "instruction": "[r/1]\n怎么？", "input": "", "output": "right of r"},
    ]


def test_of_right_completions_that_are_alike_the_first_is_kept_and_in_its_place(tmp_path: Path) -> None:
    answers = write_jsonl(tmp_path / "answers.jsonl", [answered("p", 0, "B")])
    row = tried("p", 0, "solved", "So it is A.", "No.", "Hence A.", "so it  is a.")
    for number in (0, 2, 3):
        row["attempts"][number]["correct"] = True
    retries = write_jsonl(tmp_path / "retries.jsonl", [row])
    output = tmp_path / "self.json"
    command = ["training-set", "--answers", str(answers), "--retries", str(retries), "--output", str(output)]
    for keep, kept in ((1, ["So it is A."]), (2, ["So it is A.", "Hence A."]), (3, ["So it is A.", "Hence A."])):
        assert main([*command, "--keep", str(keep)]) == 0
        assert [each["output"] for each in json.loads(output.read_text(encoding="utf-8"))] == kept


def test_nothing_solved_is_an_error_that_says_what_to_try(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = write_jsonl(tmp_path / "answers.jsonl", [answered("q", 0, "B")])
    retries = write_jsonl(tmp_path / "retries.jsonl", [tried("q", 0, "exhausted", "wrong")])
    output = tmp_path / "self.json"
    assert main(["training-set", "--answers", str(answers), "--retries", str(retries), "--output", str(output)]) == 1
    assert not output.exists()
    message = capsys.readouterr().err
    assert "no first-wrong question was solved" in message
    assert "generate.attempts" in message


def test_retries_of_other_answers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = write_jsonl(tmp_path / "answers.jsonl", [answered("q", 0, "B")])
    retries = write_jsonl(tmp_path / "retries.jsonl", [tried("gone", 0, "solved", "right")])
    command = ["--answers", str(answers), "--retries", str(retries), "--output", str(tmp_path / "self.json")]
    assert main(["training-set", *command]) == 1
    assert "retries.jsonl:1: question 0 of problem 'gone' is not in" in capsys.readouterr().err


def test_dataset_info_maps_each_strategy_to_its_file(tmp_path: Path) -> None:
    output = tmp_path / "sft" / "dataset_info.json"
    assert main(["dataset-info", "--strategies", "self", "distill", "--output", str(output)]) == 0
    info = json.loads(output.read_text())
    assert {name: entry["file_name"] for name, entry in info.items()} == {
        "self": "self.json",
        "distill": "distill.json",
    }
    assert info["self"]["columns"] == {"prompt": "instruction", "query": "input", "response": "output"}


# --- merge-questions and submission


def records() -> list[dict[str, Any]]:
    """Labelled and unlabelled problems with keys of the user's own; question 1 of p was dropped by a correction."""
    first, second = indexed(problem("p", "A", "B", "C", level="难"), problem("q", None))
    del first["questions"][1]
    first["questions"][0]["source"] = {"page": 7}
    return [first, second]


def test_merging_puts_the_answer_beside_each_question_by_its_key(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", records())
    rows = [answered("q", 0, "D"), answered("p", 2, "B"), answered("p", 1, "A"), answered("z", 0, "A")]
    answers = write_jsonl(tmp_path / "answers.jsonl", rows)
    output = tmp_path / "merged" / "train.jsonl"
    assert main(["merge-questions", "--data", str(data), "--answers", str(answers), "--output", str(output)]) == 0
    merged = read_jsonl(output)
    given = [[question.pop("model_answer") for question in record["questions"]] for record in merged]
    assert given == [[None, "B"], ["D"]], "null where it gave none; the index is the key, not the position"
    assert merged == records(), "all else as it was"


def test_a_submission_is_the_input_with_answers_filled_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", records())
    answers = write_jsonl(
        tmp_path / "answers.jsonl", [answered("p", 0, "D"), answered("q", 0, "B"), answered("p", 2, None)]
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
    assert filled == expected, "nothing of ours is in it, nothing of the user's is lost"
    assert "1 questions have no readable answer" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["merge-questions", "submission"])
def test_a_question_answered_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], step: str) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", records())
    rows = [answered("p", 0, "D"), answered("q", 0, "B"), answered("p", 0, "A"), answered("q", 0, "B")]
    answers = write_jsonl(tmp_path / "answers.jsonl", rows)
    assert main([step, "--data", str(data), "--answers", str(answers), "--output", str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert "answers.jsonl:3: question 0 of problem 'p' is answered twice" in message
    assert "answers.jsonl:4: question 0 of problem 'q' is answered twice" in message
    assert not (tmp_path / "out").exists()
