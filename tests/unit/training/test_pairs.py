"""Pairs of completions for dpo: balanced in length, and the same whatever the order of the completions."""

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.data.records import Key
from errata.training.pairs import (
    EQUAL_LENGTHS,
    MAX_LEANING,
    MAX_MEAN_LOG_RATIO,
    MeasuredText,
    Pair,
    balanced_pairs,
    candidate_pairs,
    closest_pairs,
    leaning,
    mean_log_ratio,
)


def pair(id: str, chosen: int, rejected: int, number: int = 1) -> Pair:
    return Pair(Key(id, 0), number, MeasuredText("right", chosen), MeasuredText("wrong", rejected))


lengths = st.integers(1, 300)
pairs = st.lists(
    st.builds(pair, st.text("abc", min_size=1), lengths, lengths, st.integers(1, 99)),
    unique_by=lambda each: (each.key, each.number),
    max_size=40,
)


@given(pairs, st.randoms(use_true_random=False))
def test_kept_pairs_are_within_the_bounds_in_whatever_order_they_come(found: list[Pair], chance: Any) -> None:
    kept = balanced_pairs(found)
    assert set(kept) <= set(found)
    assert len(set(kept)) == len(kept)
    assert abs(mean_log_ratio(kept)) <= MAX_MEAN_LOG_RATIO + 1e-12
    assert abs(leaning(kept)) <= MAX_LEANING + 1e-12
    assert set(kept) >= {each for each in found if abs(each.log_ratio) <= EQUAL_LENGTHS}, "equal lengths may stay"
    if abs(mean_log_ratio(found)) <= MAX_MEAN_LOG_RATIO and abs(leaning(found)) <= MAX_LEANING:
        assert len(kept) == len(found), "nothing had to be dropped"
    chance.shuffle(found)
    assert balanced_pairs(found) == kept


@given(st.lists(st.integers(106, 400), min_size=1), st.booleans())
def test_if_all_right_completions_are_longer_or_all_shorter_only_equal_lengths_remain(
    longer: list[int], turned: bool
) -> None:
    found = [pair(f"{number}", *((100, length) if turned else (length, 100))) for number, length in enumerate(longer)]
    assert balanced_pairs(found) == []
    equal = pair("equal", 70, 70)
    assert equal in balanced_pairs([*found, equal])


@settings(max_examples=20)
@given(st.integers(), st.sampled_from([-0.1, 0.1]))
def test_of_many_pairs_as_few_as_necessary_are_dropped_all_from_one_side(seed: int, mean: float) -> None:
    chance = random.Random(seed)
    found = [pair(f"{n:03}", round(1000 * math.exp(chance.gauss(mean, 0.3))), 1000) for n in range(200)]
    side = math.copysign(1, mean)
    kept = balanced_pairs(found)
    assert all(side * each.log_ratio > EQUAL_LENGTHS for each in found if each not in kept)
    # as a comparison: drop the most unequal pair again and again
    rest = sorted(found, key=lambda each: side * each.log_ratio)
    while abs(leaning(rest)) > MAX_LEANING or abs(mean_log_ratio(rest)) > MAX_MEAN_LOG_RATIO:
        rest.pop()
    assert len(kept) >= len(rest)
    assert len(kept) > 100


@pytest.mark.parametrize("turned", [False, True])
def test_a_few_that_are_much_longer_do_not_balance_many_that_are_shorter(turned: bool) -> None:
    def found(shorter: int, longer: int, length: int) -> list[Pair]:
        lengths = [(90, 100)] * shorter + [(length, 100)] * longer + [(100, 100)] * 5
        return [pair(f"{n:03}", *(each[::-1] if turned else each)) for n, each in enumerate(lengths)]

    unequal = found(95, 5, 1000)
    assert abs(mean_log_ratio(unequal)) < MAX_MEAN_LOG_RATIO
    assert abs(leaning(unequal)) > 0.8
    # no part of the unequal pairs is balanced in mean and in number
    assert balanced_pairs(unequal) == [each for each in unequal if each.log_ratio == 0]
    # only as many of the majority are dropped as necessary
    mixed = balanced_pairs(found(60, 30, 115))
    assert [
        sum(each.log_ratio * side > EQUAL_LENGTHS for each in mixed) for side in ((1, -1) if turned else (-1, 1))
    ] == [
        37,
        30,
    ]


def test_of_few_pairs_the_most_unequal_one_is_dropped() -> None:
    found = [pair("a", 200, 100), pair("b", 118, 100), pair("c", 100, 118)]
    assert [each.key.id for each in balanced_pairs(found)] == ["b", "c"]
    found = [pair("a", 300, 100), pair("b", 150, 100), pair("c", 100, 151)]
    assert [each.key.id for each in balanced_pairs(found)] == ["b", "c"]


def test_pairs_of_most_equal_lengths_are_taken_and_of_equal_ones_the_first() -> None:
    right, wrong = (
        [MeasuredText("r40", 40), MeasuredText("r10", 10)],
        [MeasuredText("w20", 20), MeasuredText("w11", 11), MeasuredText("w80", 80)],
    )
    found = candidate_pairs(Key("p", 0), right, wrong)
    assert [each.number for each in found] == [1, 2, 3, 4, 5, 6]
    assert [(each.chosen.text, each.rejected.text) for each in closest_pairs(found, 3)] == [
        ("r10", "w11"),
        ("r40", "w20"),
        ("r40", "w80"),
    ]
    assert candidate_pairs(Key("p", 0), right, []) == []


def test_lengths_are_counted_in_characters_if_tokens_are_unknown() -> None:
    known, unknown = MeasuredText("abcd", 8), MeasuredText("ab", 0)
    assert Pair(Key("p", 0), 1, known, unknown).log_ratio == pytest.approx(math.log(2))
    assert Pair(Key("p", 0), 1, MeasuredText("ab", 1), known).log_ratio == pytest.approx(-math.log(8))
