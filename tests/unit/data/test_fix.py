"""Step fix: every fault of the user's files at once, and corrections applied exactly."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.__main__ import main
from errata.core.errors import Faults, UserError
from errata.data.fix import CORRECTION_COLUMNS, Fixed, fix
from errata.data.records import LETTERS
from helpers import problem, read_jsonl, write_jsonl

HEADER = ",".join(CORRECTION_COLUMNS)


def fixed(tmp_path: Path, *records: dict[str, Any], corrections: str | None = None, **more: Any) -> Fixed:
    data = write_jsonl(tmp_path / "train.jsonl", records)
    table = None
    if corrections is not None:
        table = tmp_path / "corrections.csv"
        table.write_text(corrections, encoding="utf-8")
    return fix(data, table, **more)


def faults_of(tmp_path: Path, *lines: str | bytes, corrections: str | None = None, labelled: bool = False) -> list[str]:
    """The faults of a file with these lines, paths shortened to the file's name."""
    data = tmp_path / "train.jsonl"
    data.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    table = None
    if corrections is not None:
        table = tmp_path / "corrections.csv"
        table.write_text(corrections, encoding="utf-8")
    with pytest.raises(Faults) as error:
        fix(data, table, labelled=labelled)
    return [fault.replace(f"{tmp_path}/", "") for fault in error.value.faults]


def test_every_fault_of_a_file_is_listed_at_once_with_its_line(tmp_path: Path) -> None:
    good = problem("good", "A")
    question = {"question": "Who?", "options": ["x", "y"], "answer": "A"}

    def line(**changes: Any) -> str:
        return json.dumps({"id": "i", "problem": "p", "questions": [question], **changes})

    def asked(**changes: Any) -> str:
        return line(questions=[question, {**question, **changes}])

    cases: list[tuple[str, str | None]] = [
        (json.dumps(good), None),
        ('{"id": "torn", "problem": ', "not valid JSON"),
        ("", None),
        ("[1, 2]", "a JSON object is wanted, not a list"),
        ("null", "a JSON object is wanted, not null"),
        ('{"questions": []}', "key 'id' is missing"),
        (line(id=7), "'id' must be a string, not a number"),
        (line(id=" "), "'id' is empty"),
        (line(id="2", problem=["p"]), "'problem' must be a string, not a list"),
        (line(id="3", questions={}), "'questions' must be a list, not an object"),
        (line(id="4", questions=[]), "'questions' is empty"),
        (line(id="5", questions=["Who?"]), "question 0: a JSON object is wanted, not a string"),
        (asked(id="6", options=["x"]), "question 1: 2 to 26 options are wanted, not 1"),
        (asked(options=["x"] * 27), "question 1: 2 to 26 options are wanted, not 27"),
        (asked(options="xy"), "question 1: 'options' must be a list, not a string"),
        (asked(options=["x", 2]), "question 1: option 1 must be a string, not a number"),
        (asked(question=None), "question 1: 'question' must be a string, not null"),
        (asked(answer="C"), "question 1: answer 'C' is no option; there are 2: A, B"),
        (asked(answer="b"), "question 1: answer 'b' is no option"),
        (asked(answer="AB"), "question 1: answer 'AB' is no option"),
        (asked(answer=""), "question 1: answer '' is no option"),
        (asked(answer=1), "question 1: 'answer' must be a letter, not a number"),
        (asked(answer=True), "question 1: 'answer' must be a letter, not a boolean"),
        (line(id="7", questions=[{"options": ["x", "y"]}]), "question 0: key 'question' is missing"),
        (line(id="8", questions=[{"question": "Who?"}]), "question 0: key 'options' is missing"),
        (json.dumps(good), "id 'good' is already used in line 1"),
    ]
    faults = faults_of(tmp_path, *(line for line, _ in cases))
    for number, (_, expected) in enumerate(cases, 1):
        found = [fault for fault in faults if fault.startswith(f"train.jsonl:{number}: ")]
        if expected is None:
            assert not found, (number, found)
        else:
            assert any(fault.startswith(f"train.jsonl:{number}: {expected}") for fault in found), (number, found)
    # a record with several faults names them all
    assert {fault for fault in faults if fault.startswith("train.jsonl:6:")} == {
        "train.jsonl:6: key 'id' is missing",
        "train.jsonl:6: key 'problem' is missing",
        "train.jsonl:6: 'questions' is empty",
    }


