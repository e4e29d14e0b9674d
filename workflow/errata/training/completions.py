"""The completions that may be trained on: read from answers and retries, and verified against the data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from errata.core.errors import UserError
from errata.data.held_out import held_out_ids
from errata.data.parts import read_questions
from errata.data.records import Key, Question
from errata.data.rows import AnswerRow, AttemptRow, read_answers, read_retries
from errata.reading.answers import read_answer
from errata.reading.letters import likeness
from errata.training.pairs import MeasuredText


class FirstAnswer(NamedTuple):
    """The first answer to a question.

    Attributes:
        line: its number in the file of answers.
        row: what the file says.
    """

    line: int
    row: AnswerRow


class RetriedQuestion(NamedTuple):
    """A question that was asked again, with its verified completions; no two are alike.

    Attributes:
        prompt: the plain prompt, which the first answer was asked with; it is what is trained on.
        template: digest of the template of the prompt that the right completions were asked with.
        right: in the order of the attempts.
        wrong: as `right`; the first answer comes first.
    """

    key: Key
    prompt: str
    template: str | None
    right: list[MeasuredText]
    wrong: list[MeasuredText]


@dataclass(frozen=True)
class Completions:
    """The completions of a strategy, and the data they are verified against.

    Attributes:
        answers: file of the first answers.
        retries: file of the retries.
        questions: of the training split.
        first_answers: to these questions.
        held_out: ids of the problems that are held out: nothing of them is trained on.
    """

    answers: Path
    retries: Path
    questions: dict[Key, Question]
    first_answers: dict[Key, FirstAnswer]
    held_out: set[str]

    @classmethod
    def read(cls, data: Path, answers: Path, retries: Path, held_out: Sequence[Path]) -> Self:
        """Read everything but the retries.

        Raises:
            UserError: a file cannot be read.
        """
        return cls(
            answers,
            retries,
            {problem.key(question): question for problem, question in read_questions(data)},
            {row.key: FirstAnswer(line, row) for line, row in enumerate(read_answers(answers), 1)},
            held_out_ids(data, held_out),
        )

    def retried_questions(self, *, with_wrong: bool) -> Iterator[RetriedQuestion]:
        """Every question that was asked again and is not held out.

        Args:
            with_wrong: whether its wrong completions are read too, the first answer included.

        Raises:
            UserError: a completion is not as right or wrong as its file says, or the files do not belong together.
        """
        for line, retry in enumerate(read_retries(self.retries), 1):
            key = retry.key
            first = self.first_answers.get(key)
            if first is None:
                raise UserError(
                    f"{self.retries}:{line}: {_name(key)} is not in {self.answers}. "
                    "Give the answers that these retries were made from."
                )
            if key.id in self.held_out:
                continue
            # by likeness, so that of completions that are alike the first is kept
            right: dict[str, MeasuredText] = {}
            wrong: dict[str, MeasuredText] = {}
            if with_wrong and first.row.correct is False and _has_text(first.row):
                self.verify_first(key, first)
                wrong[likeness(first.row.completion)] = _measure(first.row)
            for attempt in retry.attempts:
                if attempt.accepted or (with_wrong and not attempt.correct and _has_text(attempt)):
                    place = f"{self.retries}:{line}: attempt {attempt.attempt}"
                    self._verify(key, attempt, attempt.correct, place)
                    (right if attempt.correct else wrong).setdefault(likeness(attempt.completion), _measure(attempt))
            yield RetriedQuestion(key, first.row.prompt, retry.template, list(right.values()), list(wrong.values()))

    def first_right(self) -> list[Key]:
        """The questions, sorted, that were right at first and are not held out."""
        return sorted(
            key
            for key, (_, row) in self.first_answers.items()
            if row.correct and _has_text(row) and key.id not in self.held_out
        )

    def verify_first(self, key: Key, first: FirstAnswer) -> None:
        """Verify a first answer; see `_verify`."""
        self._verify(key, first.row, bool(first.row.correct), f"{self.answers}:{first.line}")

    def _verify(self, key: Key, row: AnswerRow | AttemptRow, correct: bool, place: str) -> None:
        """Read a completion's answer again: a file may have been changed, or be of other data.

        Raises:
            UserError: the completion is not as right or wrong as its file says.
        """
        question = self.questions.get(key)
        if question is None or question.answer is None:
            raise UserError(f"{place}: {_name(key)} has no answer in the data. Delete the file and run again.")
        answer = read_answer(row.completion, question.letters) if row.complete else None
        if (answer == question.answer) != correct:
            raise UserError(
                f"{place}: counts as {'right' if correct else 'wrong'} for {_name(key)}, but gives "
                f"{answer or 'no answer'} where {question.answer} is expected. The file was changed by hand or is of "
                "other data: delete it and run again, the journal keeps the completions."
            )


def _has_text(row: AnswerRow | AttemptRow) -> bool:
    """Whether the completion is complete and not blank."""
    return row.complete and bool(row.completion.strip())


def _measure(row: AnswerRow | AttemptRow) -> MeasuredText:
    return MeasuredText(row.completion, row.completion_tokens or 0)


def _name(key: Key) -> str:
    return f"question {key.question} of problem {key.id!r}"
