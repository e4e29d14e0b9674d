"""Step fix: every fault of the user's files is reported at once, and valid files pass unchanged."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from errata.__main__ import main
from errata.core.errors import UserError
from errata.data.fix import fix
from helpers import problem, read_jsonl, write_jsonl
from problem_files import HEADER, find_faults, fix_records, problem_files


def test_every_fault_of_a_file_is_listed_at_once_with_its_line(tmp_path: Path) -> None:
    good = problem("good", "A")
    question = {"question": "Who?", "options": ["x", "y"], "answer": "A"}

    def line(**changes: Any) -> str:
        return json.dumps({"id": "i", "problem": "p", "questions": [question], **changes})

    def line_with_question(**changes: Any) -> str:
        return line(questions=[question, {**question, **changes}])

    cases: list[tuple[str, str | None]] = [
        (json.dumps(good), None),
        ('{"id": "torn", "problem": ', "not valid JSON"),
        ("", None),
        ("[1, 2]", "must be a JSON object, not a list"),
        ("null", "must be a JSON object, not null"),
        ('{"questions": []}', "key 'id' is missing"),
        (line(id=7), "'id' must be a string, not a number"),
        (line(id=" "), "'id' is empty"),
        (line(id="2", problem=["p"]), "'problem' must be a string, not a list"),
        (line(id="3", questions={}), "'questions' must be a list, not an object"),
        (line(id="4", questions=[]), "'questions' is empty"),
        (line(id="5", questions=["Who?"]), "question 0: must be a JSON object, not a string"),
        (line_with_question(id="6", options=["x"]), "question 1: must have 2 to 26 options, not 1"),
        (line_with_question(options=["x"] * 27), "question 1: must have 2 to 26 options, not 27"),
        (line_with_question(options="xy"), "question 1: 'options' must be a list, not a string"),
        (line_with_question(options=["x", 2]), "question 1: option 1 must be a string, not a number"),
        (line_with_question(question=None), "question 1: 'question' must be a string, not null"),
        (line_with_question(answer="C"), "question 1: answer 'C' is not an option; there are 2: A, B"),
        (line_with_question(answer="b"), "question 1: answer 'b' is not an option"),
        (line_with_question(answer="AB"), "question 1: answer 'AB' is not an option"),
        (line_with_question(answer=""), "question 1: answer '' is not an option"),
        (line_with_question(answer=1), "question 1: 'answer' must be a letter, not a number"),
        (line_with_question(answer=True), "question 1: 'answer' must be a letter, not a boolean"),
        (line(id="7", questions=[{"options": ["x", "y"]}]), "question 0: key 'question' is missing"),
        (line(id="8", questions=[{"question": "Who?"}]), "question 0: key 'options' is missing"),
        (json.dumps(good), "id 'good' is already used in line 1"),
    ]
    faults = find_faults(tmp_path, *(line for line, _ in cases))
    for number, (_, expected) in enumerate(cases, 1):
        found = [fault for fault in faults if fault.startswith(f"train.jsonl:{number}: ")]
        if expected is None:
            assert not found, (number, found)
        else:
            assert any(fault.startswith(f"train.jsonl:{number}: {expected}") for fault in found), (number, found)
    # all faults of a record are listed
    assert {fault for fault in faults if fault.startswith("train.jsonl:6:")} == {
        "train.jsonl:6: key 'id' is missing",
        "train.jsonl:6: key 'problem' is missing",
        "train.jsonl:6: 'questions' is empty",
    }


def test_a_training_question_needs_an_answer_and_a_test_question_does_not(tmp_path: Path) -> None:
    record = problem("p", "A", None, options=2)
    record["questions"][0]["answer"] = None
    assert find_faults(tmp_path, json.dumps(record), labelled=True) == [
        "train.jsonl:1: question 0: the answer is missing; a training question needs one",
        "train.jsonl:1: question 1: the answer is missing; a training question needs one",
    ]
    assert [question.answer for question in fix_records(tmp_path, record).problems[0].questions] == [None, None]


@pytest.mark.parametrize("content", ["", "\n\n  \n", "\ufeff"])
def test_an_empty_file_is_a_fault(tmp_path: Path, content: str) -> None:
    assert find_faults(tmp_path, content) == ["train.jsonl: the file contains no problem"]


def test_text_that_cannot_be_encoded_is_a_fault(tmp_path: Path) -> None:
    record = problem("half", "A", text="half an emoji: \ud83d")
    assert find_faults(tmp_path, json.dumps(record)) == [
        "train.jsonl:1: contains \\ud83d, half a character; fix the escape or remove it"
    ]


def test_json_that_is_nested_too_deeply_is_a_fault(tmp_path: Path) -> None:
    assert "train.jsonl:1: not valid JSON" in find_faults(tmp_path, "[" * 100_000)[0]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda _: None, "cannot read (No such file or directory). Set dataset in the configuration"),
        (lambda path: path.mkdir(), "cannot read (Is a directory)"),
        (lambda path: path.write_bytes('{"id": "张三"}'.encode("gbk")), "not UTF-8"),
    ],
    ids=["missing", "folder", "GBK"],
)
def test_a_file_that_cannot_be_read_is_named_with_the_remedy(tmp_path: Path, prepare: Any, message: str) -> None:
    data = tmp_path / "train.jsonl"
    prepare(data)
    with pytest.raises(UserError, match=r"train\.jsonl") as error:
        fix(data, None)
    assert message in str(error.value)


def test_byte_order_marks_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    data.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(problem(id, "B")).encode() for id in "xyz"))
    table = tmp_path / "corrections.csv"
    table.write_bytes(b"\xef\xbb\xbf" + HEADER.encode() + b"\r\ny,0,answer,B,C,said so\r\n")
    result = fix(data, table)
    assert [problem.questions[0].answer for problem in result.problems] == ["B", "C", "B"]


def test_repeated_options_are_reported_and_kept(tmp_path: Path) -> None:
    record = problem("p", "A", "B")
    record["questions"][1]["options"] = ["same", "same", "other"]
    result = fix_records(tmp_path, record)
    assert len(result.warnings) == 1
    assert "train.jsonl:1: question 1: options repeat" in result.warnings[0]
    assert result.problems[0].questions[1].options == ("same", "same", "other")


@settings(max_examples=40)  # each writes four files through to the disk
@given(problem_files())
def test_valid_files_pass_unchanged(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("fix")
    data = write_jsonl(folder / "in.jsonl", records)
    arguments = ["--input", str(data), "--output", str(folder / "out.jsonl"), "--changes", str(folder / "changes.csv")]
    assert main(["fix", *arguments]) == 0
    written = read_jsonl(folder / "out.jsonl")
    for record in written:
        assert [question.pop("index") for question in record["questions"]] == list(range(len(record["questions"])))
    assert written == records
    # fixing the output again changes nothing
    again = [
        "--input",
        str(folder / "out.jsonl"),
        "--output",
        str(folder / "again.jsonl"),
        "--changes",
        str(folder / "c"),
    ]
    assert main(["fix", *again]) == 0
    assert (folder / "again.jsonl").read_bytes() == (folder / "out.jsonl").read_bytes()


def test_the_command_writes_the_output_and_a_list_of_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_jsonl(tmp_path / "in.jsonl", [problem("p", "A", "B"), problem("q", "C"), problem("r", "D")])
    table = tmp_path / "corrections.csv"
    table.write_text(f'{HEADER}\np,1,answer,B,C,"Anna, not Paul"\nq,,drop,,,unclear\n')
    out, changes = tmp_path / "data" / "train.jsonl", tmp_path / "data" / "train.changes.csv"
    arguments = ["--input", str(data), "--corrections", str(table), "--labelled", "--output", str(out)]
    assert main(["fix", *arguments, "--changes", str(changes), "--take", "2"]) == 0
    assert [record["id"] for record in read_jsonl(out)] == ["p", "r"]
    assert changes.read_text() == f'{HEADER}\np,1,answer,B,C,"Anna, not Paul"\nq,,drop,,,unclear\n'
    assert "2 problems, 3 questions, 2 corrections applied" in capsys.readouterr().err


def test_the_command_writes_nothing_if_there_are_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_jsonl(tmp_path / "in.jsonl", [problem("p", "E")])
    out, changes = tmp_path / "out.jsonl", tmp_path / "changes.csv"
    assert main(["fix", "--input", str(data), "--output", str(out), "--changes", str(changes)]) == 1
    assert not out.exists()
    assert not changes.exists()
    message = capsys.readouterr().err
    assert "in.jsonl:1: question 0: answer 'E' is not an option" in message
    assert "Remedy: " in message
    assert "Traceback" not in message
