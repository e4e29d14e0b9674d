"""Step leaks: problems that occur in both splits are reported."""

from pathlib import Path

import pytest

from errata.__main__ import main
from helpers import problem, read_jsonl, write_jsonl


def test_problems_with_equal_texts_are_reported_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
