"""Step fold: every problem is in one fold, chosen by its text and the seed alone."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.__main__ import main
from errata.data.folds import assign_folds
from helpers import indexed, problem, write_jsonl

# how many problems have each text
groups = st.lists(st.integers(1, 4), min_size=1, max_size=40)


def texts_of(sizes: Sequence[int]) -> dict[str, list[str]]:
    return {f"text {number}": [f"{number}.{copy}" for copy in range(size)] for number, size in enumerate(sizes)}


@given(groups, st.integers(1, 6), st.integers(), st.randoms(use_true_random=False))
def test_every_problem_is_in_one_fold_and_problems_with_the_same_text_in_the_same(
    sizes: list[int], folds: int, seed: int, chance: Any
) -> None:
    texts = texts_of(sizes)
    fold_of = assign_folds(texts, folds, seed)
    assert sorted(fold_of) == sorted(id for ids in texts.values() for id in ids)
    assert all(len({fold_of[id] for id in ids}) == 1 for ids in texts.values())
    counts = [Counter(fold_of.values())[fold] for fold in range(1, folds + 1)]
    assert max(counts) - min(counts) <= max(sizes), "the largest group with the same text sets the limit"
    assert min(counts) > 0 or len(texts) < folds
    order = list(texts)
    chance.shuffle(order)
    assert assign_folds({text: texts[text] for text in order}, folds, seed) == fold_of


def test_another_seed_makes_other_folds() -> None:
    texts = texts_of([1] * 30)
    assert assign_folds(texts, 3, 1) != assign_folds(texts, 3, 2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    problems = [problem(f"题{number}", "A", "B", text=f"Text  {number % 7}") for number in range(9)]
    problems[8]["problem"] = " Text 1\n"
    return write_jsonl(tmp_path / "train.jsonl", indexed(*problems))


def fold(data: Path, number: int, folds: int = 3) -> tuple[int, Path]:
    output = data.parent / f"fold{number}.jsonl"
    words = ["--data", data, "--folds", folds, "--fold", number, "--seed", 5, "--output", output]
    return main(["fold", *map(str, words)]), output


def test_the_folds_of_a_file_consist_of_its_lines(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = data.read_text(encoding="utf-8").splitlines()
    made = []
    for number in (1, 2, 3):
        status, output = fold(data, number)
        assert status == 0
        made.append(output.read_text(encoding="utf-8").splitlines())
        assert made[-1] == [line for line in lines if line in made[-1]], "lines unchanged, in their order"
        assert f"{len(made[-1])} of 9 problems" in capsys.readouterr().err
    assert sorted(line for each in made for line in each) == sorted(lines)
    assert sorted(map(len, made)) == [3, 3, 3]


def test_folds_that_cannot_be_made_are_errors(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fold(data, 8, folds=8)[0] == 1
    assert "7 different problems are too few for 8 folds" in capsys.readouterr().err
    for number in (0, 4):
        status, output = fold(data, number)
        assert status == 1
        assert not output.exists()
        assert f"--fold {number}: the folds are 1 to 3" in capsys.readouterr().err
