"""Preference pairs for dpo: a right completion against a wrong one of the same question, balanced in length.

What a preference loss compares are sums over tokens, so a model can lower it by writing shorter or longer alone, where
the right completions are mostly the shorter or the longer ones. Pairs are therefore chosen as equal in length as a
question has them, and as many are dropped as it takes until right ones are on average as long as wrong ones, and about
as often the longer as the shorter ones: a few that are much longer do not make up for many that are a little shorter.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

from errata.data.records import Key

BALANCED = 0.05
"""How far the mean of the pairs' log ratios may be from 0: 5 % in length."""

EQUAL = 0.03
"""Up to this log ratio lengths count as equal: which one is longer says next to nothing. Less than BALANCED."""

LEANING = 0.1
"""How far `leaning` may be from 0: by how much the longer and the shorter right completions may differ in number."""


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


def leaning(pairs: Iterable[Pair]) -> float:
    """The share of pairs whose right completion is the longer one, less that of those where it is the shorter one."""
    sides = [_side(pair.log_ratio) for pair in pairs]
    return sum(sides) / len(sides) if sides else 0.0


def balanced(pairs: Iterable[Pair]) -> list[Pair]:
    """Those that are left when neither length nor its sign tells right from wrong, in the order of their keys.

    That is when the mean of the log ratios is within BALANCED of 0, and `leaning` within LEANING. One after another a
    pair is dropped from the side of which there are too many, or else from the side that the mean leans to: the one
    without which the mean is nearest to 0. That is the most lopsided one, unless the mean would land on the other side.
    Pairs of equal lengths always stay; where the right completions of all others are the longer ones, or all the
    shorter ones, nothing else does.
    """
    left = sorted(pairs, key=lambda pair: (pair.log_ratio, pair.key, pair.number))
    ratios = [pair.log_ratio for pair in left]
    while left:
        total, lean = math.fsum(ratios), math.fsum(map(_side, ratios))
        if abs(lean) > LEANING * len(left):
            side = lean
        elif abs(total) > BALANCED * len(left):
            side = total
        else:
            break
        # without a pair of that ratio the sum would be 0
        place = bisect_left(ratios, total)
        shorter, longer = bisect_left(ratios, -EQUAL), bisect_right(ratios, EQUAL)
        first, last = (longer, len(left) - 1) if side > 0 else (0, shorter - 1)
        near = {min(max(at, first), last) for at in (place - 1, place)}
        nearest = min(near, key=lambda at: (abs(ratios[at] - total), at))
        del left[nearest], ratios[nearest]
    return sorted(left, key=lambda pair: (pair.key, pair.number))


def _side(log_ratio: float) -> int:
    """1 where the right completion is the longer one, -1 where it is the shorter one, 0 where they are equal."""
    return 0 if abs(log_ratio) <= EQUAL else 1 if log_ratio > 0 else -1
