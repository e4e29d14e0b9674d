"""Variants: what is scored of a model, by a name that is part of paths."""

import re
from typing import NamedTuple, Self

BASE = "base"


class Variant(NamedTuple):
    """What is scored of a model: `base`, `self`, `self-4bit`, each also with the majority of samples, `self+maj8`.

    Attributes:
        made: `base`, or the strategy that made it.
        bits: None where nothing is quantized.
        votes: samples of which the majority counts; None for one completion.
    """

    made: str
    bits: int | None = None
    votes: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        found = re.fullmatch(r"(.+?)(?:-(\d+)bit)?(?:\+maj(\d+))?", text)
        if not found:
            return cls(text)
        return cls(found[1], *(None if number is None else int(number) for number in (found[2], found[3])))

    def __str__(self) -> str:
        bits = "" if self.bits is None else f"-{self.bits}bit"
        votes = "" if self.votes is None else f"+maj{self.votes}"
        return f"{self.made}{bits}{votes}"

    @property
    def greedy(self) -> Self:
        """The same with one completion a question."""
        return self._replace(votes=None)

    def of_fold(self, fold: int) -> Self:
        """The same, trained without a fold."""
        return self._replace(made=_of_fold(self.made, fold))


def _of_fold(name: str, fold: int) -> str:
    return f"{name}.fold{fold}"
