"""A question that is asked again, its attempts, and its outcome."""

from dataclasses import dataclass, field
from typing import NamedTuple

from errata.data.records import Key, Question
from errata.inference.dispatch import PendingRequest
from errata.inference.requests import Completion


class Reading(NamedTuple):
    """What `Method.read` finds in the first completion of an attempt.

    Attributes:
        completion: the completion itself.
        text: the text in it that may be trained on.
        critique: the text above that.
        answer: the letter chosen in the text; None where none can be read, or the completion is not complete.
        correct: whether that is the right one.
        rejected: why a right answer is rejected for its text alone, of `errata.data.rows.REJECTIONS`; None otherwise.
    """

    completion: Completion
    text: str
    critique: str
    answer: str | None
    correct: bool
    rejected: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A finished attempt; its text stays in the journal.

    Attributes:
        answer: the letter; None where none can be read or the server gave no completion.
        correct: whether that is the right one.
        rejected: why a right one is not accepted, of `errata.data.rows.REJECTIONS`; None otherwise.
        tokens: of all completions of the attempt.
        truncated: the first completion was cut off by its limit of tokens.
        likeness: equal for completions that differ only in spaces, case or the width of characters.
        failure: the failed completion where the server gave none; failures are in no journal.
    """

    answer: str | None
    correct: bool
    rejected: str | None
    tokens: int
    truncated: bool
    likeness: int
    failure: Completion | None

    @property
    def accepted(self) -> bool:
        return self.correct and self.rejected is None


@dataclass(eq=False, slots=True)
class Retry:
    """A question that is asked again.

    Attributes:
        prompt: of every attempt.
        first_answer: the answer before all attempts, None where none could be read.
        history: the turns before the prompt.
        template: digest of the prompt's template; None where the answers do not say it.
        letter_is_name: the right letter is a name in the problem, so in a text it need not stand for the option.
        attempts: finished attempts by number from 1; the numbers of cancelled attempts are missing.
        candidates: what was read in attempts that need a verification, by number; kept when they are finished.
        in_flight: requests that were sent or wait to be, by the number of their attempt.
    """

    key: Key
    question: Question
    prompt: str
    first_answer: str | None
    history: tuple[str, ...] = ()
    template: str | None = None
    letter_is_name: bool = False
    attempts: dict[int, Attempt] = field(default_factory=dict)
    candidates: dict[int, Reading] = field(default_factory=dict)
    in_flight: "dict[int, AttemptRequest]" = field(default_factory=dict)

    def accepted_attempts(self) -> list[int]:
        """Numbers of the accepted attempts, in order; of attempts with the same likeness only the first."""
        first: dict[int, int] = {}
        for number in sorted(self.attempts):
            if self.attempts[number].accepted:
                first.setdefault(self.attempts[number].likeness, number)
        return list(first.values())

    def next_attempt(self, attempts: int) -> int | None:
        """The attempt to send a request for: one to be verified, else the first neither finished nor in flight."""
        numbers = (*sorted(self.candidates), *range(1, attempts + 1))
        return next((each for each in numbers if each not in self.attempts and each not in self.in_flight), None)

    def is_over(self, attempts: int, keep: int) -> bool:
        """Whether no further request is needed.

        That is so with `keep` different accepted completions, with all attempts finished, or with a refused one.
        """
        return (
            len(self.attempts) >= attempts
            or len(self.accepted_attempts()) >= keep
            or any(attempt.failure and attempt.failure.refused for attempt in self.attempts.values())
        )

    @property
    def unverified(self) -> dict[int, Reading]:
        """The candidates whose attempt is not finished."""
        return {number: reading for number, reading in self.candidates.items() if number not in self.attempts}

    @property
    def tokens(self) -> int:
        """Tokens of all completions so far."""
        finished = sum(attempt.tokens for attempt in self.attempts.values())
        return finished + sum(reading.completion.completion_tokens for reading in self.unverified.values())

    @property
    def outcome(self) -> str:
        """`solved`, or why it is not solved; see `errata.data.rows.RetryRow`."""
        attempts = self.attempts.values()
        if any(attempt.accepted for attempt in attempts):
            return "solved"
        if any(attempt.correct for attempt in attempts):
            return "rejected"
        if not attempts:
            return "skipped"
        completed = [attempt for attempt in attempts if attempt.failure is None]
        if not completed:
            return "failed"
        if all(attempt.truncated for attempt in completed):
            return "truncated"
        return "exhausted" if any(attempt.answer for attempt in completed) else "unreadable"


@dataclass(eq=False, slots=True)
class AttemptRequest(PendingRequest):
    """A request of an attempt.

    Attributes:
        verifies: it is the second request of the attempt, which verifies the first completion.
        stake: the tokens that it is expected to waste, because an earlier attempt in flight may be accepted.
    """

    retry: Retry
    verifies: bool = False
    stake: float = 0.0
