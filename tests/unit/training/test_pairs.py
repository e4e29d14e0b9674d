"""Pairs of completions for dpo: balanced in length, the same ones however they come."""

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.data.records import Key
from errata.training.pairs import (
    BALANCED,
    EQUAL,
    LEANING,
    Pair,
    Text,
    balanced,
    candidates,
    closest,
    leaning,
    mean_log_ratio,
)


def pair(id: str, chosen: int, rejected: int, number: int = 1) -> Pair:
    return Pair(Key(id, 0), number, Text("right", chosen), Text("wrong", rejected))


lengths = st.integers(1, 300)
pairs = st.lists(
    st.builds(pair, st.text("abc", min_size=1), lengths, lengths, st.integers(1, 99)),
    unique_by=lambda each: (each.key, each.number),
    max_size=40,
)


@given(pairs, st.randoms(use_true_random=False))
def test_kept_pairs_are_within_the_bound_and_the_same_however_they_come(found: list[Pair], chance: Any) -> None:
    kept = balanced(found)
    assert set(kept) <= set(found)
    assert len(set(kept)) == len(kept)
    assert abs(mean_log_ratio(kept)) <= BALANCED + 1e-12
    assert abs(leaning(kept)) <= LEANING + 1e-12
    assert set(kept) >= {each for each in found if abs(each.log_ratio) <= EQUAL}, "equal lengths may stay"
    if abs(mean_log_ratio(found)) <= BALANCED and abs(leaning(found)) <= LEANING:
        assert len(kept) == len(found), "nothing had to be dropped"
    chance.shuffle(found)
    assert balanced(found) == kept


@given(st.lists(st.integers(106, 400), min_size=1), st.booleans())
def test_where_all_lean_one_way_nothing_is_left_that_would_be_learned(longer: list[int], turned: bool) -> None:
    found = [pair(f"{number}", *((100, length) if turned else (length, 100))) for number, length in enumerate(longer)]
    assert balanced(found) == []
    equal = pair("equal", 70, 70)
    assert equal in balanced([*found, equal])


@settings(max_examples=20)
@given(st.integers(), st.sampled_from([-0.1, 0.1]))
def test_of_many_pairs_no_more_are_dropped_than_must_be_and_all_of_them_from_one_side(seed: int, mean: float) -> None:
    chance = random.Random(seed)
    found = [pair(f"{n:03}", round(1000 * math.exp(chance.gauss(mean, 0.3))), 1000) for n in range(200)]
    side = math.copysign(1, mean)
    kept = balanced(found)
    assert all(side * each.log_ratio > EQUAL for each in found if each not in kept)
    # without the most lopsided one after another
    rest = sorted(found, key=lambda each: side * each.log_ratio)
    while abs(leaning(rest)) > LEANING or abs(mean_log_ratio(rest)) > BALANCED:
        rest.pop()
    assert len(kept) >= len(rest)
    assert len(kept) > 100


@pytest.mark.parametrize("turned", [False, True])
def test_a_few_that_are_much_longer_do_not_make_up_for_many_that_are_shorter(turned: bool) -> None:
    def found(shorter: int, longer: int, length: int) -> list[Pair]:
        lengths = [(90, 100)] * shorter + [(length, 100)] * longer + [(100, 100)] * 5
        return [pair(f"{n:03}", *(each[::-1] if turned else each)) for n, each in enumerate(lengths)]

    lopsided = found(95, 5, 1000)
    assert abs(mean_log_ratio(lopsided)) < BALANCED
    assert abs(leaning(lopsided)) > 0.8
    # of those that are not equal no part is balanced in both ways
    assert balanced(lopsided) == [each for each in lopsided if each.log_ratio == 0]
    # as many of the majority go as must
    mixed = balanced(found(60, 30, 115))
    assert [sum(each.log_ratio * side > EQUAL for each in mixed) for side in ((1, -1) if turned else (-1, 1))] == [
        37,
        30,
    ]


def test_so_few_pairs_that_dropping_the_most_lopsided_would_tip_them_over() -> None:
    found = [pair("a", 200, 100), pair("b", 118, 100), pair("c", 100, 118)]
    assert [each.key.id for each in balanced(found)] == ["b", "c"]
    found = [pair("a", 300, 100), pair("b", 150, 100), pair("c", 100, 151)]
    assert [each.key.id for each in balanced(found)] == ["b", "c"]


def test_of_a_question_the_pairs_of_most_equal_lengths_are_taken_of_equal_ones_the_first() -> None:
    right, wrong = [Text("r40", 40), Text("r10", 10)], [Text("w20", 20), Text("w11", 11), Text("w80", 80)]
    found = candidates(Key("p", 0), right, wrong)
    assert [each.number for each in found] == [1, 2, 3, 4, 5, 6]
    assert [(each.chosen.text, each.rejected.text) for each in closest(found, 3)] == [
        ("r10", "w11"),
        ("r40", "w20"),
        ("r40", "w80"),
    ]
    assert candidates(Key("p", 0), right, []) == []


def test_lengths_are_counted_in_characters_where_tokens_are_not_known() -> None:
    known, unknown = Text("abcd", 8), Text("ab", 0)
    assert Pair(Key("p", 0), 1, known, unknown).log_ratio == pytest.approx(math.log(2))
    assert Pair(Key("p", 0), 1, Text("ab", 1), known).log_ratio == pytest.approx(-math.log(8))
