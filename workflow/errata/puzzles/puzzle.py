"""A puzzle: statements and questions, each as text and in the terms of a solver."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol


class Solver(Protocol):
    """Decides claims from facts: `worlds.Worlds` or `closure.Closure`."""

    def verdict(self, facts: Sequence[Any], claim: Sequence[Any]) -> bool | None:
        """True: proved; False: refuted; None: undecided."""


@dataclass(frozen=True)
class Statement:
    """A sentence and the facts or rules that it states, in the terms of the puzzle's solver."""

    text: str
    says: tuple[Any, ...]


@dataclass(frozen=True)
class Option:
    """An option and its claim; if `positive` is false, the option says that the claim is false."""

    text: str
    claim: tuple[Any, ...]
    positive: bool = True


@dataclass(frozen=True)
class Question:
    """A question; `kind` is the sort of question, of which each family has a few."""

    kind: str
    text: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Puzzle:
    """Statements, the solver that understands them, and questions about them."""

    family: str
    solver: Solver
    statements: tuple[Statement, ...]
    questions: tuple[Question, ...]

    @property
    def text(self) -> str:
        return " ".join(statement.text for statement in self.statements)

    def verdict(self, option: Option) -> bool | None:
        """True: the option is proved; False: refuted; None: the statements leave it undecided."""
        facts = tuple(fact for statement in self.statements for fact in statement.says)
        verdict = self.solver.verdict(facts, option.claim)
        return verdict if verdict is None else verdict == option.positive

    def right_option(self, question: Question) -> Option | None:
        """The right option; None unless exactly one is proved and all others are refuted."""
        verdicts = [self.verdict(option) for option in question.options]
        if verdicts.count(True) != 1 or None in verdicts:
            return None
        return question.options[verdicts.index(True)]

    def support(self, question: Question) -> tuple[Statement, ...]:
        """Statements that prove the answer, but no longer do so if any one of them is removed."""
        right, kept = self.right_option(question), self
        for statement in self.statements:
            fewer = replace(kept, statements=tuple(each for each in kept.statements if each != statement))
            if fewer.right_option(question) == right:
                kept = fewer
        return kept.statements


def yes_or_no(text: str, *claim: Any) -> Question:
    return Question("yes or no", text, (Option("Yes", claim), Option("No", claim, positive=False)))