def test_a_training_question_needs_an_answer_and_a_test_question_does_not(tmp_path: Path) -> None:
    record = problem("p", "A", None, options=2)
    record["questions"][0]["answer"] = None
    assert faults_of(tmp_path, json.dumps(record), labelled=True) == [
        "train.jsonl:1: question 0: the answer is missing; a training question needs one",
        "train.jsonl:1: question 1: the answer is missing; a training question needs one",
    ]
    assert [question.answer for question in fixed(tmp_path, record).problems[0].questions] == [None, None]


@pytest.mark.parametrize("content", ["", "\n\n  \n", "\ufeff"])
def test_an_empty_file_is_a_fault(tmp_path: Path, content: str) -> None:
    assert faults_of(tmp_path, content) == ["train.jsonl: the file holds no problem"]


def test_text_that_cannot_be_written_again_is_a_fault(tmp_path: Path) -> None:
    record = problem("half", "A", text="half an emoji: \ud83d")
    assert faults_of(tmp_path, json.dumps(record)) == [
        "train.jsonl:1: holds \\ud83d, half a character; mend the escape or take it out"
    ]


def test_json_nested_beyond_reason_is_a_fault(tmp_path: Path) -> None:
    assert "train.jsonl:1: not valid JSON" in faults_of(tmp_path, "[" * 100_000)[0]


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


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    data.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(problem(id, "B")).encode() for id in "xyz"))
    table = tmp_path / "corrections.csv"
    table.write_bytes(b"\xef\xbb\xbf" + HEADER.encode() + b"\r\ny,0,answer,B,C,said so\r\n")
    result = fix(data, table)
    assert [problem.questions[0].answer for problem in result.problems] == ["B", "C", "B"]


def test_repeated_options_are_reported_and_kept(tmp_path: Path) -> None:
    record = problem("p", "A", "B")
    record["questions"][1]["options"] = ["same", "same", "other"]
    result = fixed(tmp_path, record)
    assert len(result.warnings) == 1
    assert "train.jsonl:1: question 1: options repeat" in result.warnings[0]
    assert result.problems[0].questions[1].options == ("same", "same", "other")


# --- corrections


def test_every_fault_of_the_corrections_is_listed_with_its_line(tmp_path: Path) -> None:
    rows = {
        "p,0,change,A,B,": "action 'change' is unknown; it is 'answer' or 'drop'",
        ",0,answer,A,B,": "id is empty",
        "p,first,answer,A,B,": "question 'first' is no index; they count from 0",
        "p,-1,answer,A,B,": "question '-1' is no index",
        "p,,answer,A,B,": "action 'answer' needs question, old and new",
        "p,0,answer,,B,": "action 'answer' needs question, old and new",
        "p,0,answer,A,,": "action 'answer' needs question, old and new",
        "p": "action '' is unknown",
    }
    faults = faults_of(tmp_path, json.dumps(problem("p", "A")), corrections="\n".join([HEADER, *rows]))
    assert len(faults) == len(rows)
    for number, (fault, expected) in enumerate(zip(faults, rows.values(), strict=True), 2):
        assert fault.startswith(f"corrections.csv:{number}: {expected}")


def test_every_correction_that_does_not_fit_is_listed_with_its_line(tmp_path: Path) -> None:
    rows = {
        "nobody,0,answer,A,B,": "there is no problem 'nobody'",
        "p,7,answer,A,B,": "problem 'p' has no question 7",
        "p,0,answer,C,B,": "question 0 of 'p' has answer 'A', not old 'C'",
        "p,1,answer,B,E,": "new 'E' is no option; there are A, B, C, D",
        "p,2,answer,C,AB,": "new 'AB' is no option",
        "p,3,drop,A,,": "question 3 of 'p' has answer 'D', not old 'A'",
        "q,0,answer,A,B,": None,
        "q,0,answer,B,C,": "line 8 already corrects the same question",
        "r,,drop,,,": None,
        "r,0,answer,A,B,": "problem 'r' has no question 0 (or it was dropped above)",
        "u,0,answer,A,B,": "question 0 of 'u' has answer None, not old 'A'",
    }
    records = [problem("p", "A", "B", "C", "D"), problem("q", "A"), problem("r", "A"), problem("u", None)]
    faults = faults_of(tmp_path, *map(json.dumps, records), corrections="\n".join([HEADER, *rows]))
    expected = [(number, text) for number, text in enumerate(rows.values(), 2) if text]
    assert len(faults) == len(expected)
    for fault, (number, text) in zip(faults, expected, strict=True):
        assert fault.startswith(f"corrections.csv:{number}: {text}")


