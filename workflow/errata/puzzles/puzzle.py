"""A puzzle: statements and questions, each as a sentence and as what the sentence says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol


class Solver(Protocol):
    """Decides claims from facts: errata.puzzles.worlds.Worlds or errata.puzzles.closure.Closure."""

    def verdict(self, facts: Sequence[Any], claim: Sequence[Any]) -> bool | None:
        """True: proved; False: refuted; None: open."""


@dataclass(frozen=True)
class Statement:
    """A sentence and the facts or rules that it states, in the terms of the puzzle's solver."""

    text: str
    says: tuple[Any, ...]


@dataclass(frozen=True)
class Option:
    """An option and its claim; with `positive` false the option says that the claim is false."""

    text: str
    claim: tuple[Any, ...]
    positive: bool = True


@dataclass(frozen=True)
class Question:
    """A question; `kind` tells apart the sorts of questions of a family."""

    kind: str
    text: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Puzzle:
    """Statements, the solver that knows what they mean, and questions about them."""

    family: str
    solver: Solver
    statements: tuple[Statement, ...]
    questions: tuple[Question, ...]

    @property
    def text(self) -> str:
        return " ".join(statement.text for statement in self.statements)

    def verdict(self, option: Option) -> bool | None:
        """True: the option is proved; False: refuted; None: the statements leave it open."""
        facts = tuple(fact for statement in self.statements for fact in statement.says)
        verdict = self.solver.verdict(facts, option.claim)
        return verdict if verdict is None else verdict == option.positive

    def proved(self, question: Question) -> Option | None:
        """The right option, or None unless exactly one is proved and all the others are refuted."""
        verdicts = [self.verdict(option) for option in question.options]
        if verdicts.count(True) != 1 or None in verdicts:
            return None
        return question.options[verdicts.index(True)]

    def support(self, question: Question) -> tuple[Statement, ...]:
        """Statements that prove the answer by themselves and of which none can be spared."""
        right, kept = self.proved(question), self
        for statement in self.statements:
            fewer = replace(kept, statements=tuple(one for one in kept.statements if one != statement))
            if fewer.proved(question) == right:
                kept = fewer
        return kept.statements


def yes_or_no(text: str, *claim: Any) -> Question:
    return Question("yes or no", text, (Option("Yes", claim), Option("No", claim, positive=False)))
