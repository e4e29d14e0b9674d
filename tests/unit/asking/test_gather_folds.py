"""Step gather-folds: the answers to all folds are joined, and no answer is lost."""

import json
from pathlib import Path

import pytest

from errata.__main__ import main
from errata.asking.gather_folds import add_folds
from errata.data.summaries import AnswerSummary, parse_summary
from helpers import indexed, problem, read_jsonl, write_jsonl


@pytest.fixture
def data(tmp_path: Path) -> Path:
    problems = [problem(f"题{number}", "A", "B", text=f"Text  {number % 7}") for number in range(9)]
    problems[8]["problem"] = " Text 1\n"
    return write_jsonl(tmp_path / "train.jsonl", indexed(*problems))


def fold(data: Path, number: int, folds: int = 3) -> tuple[int, Path]:
    output = data.parent / f"fold{number}.jsonl"
    words = ["--data", data, "--folds", folds, "--fold", number, "--seed", 5, "--output", output]
    return main(["fold", *map(str, words)]), output


def gather(data: Path, parts: list[Path]) -> int:
    summaries = [path.with_suffix(".summary.json") for path in parts]
    made = ["--output", data.parent / "folds.jsonl", "--summary", data.parent / "folds.json"]
    return main(["gather-folds", *map(str, ["--data", data, "--parts", *parts, "--summaries", *summaries, *made])])


def test_the_answers_to_all_folds_cover_the_data(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = []
    for number in (1, 2, 3):
        _, output = fold(data, number)
        rows = [
            {"id": record["id"], "question": each["index"], "completion": f"of {number}"}
            for record in read_jsonl(output)
            for each in record["questions"]
        ]
        parts.append(write_jsonl(data.parent / "scores" / f"fold{number}.jsonl", rows))
        parts[-1].with_suffix(".summary.json").write_text(json.dumps({"questions": len(rows), "wall_seconds": 1.5}))
    assert gather(data, parts) == 0
    rows = read_jsonl(data.parent / "folds.jsonl")
    assert [(row["id"], row["question"]) for row in rows] == [(f"题{n}", q) for n in range(9) for q in (0, 1)]
    assert {row["completion"] for row in rows} == {"of 1", "of 2", "of 3"}
    summary = json.loads((data.parent / "folds.json").read_text())
    assert {name: value for name, value in summary.items() if value is not None} == {
        "questions": 18,
        "wall_seconds": 4.5,
    }
    capsys.readouterr()
    assert gather(data, parts[1:]) == 1
    assert "is missing" in capsys.readouterr().err


def test_the_figures_of_folds_are_added_up_and_an_unknown_one_makes_the_sum_unknown() -> None:
    first = {"questions": 3, "completion_tokens": 10, "cached_tokens": None, "wall_seconds": 2.0, "saturated": 0.5}
    second = {"questions": 4, "completion_tokens": 20, "cached_tokens": 7, "wall_seconds": None, "saturated": 1.0}
    whole = dict.fromkeys(("correct", "unreadable", "truncated", "failed", "reused"), 1)
    whole |= {"prompt_tokens": 5, "requests": 3, "cancelled": 0, "template": "ab12", "parts": [{"part": "1/2"}]}
    total = add_folds([parse_summary({**each, **whole}) for each in (first, second)])
    assert total.to_record() == {
        **dict.fromkeys(("correct", "unreadable", "truncated", "failed", "reused"), 2),
        "questions": 7,
        "prompt_tokens": 10,
        "completion_tokens": 30,
        "cached_tokens": None,
        "wall_seconds": None,
        "requests": 6,
        "cancelled": 0,
        "template": "ab12",
    }
    differ = add_folds([AnswerSummary(template="ab12"), AnswerSummary(template="cd34")])
    assert "template" not in differ.to_record()
