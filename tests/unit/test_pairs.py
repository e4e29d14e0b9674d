"""Pairs of completions for dpo: balanced in length, the same ones however they come."""

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.pairs import BALANCED, Pair, Text, balanced, candidates, closest, mean_log_ratio
from errata.records import Key


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
    if abs(mean_log_ratio(found)) <= BALANCED:
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
def test_of_many_pairs_only_the_most_lopsided_of_the_longer_side_are_dropped(seed: int, mean: float) -> None:
    chance = random.Random(seed)
    found = [pair(f"{n:03}", round(1000 * math.exp(chance.gauss(mean, 0.3))), 1000) for n in range(200)]
    side = math.copysign(1, mean_log_ratio(found))
    kept = balanced(found)
    dropped = [side * each.log_ratio for each in found if each not in kept]
    assert len(kept) > 100
    assert min(dropped, default=math.inf) >= max(side * each.log_ratio for each in kept) > 0


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
