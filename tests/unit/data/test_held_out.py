"""Training problems are held out if the same text is scored, whatever its spacing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.core.errors import UserError
from errata.data.held_out import held_out_ids
from errata.data.leaks import ids_by_text
from helpers import indexed, problem, write_jsonl


def data(path: Path, **texts: str) -> Path:
    return write_jsonl(path, indexed(*(problem(id, "A", text=text) for id, text in texts.items())))


def test_a_problem_whose_text_is_in_any_held_out_file_is_held_out(tmp_path: Path) -> None:
    train = data(tmp_path / "train.jsonl", a="Ann is older.", b="Bob  is\n older.", c="题目 一", d="Dan is older.")
    test = data(tmp_path / "test.jsonl", x=" 题目\u3000一\n", y="Ann is older", z="a")
    fold = data(tmp_path / "fold1.jsonl", b2="Bob is older.", q="ann is older.")
    assert held_out_ids(train, [test, fold]) == {"b", "c"}
    assert held_out_ids(train, [train]) == {"a", "b", "c", "d"}
    assert held_out_ids(train, []) == set()


def test_a_missing_held_out_file_is_an_error(tmp_path: Path) -> None:
    train = data(tmp_path / "train.jsonl", a="Ann is older.")
    with pytest.raises(UserError, match=r"gone\.jsonl: cannot read"):
        held_out_ids(train, [tmp_path / "gone.jsonl"])


words = st.lists(st.text(st.characters(exclude_categories=("Z", "C")), min_size=1), min_size=1)
spaces = st.text(" \t\n\r\f\u00a0\u2003\u3000", min_size=1)


@given(words, st.lists(spaces, min_size=2, max_size=2))
def test_texts_are_equal_whatever_white_space_separates_their_words(
    tmp_path_factory: pytest.TempPathFactory, text: list[str], between: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "spaced.jsonl"
    one, other = (space.join(["", *text, ""]) for space in between)
    assert list(ids_by_text(data(path, one=one, other=other)).values()) == [["one", "other"]]
