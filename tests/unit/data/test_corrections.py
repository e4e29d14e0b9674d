"""Step fix: corrections change exactly what they name, and a correction that does not fit is a fault."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.core.errors import Faults, UserError
from errata.data.corrections import CORRECTION_COLUMNS
from errata.data.fix import fix
from errata.data.records import LETTERS
from helpers import problem, write_jsonl
from problem_files import HEADER, find_faults, fix_records, problem_files


def test_every_fault_of_the_corrections_is_listed_with_its_line(tmp_path: Path) -> None:
    rows = {
        "p,0,change,A,B,": "action 'change' is unknown; it is 'answer' or 'drop'",
        ",0,answer,A,B,": "id is empty",
        "p,first,answer,A,B,": "question 'first' is not an index; the first question has index 0",
        "p,-1,answer,A,B,": "question '-1' is not an index",
        "p,,answer,A,B,": "action 'answer' needs question, old and new",
        "p,0,answer,,B,": "action 'answer' needs question, old and new",
        "p,0,answer,A,,": "action 'answer' needs question, old and new",
        "p": "action '' is unknown",
    }
    faults = find_faults(tmp_path, json.dumps(problem("p", "A")), corrections="\n".join([HEADER, *rows]))
    assert len(faults) == len(rows)
    for number, (fault, expected) in enumerate(zip(faults, rows.values(), strict=True), 2):
        assert fault.startswith(f"corrections.csv:{number}: {expected}")


def test_every_correction_that_does_not_fit_is_listed_with_its_line(tmp_path: Path) -> None:
    rows = {
        "nobody,0,answer,A,B,": "there is no problem 'nobody'",
        "p,7,answer,A,B,": "problem 'p' has no question 7",
        "p,0,answer,C,B,": "question 0 of 'p' has answer 'A', not old 'C'",
        "p,1,answer,B,E,": "new 'E' is not an option; there are A, B, C, D",
        "p,2,answer,C,AB,": "new 'AB' is not an option",
        "p,3,drop,A,,": "question 3 of 'p' has answer 'D', not old 'A'",
        "q,0,answer,A,B,": None,
        "q,0,answer,B,C,": "line 8 already corrects the same question",
        "r,,drop,,,": None,
        "r,0,answer,A,B,": "problem 'r' has no question 0 (or it was dropped above)",
        "u,0,answer,A,B,": "question 0 of 'u' has answer None, not old 'A'",
    }
    records = [problem("p", "A", "B", "C", "D"), problem("q", "A"), problem("r", "A"), problem("u", None)]
    faults = find_faults(tmp_path, *map(json.dumps, records), corrections="\n".join([HEADER, *rows]))
    expected = [(number, text) for number, text in enumerate(rows.values(), 2) if text]
    assert len(faults) == len(expected)
    for fault, (number, text) in zip(faults, expected, strict=True):
        assert fault.startswith(f"corrections.csv:{number}: {text}")


def test_faults_of_both_files_are_listed_together(tmp_path: Path) -> None:
    faults = find_faults(tmp_path, "{", corrections=f"{HEADER}\np,0,change,A,B,\n")
    assert [fault.split(": ")[0] for fault in faults] == ["train.jsonl:1", "corrections.csv:2"]


@pytest.mark.parametrize(
    ("header", "missing"),
    [("id,question,action,old,new", "reason"), ("p,0,answer,A,B,", ", ".join(CORRECTION_COLUMNS)), ("", "id")],
)
def test_a_missing_column_is_named(tmp_path: Path, header: str, missing: str) -> None:
    (fault,) = find_faults(tmp_path, json.dumps(problem("p", "A")), corrections=header + "\n")
    assert fault.startswith(f"corrections.csv:1: column {missing}")
    assert fault.endswith(HEADER)


def test_corrections_in_another_encoding_are_a_fault(tmp_path: Path) -> None:
    table = tmp_path / "corrections.csv"
    table.write_bytes(f"{HEADER}\np,0,answer,A,B,改正\n".encode("gbk"))
    with pytest.raises(UserError, match=r"corrections\.csv: not a CSV file in UTF-8"):
        fix(write_jsonl(tmp_path / "train.jsonl", [problem("p", "A")]), table)


def test_a_missing_table_of_corrections_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corrections\.csv: cannot read"):
        fix(write_jsonl(tmp_path / "train.jsonl", [problem("p", "A")]), tmp_path / "corrections.csv")


def test_the_index_of_a_question_stays_the_same_when_others_are_dropped(tmp_path: Path) -> None:
    result = fix_records(
        tmp_path,
        problem("p", "A", "B", "C", "D"),
        problem("gone", "A", "B"),
        problem("emptied", "A"),
        corrections=f"{HEADER}\np,0,drop,,,\np,2,drop,C,,\np,3,answer,D,A,\ngone,,drop,,,\nemptied,0,drop,,,\n",
    )
    (left,) = result.problems
    assert [(question.index, question.answer) for question in left.questions] == [(1, "B"), (3, "A")]
    assert left.to_record()["questions"][0]["index"] == 1
    assert [row.line for row in result.applied] == [2, 3, 4, 5, 6]


def test_dropping_everything_is_a_fault(tmp_path: Path) -> None:
    faults = find_faults(tmp_path, json.dumps(problem("p", "A")), corrections=f"{HEADER}\np,,drop,,,\n")
    assert faults == ["train.jsonl: no problem is left"]


def test_corrections_may_name_the_other_split(tmp_path: Path) -> None:
    table = tmp_path / "corrections.csv"
    table.write_text(f"{HEADER}\ntrain-1,0,answer,A,B,\ntest-1,0,answer,C,D,\n")
    train = write_jsonl(tmp_path / "train.jsonl", [problem("train-1", "A")])
    test = write_jsonl(tmp_path / "test.jsonl", [problem("test-1", "C")])
    assert [row.id for row in fix(train, table, [test]).applied] == ["train-1"]
    assert [row.id for row in fix(test, table, [train]).applied] == ["test-1"]
    with pytest.raises(Faults, match="there is no problem 'test-1'"):
        fix(train, table)


def test_a_correction_for_an_id_that_both_splits_use_is_a_fault(tmp_path: Path) -> None:
    table = tmp_path / "corrections.csv"
    table.write_text(f"{HEADER}\n1,0,answer,A,B,\n")
    train = write_jsonl(tmp_path / "train.jsonl", [problem("1", "A")])
    test = write_jsonl(tmp_path / "test.jsonl", [problem("1", "A")])
    with pytest.raises(Faults, match=r"corrections\.csv:2: id '1' occurs in .*train\.jsonl and in .*test\.jsonl,"):
        fix(train, table, [test])


@given(problem_files(), st.data())
def test_corrections_change_exactly_what_they_name(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("corrections")
    rows: list[tuple[str, object, str, str, str, str]] = []
    expected: dict[tuple[str, int], str | None] = {}
    for record in records:
        # the ids of a CSV are stripped
        if record["id"] != record["id"].strip():
            record["id"] = f"id-{len(expected)}-{record['id'].strip()}"
        for index, question in enumerate(record["questions"]):
            answer = question.get("answer")
            action = data.draw(st.sampled_from(["keep", "drop", "answer"] if answer else ["keep", "drop"]))
            expected[record["id"], index] = answer
            if action == "drop":
                rows.append((record["id"], index, "drop", answer or "", "", '因为, "so"'))
                del expected[record["id"], index]
            elif action == "answer":
                new = data.draw(st.sampled_from(LETTERS[: len(question["options"])]))
                rows.append((record["id"], index, "answer", answer, new, ""))
                expected[record["id"], index] = new
    with (folder / "corrections.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([CORRECTION_COLUMNS, *rows])
    source = write_jsonl(folder / "in.jsonl", records)
    if not expected:
        with pytest.raises(Faults, match="no problem is left"):
            fix(source, folder / "corrections.csv")
        return
    result = fix(source, folder / "corrections.csv")
    found = {(each.id, question.index): question.answer for each in result.problems for question in each.questions}
    assert found == expected
    assert len(result.applied) == len(rows)
