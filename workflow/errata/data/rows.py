"""The rows of answers, samples and retries: the lines of their files, and whether they can be used.

Steps write rows with `to_record` and read them with `read_answers`, `read_samples` and `read_retries`. Whether a
completion failed, is truncated, is complete or is accepted is decided here and nowhere else.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from errata.core.errors import UserError
from errata.core.files import read_jsonl, read_jsonl_places
from errata.data.records import Key

Row = TypeVar("Row")

OUTCOMES = ("solved", "rejected", "exhausted", "unreadable", "truncated", "failed", "skipped")
"""The outcomes of a question that was asked again, see `RetryRow`."""
REJECTIONS = GIVES_AWAY, INCONCLUSIVE, NO_SOLUTION = "gives-away", "inconclusive", "no-solution"
"""Why a right attempt is not accepted, see `AttemptRow`."""
# the finish reason of a request for which the server gave no completion
ERROR = "error"


class Ending:
    """How a completion ended, by its `finish_reason`: the server's own, or "error" where it gave no completion."""

    __slots__ = ()
    finish_reason: str | None

    @property
    def failed(self) -> bool:
        """The server gave no completion."""
        return self.finish_reason == ERROR

    @property
    def truncated(self) -> bool:
        """The completion was cut off by its limit of tokens: its text is not the model's answer."""
        return self.finish_reason == "length"

    @property
    def complete(self) -> bool:
        """The model itself ended the completion."""
        return not self.failed and not self.truncated


class OfQuestion:
    """A row about one question: `id` is of its problem, `question` is its index in the problem, from 0."""

    __slots__ = ()
    id: str
    question: int

    @property
    def key(self) -> Key:
        return Key(self.id, self.question)


@dataclass(frozen=True, slots=True)
class AnswerRow(OfQuestion, Ending):
    """A line of `answers/{split}.jsonl` and `scores/{variant}/{split}.jsonl`: one question and the model's answer.

    Attributes:
        id: of the problem.
        question: index of the question in its problem, from 0.
        prompt: the whole prompt.
        completion: the model's text; empty where the server gave none.
        answer: the letter read from the completion, None where none could be read.
        expected: the label, None for a question without one.
        correct: whether the answer is the label, None for a question without a label.
        prompt_tokens, completion_tokens: as the server counted them; None where it did not.
        finish_reason: see `Ending`.
        seconds: from sending the request to the end of the answer.
        model: the name that the server gives the model.
        template: digest of the prompt template; None in files of early versions.
        votes: votes by letter if several samples voted; None for a single completion.
        error: the server's message where it gave no completion.
    """

    id: str
    question: int
    prompt: str
    completion: str
    answer: str | None
    expected: str | None
    correct: bool | None
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    seconds: float | None
    model: str | None
    template: str | None = None
    votes: Mapping[str, int] | None = None
    error: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "AnswerRow":
        """Read a line.

        Raises:
            KeyError: a key is missing that every version has written.
        """
        return cls(
            id=record["id"],
            question=record["question"],
            prompt=record["prompt"],
            completion=record["completion"] or "",
            answer=record["answer"],
            expected=record["expected"],
            correct=record["correct"],
            prompt_tokens=record.get("prompt_tokens"),
            completion_tokens=record.get("completion_tokens"),
            finish_reason=record.get("finish_reason"),
            seconds=record.get("seconds"),
            model=record.get("model"),
            template=record.get("template"),
            votes=record.get("votes"),
            error=record.get("error"),
        )

    def to_record(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "question": self.question,
            "template": self.template,
            "prompt": self.prompt,
            "completion": self.completion,
            "answer": self.answer,
            "expected": self.expected,
            "correct": self.correct,
            **({} if self.votes is None else {"votes": dict(self.votes)}),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "finish_reason": self.finish_reason,
            "seconds": self.seconds,
            "model": self.model,
            **({} if self.error is None else {"error": self.error}),
        }


@dataclass(frozen=True, slots=True)
class Sample(Ending):
    """One of the sampled completions of a question; attributes as in `AnswerRow`."""

    completion: str
    answer: str | None
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None
    seconds: float
    error: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Sample":
        return cls(
            completion=record["completion"],
            answer=record["answer"],
            prompt_tokens=record["prompt_tokens"],
            completion_tokens=record["completion_tokens"],
            finish_reason=record["finish_reason"],
            seconds=record["seconds"],
            error=record.get("error"),
        )

    def to_record(self) -> dict[str, Any]:
        return {
            "completion": self.completion,
            "answer": self.answer,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "finish_reason": self.finish_reason,
            "seconds": self.seconds,
            **({} if self.error is None else {"error": self.error}),
        }


@dataclass(frozen=True, slots=True)
class SampleRow(OfQuestion):
    """A line of `samples/{variant}/{split}.jsonl`: one question with several completions."""

    id: str
    question: int
    prompt: str
    expected: str | None
    samples: tuple[Sample, ...]
    model: str | None
    template: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "SampleRow":
        return cls(
            id=record["id"],
            question=record["question"],
            prompt=record["prompt"],
            expected=record["expected"],
            samples=tuple(map(Sample.from_record, record["completions"])),
            model=record.get("model"),
            template=record.get("template"),
        )

    def to_record(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "question": self.question,
            "template": self.template,
            "prompt": self.prompt,
            "expected": self.expected,
            "completions": [sample.to_record() for sample in self.samples],
            "model": self.model,
        }


