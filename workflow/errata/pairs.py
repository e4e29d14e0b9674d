"""Preference pairs for dpo: a right completion against a wrong one of the same question, balanced in length.

What a preference loss compares are sums over tokens, so a model can lower it by writing shorter or longer alone, where
the right completions are mostly the shorter or the longer ones. Pairs are therefore chosen as equal in length as a
question has them, and as many are dropped as it takes until right ones are on average as long as wrong ones.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

from errata.records import Key

BALANCED = 0.05
"""How far the mean of the pairs' log ratios may be from 0: 5 % in length."""


class Text(NamedTuple):
    """A completion with its length in tokens, 0 where the server did not count them."""

    text: str
    tokens: int


class Pair(NamedTuple):
    """`number` counts the candidates of a question from 1."""

    key: Key
    number: int
    chosen: Text
    rejected: Text

    @property
    def log_ratio(self) -> float:
        """Of the lengths: above 0 where the right completion is the longer one.

        Counted in characters where a number of tokens is not known.
        """
        chosen, rejected = self.chosen.tokens, self.rejected.tokens
        if not (chosen and rejected):
            chosen, rejected = len(self.chosen.text), len(self.rejected.text)
        return math.log(chosen / rejected)


def candidates(key: Key, right: Sequence[Text], wrong: Sequence[Text]) -> list[Pair]:
    """Every right completion against every wrong one of a question; none of them is empty."""
    return [Pair(key, number, *texts) for number, texts in enumerate(product(right, wrong), 1)]


def closest(found: Iterable[Pair], limit: int) -> list[Pair]:
    """The `limit` pairs whose lengths differ least, of equal ones the first."""
    return sorted(found, key=lambda pair: (abs(pair.log_ratio), pair.number))[:limit]


def mean_log_ratio(pairs: Iterable[Pair]) -> float:
    """0 where there are none. The same in whatever order they come."""
    ratios = [pair.log_ratio for pair in pairs]
    return math.fsum(ratios) / len(ratios) if ratios else 0.0


def balanced(pairs: Iterable[Pair]) -> list[Pair]:
    """Those that are left when the mean of the log ratios is within BALANCED of 0, in the order of their keys.

    One after another the pair is dropped without which the mean is nearest to 0. That is the most lopsided one in the
    mean's direction, unless there are so few that the mean would land on the other side. Where the right completions
    of all pairs are the longer ones, or all the shorter ones, only those of almost equal lengths are left, or none.
    """
    left = sorted(pairs, key=lambda pair: (pair.log_ratio, pair.key, pair.number))
    ratios = [pair.log_ratio for pair in left]
    while left and abs(total := math.fsum(ratios)) > BALANCED * len(left):
        # without a pair of that ratio the sum would be 0
        place = bisect_left(ratios, total)
        nearest = min({max(place - 1, 0), min(place, len(left) - 1)}, key=lambda at: (abs(ratios[at] - total), at))
        del left[nearest], ratios[nearest]
    return sorted(left, key=lambda pair: (pair.key, pair.number))