def test_faults_of_both_files_come_together(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, "{", corrections=f"{HEADER}\np,0,change,A,B,\n")
    assert [fault.split(": ")[0] for fault in faults] == ["train.jsonl:1", "corrections.csv:2"]


@pytest.mark.parametrize(
    ("header", "missing"),
    [("id,question,action,old,new", "reason"), ("p,0,answer,A,B,", ", ".join(CORRECTION_COLUMNS)), ("", "id")],
)
def test_a_missing_column_is_named(tmp_path: Path, header: str, missing: str) -> None:
    (fault,) = faults_of(tmp_path, json.dumps(problem("p", "A")), corrections=header + "\n")
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


def test_the_index_stays_when_corrections_drop_the_neighbours(tmp_path: Path) -> None:
    result = fixed(
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
    faults = faults_of(tmp_path, json.dumps(problem("p", "A")), corrections=f"{HEADER}\np,,drop,,,\n")
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


def test_a_correction_for_an_id_that_both_splits_use_is_a_fault_and_not_forgotten(tmp_path: Path) -> None:
    table = tmp_path / "corrections.csv"
    table.write_text(f"{HEADER}\n1,0,answer,A,B,\n")
    train = write_jsonl(tmp_path / "train.jsonl", [problem("1", "A")])
    test = write_jsonl(tmp_path / "test.jsonl", [problem("1", "A")])
    with pytest.raises(Faults, match=r"corrections\.csv:2: '1' is an id of .*train\.jsonl and of .*test\.jsonl too"):
        fix(train, table, [test])


# --- properties

WORDS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
FILLED = WORDS.filter(lambda text: bool(text.strip()))
EXTRA = st.dictionaries(
    st.sampled_from(["source", "级别", "index2", "model_answer"]),
    st.none() | st.booleans() | st.integers() | WORDS,
    max_size=2,
)


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    options = draw(st.lists(WORDS, min_size=2, max_size=26))
    question = {"question": draw(WORDS), "options": options, **draw(EXTRA)}
    answer = draw(st.none() | st.sampled_from(LETTERS[: len(options)]))
    return question if answer is None else {**question, "answer": answer}


@st.composite
def files(draw: st.DrawFn) -> list[dict[str, Any]]:
    ids = draw(st.lists(FILLED, min_size=1, max_size=5, unique=True))
    return [
        {
            "id": id,
            "problem": draw(FILLED),
            "questions": draw(st.lists(questions(), min_size=1, max_size=4)),
            **draw(EXTRA),
        }
        for id in ids
    ]


@settings(max_examples=40)  # each writes four files through to the disk
@given(files())
def test_what_is_sound_comes_out_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("fix")
    data = write_jsonl(folder / "in.jsonl", records)
    arguments = ["--input", str(data), "--output", str(folder / "out.jsonl"), "--changes", str(folder / "changes.csv")]
    assert main(["fix", *arguments]) == 0
    written = read_jsonl(folder / "out.jsonl")
    for record in written:
        assert [question.pop("index") for question in record["questions"]] == list(range(len(record["questions"])))
    assert written == records
    # and a second pass over the output changes nothing
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


@given(files(), st.data())
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


# --- the command


def test_the_command_writes_what_was_changed_beside_the_output(
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


def test_the_command_writes_nothing_when_there_are_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_jsonl(tmp_path / "in.jsonl", [problem("p", "E")])
    out, changes = tmp_path / "out.jsonl", tmp_path / "changes.csv"
    assert main(["fix", "--input", str(data), "--output", str(out), "--changes", str(changes)]) == 1
    assert not out.exists()
    assert not changes.exists()
    message = capsys.readouterr().err
    assert "in.jsonl:1: question 0: answer 'E' is no option" in message
    assert "Remedy: " in message
    assert "Traceback" not in message


def test_leaks_are_reported_word_for_word_and_left_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", [problem("a", "A", text="Paul  is\nolder."), problem("b", "A")])
    test = write_jsonl(
        tmp_path / "test.jsonl",
        [
            problem("x", "B", text="Paul is older."),
            problem("y", "B", text="Paul is older"),
            problem("z", None, text="Paul is older. "),
        ],
    )
    output = tmp_path / "leaks.csv"
    assert main(["leaks", "--train", str(train), "--test", str(test), "--output", str(output)]) == 0
    assert output.read_text() == "train_id,test_id\na,x\na,z\n"
    assert "leak: problem 'x' of test is problem 'a' of train" in capsys.readouterr().err
    assert len(read_jsonl(test)) == 3
