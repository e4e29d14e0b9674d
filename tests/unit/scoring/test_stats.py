"""Intervals and paired tests against hand-computed values and the properties that define them."""

from math import comb

import pytest
import scipy.stats  # noqa: F401 (its first import takes longer than hypothesis lets an example run)
from hypothesis import given
from hypothesis import strategies as st

from errata.scoring.stats import mcnemar, wilson

counts = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)


@given(counts)
def test_wilson_is_within_the_unit_interval_and_contains_the_proportion(count: tuple[int, int]) -> None:
    correct, questions = count
    low, high = wilson(correct, questions)
    assert 0 <= low <= correct / questions <= high <= 1
    assert low < high


@given(counts)
def test_wilson_of_the_wrong_answers_is_the_mirror_image(count: tuple[int, int]) -> None:
    correct, questions = count
    low, high = wilson(correct, questions)
    mirrored = wilson(questions - correct, questions)
    assert mirrored.low == pytest.approx(1 - high, abs=1e-12)
    assert mirrored.high == pytest.approx(1 - low, abs=1e-12)


def test_wilson_by_hand() -> None:
    # (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) with z = 1.959964
    assert wilson(96, 200) == pytest.approx((0.411792, 0.548962), abs=1e-6)
    # at the ends it is z²/(n + z²) wide: 3.841459 / 13.841459
    assert wilson(0, 10) == pytest.approx((0.0, 0.277533), abs=1e-6)
    assert wilson(10, 10) == pytest.approx((0.722467, 1.0), abs=1e-6)
    assert wilson(0, 10).low == 0.0
    assert wilson(10, 10).high == 1.0


@pytest.mark.parametrize(("correct", "questions"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_impossible_counts(correct: int, questions: int) -> None:
    with pytest.raises(ValueError, match="not a proportion"):
        wilson(correct, questions)


@given(outcomes)
def test_mcnemar_is_symmetric(pairs: list[tuple[bool, bool]]) -> None:
    there, back = mcnemar(pairs), mcnemar((second, first) for first, second in pairs)
    assert there.p == back.p
    assert (there.first_only, there.second_only) == (back.second_only, back.first_only)
    assert there.pairs == back.pairs == len(pairs)
    assert 0 < there.p <= 1


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_tail(first_only: int, second_only: int) -> None:
    pairs = [(True, False)] * first_only + [(False, True)] * second_only
    n, k = first_only + second_only, min(first_only, second_only)
    tail = sum(comb(n, i) for i in range(k + 1)) / 2**n
    assert mcnemar(pairs).p == pytest.approx(min(1.0, 2 * tail))


def test_mcnemar_by_hand() -> None:
    concordant = [(True, True)] * 50 + [(False, False)] * 7
    # 1 against 9: 2 * (C(10,0) + C(10,1)) / 2^10 = 22 / 1024
    result = mcnemar([(True, False)] + [(False, True)] * 9 + concordant)
    assert result == (67, 1, 9, pytest.approx(22 / 1024))
    assert mcnemar(concordant).p == 1.0
    assert mcnemar([]) == (0, 0, 0, 1.0)
