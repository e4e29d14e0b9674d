"""A first-wrong question and what became of asking it again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from errata.dispatch import Job
from errata.journal import Completion
from errata.reading import likeness, read_answer
from errata.records import Key, Question

OUTCOMES = ("solved", "exhausted", "unreadable", "truncated", "failed", "skipped")


def accepted(completion: Completion, letters: str) -> str | None:
    """The answer of a completion; a truncated or failed one has none, whatever stands in it."""
    return None if completion.truncated or completion.failed else read_answer(completion.text, letters)


def usable(attempt: Mapping[str, Any]) -> bool:
    """Whether an attempt of a file of retries may be trained on: it is right, and was not rejected all the same."""
    return bool(attempt["correct"]) and "rejected" not in attempt


@dataclass(frozen=True, slots=True)
class Attempt:
    """A finished attempt; its text stays in the journal.

    Attributes:
        likeness: equal for completions that differ only in spaces, case or the width of characters.
        failure: what came where the server gave no completion; that is in no journal.
    """

    answer: str | None
    right: bool
    tokens: int
    truncated: bool
    likeness: int
    failure: Completion | None


@dataclass(eq=False, slots=True)
class Case:
    """A first-wrong question.

    Attributes:
        prompt: what it was asked with, and is asked with again.
        first: the first answer, None where none could be read.
        attempts: finished attempts by number from 1; numbers are missing where an attempt was cancelled.
        in_flight: those under way, by number.
    """

    key: Key
    question: Question
    prompt: str
    first: str | None
    attempts: dict[int, Attempt] = field(default_factory=dict)
    in_flight: "dict[int, Trial]" = field(default_factory=dict)

    def record(self, number: int, completion: Completion) -> Attempt:
        """Take a finished attempt."""
        answer = accepted(completion, self.question.letters)
        attempt = self.attempts[number] = Attempt(
            answer,
            answer is not None and answer == self.question.answer,
            completion.completion_tokens,
            completion.truncated,
            hash(likeness(completion.text)),
            completion if completion.failed else None,
        )
        return attempt

    def right(self) -> list[int]:
        """Numbers of the right attempts, in order, of several alike only the first."""
        first: dict[int, int] = {}
        for number in sorted(self.attempts):
            if self.attempts[number].right:
                first.setdefault(self.attempts[number].likeness, number)
        return list(first.values())

    def next_number(self, attempts: int) -> int | None:
        """The first attempt that was neither finished nor is under way."""
        numbers = (number for number in range(1, attempts + 1) if number not in self.attempts)
        return next((number for number in numbers if number not in self.in_flight), None)

    def over(self, attempts: int, keep: int) -> bool:
        """Whether it needs no more asking: `keep` different right completions, all attempts spent, or refused."""
        return (
            len(self.attempts) >= attempts
            or len(self.right()) >= keep
            or any(attempt.failure and attempt.failure.refused for attempt in self.attempts.values())
        )

    @property
    def outcome(self) -> str:
        """`solved`; or why not.

        `skipped`: never asked, the budget was spent. `failed`: the server gave no completion. `truncated`: all that it
        gave was cut off by max_tokens. `unreadable`: none of it gave an answer that could be read. `exhausted`: there
        were answers, but no right one.
        """
        attempts = self.attempts.values()
        if any(attempt.right for attempt in attempts):
            return "solved"
        if not attempts:
            return "skipped"
        completed = [attempt for attempt in attempts if attempt.failure is None]
        if not completed:
            return "failed"
        if all(attempt.truncated for attempt in completed):
            return "truncated"
        return "exhausted" if any(attempt.answer for attempt in completed) else "unreadable"


@dataclass(eq=False, slots=True)
class Trial(Job):
    """An attempt under way.

    `stake` is what it is expected to waste, in tokens: it runs beside an earlier attempt that may turn out right.
    """

    case: Case
    stake: float = 0.0