@dataclass(frozen=True, slots=True)
class AttemptRow(Ending):
    """One attempt at a question that is asked again.

    Attributes:
        attempt: its number from 1; numbers are missing where an attempt was cancelled.
        temperature: of its sampling.
        completion: the text that may be trained on. Of reflect, that is only the part below the heading.
        answer: the letter read from it, None where none could be read.
        correct: whether that is the label.
        rejected: why a right answer is not accepted, None where it is: `gives-away`, it says that the model was given
            the answer; `inconclusive`, its reasoning does not lead to the answer; `no-solution`, no heading says where
            the reasoning begins that may be trained on.
        completion_tokens: of all completions of the attempt, the verification included.
        critique: of reflect, the text above the heading.
        conclusion: of reflect, the completion of the verification.
        error: the server's message where it gave no completion.
    """

    attempt: int
    completion: str
    answer: str | None
    correct: bool
    completion_tokens: int
    finish_reason: str | None
    temperature: float | None = None
    rejected: str | None = None
    critique: str | None = None
    conclusion: str | None = None
    error: str | None = None

    @property
    def accepted(self) -> bool:
        """Right and not rejected: it solves its question and may be trained on."""
        return self.correct and self.rejected is None

    @classmethod
    def from_record(cls, record: Mapping[str, Any], place: int = 1) -> "AttemptRow":
        """Read an attempt.

        Args:
            place: among the attempts of its question, from 1; its number in files of early versions, which have none.
        """
        return cls(
            attempt=record.get("attempt", place),
            completion=record["completion"] or "",
            answer=record["answer"],
            correct=bool(record["correct"]),
            completion_tokens=record.get("completion_tokens") or 0,
            finish_reason=record.get("finish_reason"),
            temperature=record.get("temperature"),
            rejected=record.get("rejected"),
            critique=record.get("critique"),
            conclusion=record.get("conclusion"),
            error=record.get("error"),
        )

    def to_record(self) -> dict[str, Any]:
        return {
            "attempt": self.attempt,
            "temperature": self.temperature,
            "completion": self.completion,
            "answer": self.answer,
            "correct": self.correct,
            **({"rejected": self.rejected} if self.rejected else {}),
            "completion_tokens": self.completion_tokens,
            "finish_reason": self.finish_reason,
            **({"critique": self.critique} if self.critique else {}),
            **({} if self.conclusion is None else {"conclusion": self.conclusion}),
            **({} if self.error is None else {"error": self.error}),
        }


@dataclass(frozen=True, slots=True)
class RetryRow(OfQuestion):
    """A line of `retries/{strategy}.jsonl`: a question that was asked again, with all its attempts.

    Attributes:
        expected: the label.
        first: the first answer, None where none could be read.
        outcome: `solved`, or why it is not. `rejected`: there were right answers, but none was accepted. `exhausted`:
            there were answers, but no right one. `unreadable`: no completion had an answer that could be read.
            `truncated`: all completions were cut off by their limit of tokens. `failed`: the server gave no completion.
            `skipped`: never asked, since the budget was spent.
        template: digest of the template of the attempts' prompt.
        attempts: in the order of their numbers.
    """

    id: str
    question: int
    expected: str | None
    first: str | None
    outcome: str
    attempts: tuple[AttemptRow, ...] = ()
    template: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "RetryRow":
        return cls(
            id=record["id"],
            question=record["question"],
            expected=record["expected"],
            first=record["first"],
            outcome=record.get("outcome", "unknown"),
            attempts=tuple(AttemptRow.from_record(each, place) for place, each in enumerate(record["attempts"], 1)),
            template=record.get("template"),
        )

    def to_record(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "question": self.question,
            "expected": self.expected,
            "first": self.first,
            "outcome": self.outcome,
            "template": self.template,
            "attempts": [attempt.to_record() for attempt in self.attempts],
        }


def read_answers(path: Path) -> Iterator[AnswerRow]:
    """The rows of a file of answers, in its order.

    Raises:
        UserError: the file is missing, or a line is not a row of answers.
    """
    return _read(path, AnswerRow.from_record)


def read_samples(path: Path) -> Iterator[SampleRow]:
    """The rows of a file of samples, in its order; raises as `read_answers`."""
    return _read(path, SampleRow.from_record)


def read_retries(path: Path) -> Iterator[RetryRow]:
    """The rows of a file of retries, in its order; raises as `read_answers`."""
    return _read(path, RetryRow.from_record)


def read_places(path: Path) -> Iterator[tuple[int, Key]]:
    """The byte at which each row of one of these files starts, with its question; raises as `read_answers`."""
    for place, record in read_jsonl_places(path):
        try:
            yield place, Key(record["id"], record["question"])
        except KeyError as error:
            raise UserError(f"{path}: a row has no {error}. Delete the file and run again.") from error


def _read(path: Path, parse: Callable[[Mapping[str, Any]], Row]) -> Iterator[Row]:
    for number, record in enumerate(read_jsonl(path), 1):
        try:
            yield parse(record)
        except (KeyError, TypeError, AttributeError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UserError(
                f"{path}:{number}: not a row of this file ({what}). Delete the file and run again: "
                "the journal keeps the completions."
            ) from error
