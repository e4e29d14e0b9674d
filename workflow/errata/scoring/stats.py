"""The two statistics of the report: an interval for one accuracy, and a paired test for two."""

from collections.abc import Iterable
from typing import NamedTuple


class Interval(NamedTuple):
    """A confidence interval of a proportion; both bounds lie in [0, 1]."""

    low: float
    high: float


class McNemar(NamedTuple):
    """Two variants on the same questions.

    Attributes:
        pairs: questions that both answered.
        first_only, second_only: the discordant pairs, i.e. questions that only one of them answered right.
        p: exact two-sided p value of the hypothesis that both kinds of discordant pairs are equally likely.
    """

    pairs: int
    first_only: int
    second_only: int
    p: float


def wilson(correct: int, questions: int) -> Interval:
    """The Wilson 95 % score interval (without continuity correction) of `correct` out of `questions`.

    Raises:
        ValueError: no question, or `correct` is not between 0 and `questions`.
    """
    from scipy.stats import binomtest

    if not 0 <= correct <= questions or questions == 0:
        raise ValueError(f"{correct} of {questions} is not a proportion")
    bounds = binomtest(correct, questions).proportion_ci(confidence_level=0.95, method="wilson")
    # at the ends the exact bounds are 0 and 1, which floating point misses by a little
    low = 0.0 if correct == 0 else max(0.0, float(bounds.low))
    high = 1.0 if correct == questions else min(1.0, float(bounds.high))
    return Interval(low, high)


def mcnemar(outcomes: Iterable[tuple[bool, bool]]) -> McNemar:
    """The exact McNemar test: the binomial test of 1/2 on the discordant pairs.

    Args:
        outcomes: for each question, whether the first and the second answered it right.

    Returns:
        The counts and the p value, which is 1 when no pair is discordant.
    """
    from scipy.stats import binomtest

    pairs = first_only = second_only = 0
    for first, second in outcomes:
        pairs += 1
        first_only += first and not second
        second_only += second and not first
    discordant = first_only + second_only
    # the smaller count, so that swapping the two gives the same p value to the last digit
    p = float(binomtest(min(first_only, second_only), discordant, 0.5).pvalue) if discordant else 1.0
    return McNemar(pairs, first_only, second_only, min(1.0, p))
