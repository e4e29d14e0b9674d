"""A question that is asked again, and what became of it."""

from dataclasses import dataclass, field

from errata.data.records import Key, Question
from errata.inference.dispatch import PendingRequest
from errata.inference.requests import Completion


@dataclass(frozen=True, slots=True)
class Attempt:
    """A finished attempt; its text stays in the journal.

    Attributes:
        rejected: why a right one is not accepted, of `errata.data.rows.REJECTIONS`; None where it is, or is not right.
        tokens: of all that was generated for it.
        likeness: equal for completions that differ only in spaces, case or the width of characters.
        failure: what came where the server gave no completion; that is in no journal.
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
class Case:
    """A question that is asked again.

    Attributes:
        prompt: what every attempt asks it with.
        first: the first answer, None where none could be read.
        history: the turns before the prompt.
        template: digest of the template that the prompt is of; None where the answers do not say.
        named: the right letter is a name in the problem, so that it may stand for that and not for the option.
        attempts: finished attempts by number from 1; numbers are missing where an attempt was cancelled.
        halfway: what came of attempts that are to be verified, by number; it stays when they are finished.
        in_flight: those under way, by number.
    """

    key: Key
    question: Question
    prompt: str
    first: str | None
    history: tuple[str, ...] = ()
    template: str | None = None
    named: bool = False
    attempts: dict[int, Attempt] = field(default_factory=dict)
    halfway: dict[int, Completion] = field(default_factory=dict)
    in_flight: "dict[int, Trial]" = field(default_factory=dict)

    def accepted(self) -> list[int]:
        """Numbers of the accepted attempts, in order, of several alike only the first."""
        first: dict[int, int] = {}
        for number in sorted(self.attempts):
            if self.attempts[number].accepted:
                first.setdefault(self.attempts[number].likeness, number)
        return list(first.values())

    def next_number(self, attempts: int) -> int | None:
        """The attempt to go on with: one to be verified, or the first neither made nor under way."""
        numbers = (*sorted(self.halfway), *range(1, attempts + 1))
        return next((each for each in numbers if each not in self.attempts and each not in self.in_flight), None)

    def over(self, attempts: int, keep: int) -> bool:
        """Whether it needs no more asking: `keep` different accepted completions, all attempts spent, or refused."""
        return (
            len(self.attempts) >= attempts
            or len(self.accepted()) >= keep
            or any(attempt.failure and attempt.failure.refused for attempt in self.attempts.values())
        )

    @property
    def tokens(self) -> int:
        """What finished attempts cost, and those that wait to be verified."""
        unfinished = [each for number, each in self.halfway.items() if number not in self.attempts]
        return sum(each.tokens for each in self.attempts.values()) + sum(each.completion_tokens for each in unfinished)

    @property
    def outcome(self) -> str:
        """`solved`; or why not.

        `skipped`: never asked, the budget was spent. `rejected`: there were right answers, but none was accepted.
        `failed`: the server gave no completion. `truncated`: all that it gave was cut off by max_tokens.
        `unreadable`: none of it gave an answer that could be read. `exhausted`: there were answers, but no right one.
        """
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
class Trial(PendingRequest):
    """A request of an attempt under way.

    Attributes:
        verifies: it is the second one, that verifies what came of the first.
        stake: what it is expected to waste, in tokens: it runs beside an earlier attempt that may be accepted.
    """

    case: Case
    verifies: bool = False
    stake: float = 0.0
