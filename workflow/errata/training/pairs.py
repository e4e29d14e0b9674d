"""Preference pairs for dpo: a right completion against a wrong one of the same question, balanced in length.

A preference loss compares sums over tokens. If right completions are mostly shorter (or mostly longer) than wrong ones,
a model can lower the loss by writing shorter (or longer) texts alone. Therefore:

1. Of each question the pairs of most equal lengths are taken.
2. Pairs are dropped until right completions are on average as long as wrong ones, and about as often the longer as the
   shorter ones: a few that are much longer do not balance many that are a little shorter.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

from errata.data.records import Key

MAX_MEAN_LOG_RATIO = 0.05
"""How far the mean of the pairs' log ratios may be from 0: 5 % in length."""

EQUAL_LENGTHS = 0.03
"""Up to this log ratio lengths count as equal: it hardly matters which is longer. Less than MAX_MEAN_LOG_RATIO."""

MAX_LEANING = 0.1
"""How far `leaning` may be from 0: how much the numbers of longer and of shorter right completions may differ."""


class MeasuredText(NamedTuple):
    """A completion with its length in tokens, 0 if the server did not count them."""

    text: str
    tokens: int


class Pair(NamedTuple):
    """A right (chosen) and a wrong (rejected) completion of a question.

    Attributes:
        number: of this pair among the candidates of its question, from 1.
    """

    key: Key
    number: int
    chosen: MeasuredText
    rejected: MeasuredText

    @property
    def log_ratio(self) -> float:
        """Logarithm of the chosen length by the rejected length: above 0 if the right completion is the longer one.

        Lengths are numbers of tokens, or of characters if a number of tokens is unknown.
        """
        chosen, rejected = self.chosen.tokens, self.rejected.tokens
        if not (chosen and rejected):
            chosen, rejected = len(self.chosen.text), len(self.rejected.text)
        return math.log(chosen / rejected)


def candidate_pairs(key: Key, right: Sequence[MeasuredText], wrong: Sequence[MeasuredText]) -> list[Pair]:
    """Every right completion of a question against every wrong one; no text may be empty."""
    return [Pair(key, number, *texts) for number, texts in enumerate(product(right, wrong), 1)]


def closest_pairs(pairs: Iterable[Pair], limit: int) -> list[Pair]:
    """The `limit` pairs whose lengths differ least; of equal ones the first."""
    return sorted(pairs, key=lambda pair: (abs(pair.log_ratio), pair.number))[:limit]


def mean_log_ratio(pairs: Iterable[Pair]) -> float:
    """The mean of the log ratios, whatever the order of the pairs; 0 if there are none."""
    ratios = [pair.log_ratio for pair in pairs]
    return math.fsum(ratios) / len(ratios) if ratios else 0.0


def leaning(pairs: Iterable[Pair]) -> float:
    """The share of pairs whose right completion is longer, minus the share of those whose right one is shorter."""
    sides = [_side(pair.log_ratio) for pair in pairs]
    return sum(sides) / len(sides) if sides else 0.0


def balanced_pairs(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs that remain when length does not tell right from wrong, in the order of their keys.

    The mean log ratio is then within MAX_MEAN_LOG_RATIO of 0, and `leaning` within MAX_LEANING.

    Pairs are dropped one by one: from the side with too many pairs, else from the side of the mean. The pair without
    which the mean is nearest to 0 goes first: the most unequal one, unless the mean would then change its side. Pairs
    of equal lengths always remain. If all other right completions are longer, or all are shorter, only they remain.
    """
    left = sorted(pairs, key=lambda pair: (pair.log_ratio, pair.key, pair.number))
    ratios = [pair.log_ratio for pair in left]
    while left:
        total, sides = math.fsum(ratios), math.fsum(map(_side, ratios))
        if abs(sides) > MAX_LEANING * len(left):
            side = sides
        elif abs(total) > MAX_MEAN_LOG_RATIO * len(left):
            side = total
        else:
            break
        # without a pair of this ratio the sum would be 0
        place = bisect_left(ratios, total)
        shorter, longer = bisect_left(ratios, -EQUAL_LENGTHS), bisect_right(ratios, EQUAL_LENGTHS)
        first, last = (longer, len(left) - 1) if side > 0 else (0, shorter - 1)
        near = {min(max(index, first), last) for index in (place - 1, place)}
        nearest = min(near, key=lambda index: (abs(ratios[index] - total), index))
        del left[nearest], ratios[nearest]
    return sorted(left, key=lambda pair: (pair.key, pair.number))


def _side(log_ratio: float) -> int:
    """1 if the right completion is longer, -1 if it is shorter, 0 for equal lengths."""
    return 0 if abs(log_ratio) <= EQUAL_LENGTHS else 1 if log_ratio > 0 else -1
