"""Names that are part of paths: of trainings (`self-round2.fold3`) and of variants (`self-round2.fold3-4bit+maj8`).

No other module builds these names or takes them apart.
"""

import re
from typing import NamedTuple, Self

BASE = "base"
_STRATEGY = re.compile(r"(?P<family>.+?)(?:-round(?P<round>\d+))?(?:\.fold(?P<fold>\d+))?")
_VARIANT = re.compile(r"(?P<strategy>.+?)(?:-(?P<bits>\d+)bit)?(?:\+maj(?P<votes>\d+))?")


class Variant(NamedTuple):
    """A form of a model that is scored: `base`, `self`, `self-4bit`, each also with a majority of samples, `self+maj8`.

    Attributes:
        strategy: `base`, or the strategy whose training made it, with its round and fold: `self-round2.fold3`.
        bits: of the quantized weights; None where they are not quantized.
        votes: samples whose majority counts; None for a single completion.
    """

    strategy: str
    bits: int | None = None
    votes: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """A variant by its name."""
        match = _VARIANT.fullmatch(text)
        if match is None:
            return cls(text)
        return cls(match["strategy"], _number(match["bits"]), _number(match["votes"]))

    def __str__(self) -> str:
        bits = "" if self.bits is None else f"-{self.bits}bit"
        votes = "" if self.votes is None else f"+maj{self.votes}"
        return f"{self.strategy}{bits}{votes}"

    @property
    def is_base(self) -> bool:
        """Whether its weights are the base model's."""
        return self.strategy == BASE

    @property
    def family(self) -> str:
        """The strategy's name in the configuration, without round and fold."""
        match = _STRATEGY.fullmatch(self.strategy)
        return self.strategy if match is None else match["family"]

    @property
    def round(self) -> int:
        """The round of its strategy, from 1."""
        match = _STRATEGY.fullmatch(self.strategy)
        return 1 if match is None else _number(match["round"]) or 1

    @property
    def fold(self) -> int | None:
        """The fold that its training left out, from 1; None where it was trained on all of them."""
        match = _STRATEGY.fullmatch(self.strategy)
        return None if match is None else _number(match["fold"])

    @property
    def greedy(self) -> Self:
        """The same weights with one completion a question."""
        return self._replace(votes=None)

    @property
    def unquantized(self) -> Self:
        """The weights as they were trained, with one completion a question."""
        return self._replace(bits=None, votes=None)

    def with_votes(self, votes: int | None) -> Self:
        """The same weights with the majority of so many samples; None for a single completion."""
        return self._replace(votes=votes)

    def of_fold(self, fold: int) -> Self:
        """The same, trained without a fold. The base model is the same for all folds."""
        return self if self.is_base else self._replace(strategy=fold_name(self.strategy, fold))


def round_name(strategy: str, number: int) -> str:
    """The name of a round of a strategy, from 1."""
    return strategy if number == 1 else f"{strategy}-round{number}"


def fold_name(strategy: str, fold: int) -> str:
    """The name of a strategy that is trained without a fold."""
    return f"{strategy}.fold{fold}"


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)
