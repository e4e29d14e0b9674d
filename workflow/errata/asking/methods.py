"""The methods of asking a question again: what an attempt asks, and whether its completions are accepted.

An attempt of `self` and `distill` is one request. An attempt of `reflect` is two: the second one, the verification,
asks the model to conclude from its reasoning alone, without the right answer. It is sent only if the first one passed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from errata.asking import prompts
from errata.asking.attempts import Attempt, Reading, Retry
from errata.asking.completions import letter_of
from errata.asking.headings import Parts, split_at_heading
from errata.asking.prompts import Template
from errata.config.methods import ASKING_METHODS, METHODS, MethodSpec
from errata.core.errors import UserError
from errata.data.records import Key, Problem, Question
from errata.data.rows import GIVES_AWAY, INCONCLUSIVE, NO_SOLUTION, AnswerRow, AttemptRow
from errata.inference.requests import Completion, Request, Sampling
from errata.reading.answers import read_answer
from errata.reading.choices import is_name, without_choice, without_conclusion
from errata.reading.giveaway import gives_away
from errata.reading.letters import likeness


@dataclass(frozen=True)
class Method:
    """A method with its templates.

    Args:
        name: of `errata.config.methods.ASKING_METHODS`; its entry in the table there says what distinguishes it.
        sampling: of an attempt, by question and number.
        template: of the prompt; None for a method that asks with the prompt of the first answer.
        conclude: of the prompt that verifies; None for a method without verification.
    """

    name: str
    sampling: Callable[[Key, int], Sampling]
    template: Template | None = None
    conclude: Template | None = None

    @classmethod
    def read(
        cls, name: str, sampling: Callable[[Key, int], Sampling], prompt: Path | None, conclude: Path | None
    ) -> "Method":
        """Read the templates of a method.

        Raises:
            UserError: a template is missing, is not valid, or is of no use to this method.
        """
        spec = METHODS[name]
        _check_flag("prompt", prompt, spec.gives_answer, lambda each: each.gives_answer)
        _check_flag("conclude", conclude, spec.verified, lambda each: each.verified)
        return cls(
            name,
            sampling,
            None if prompt is None else prompts.read(prompt, spec.prompts[0]),
            None if conclude is None else prompts.read(conclude, spec.prompts[1]),
        )

    @property
    def spec(self) -> MethodSpec:
        return METHODS[self.name]

    def begin(self, problem: Problem, question: Question, row: AnswerRow) -> Retry:
        """Begin to ask a question again.

        Args:
            row: its line of the answers.
        """
        key = problem.key(question)
        if self.template is None:
            return Retry(key, question, row.prompt, row.answer, template=row.template)
        text = "\n".join((problem.text, question.text, *question.options))
        return Retry(
            key,
            question,
            prompt=self.template.render(problem, question),
            first_answer=row.answer,
            history=(row.prompt, row.completion) if self.spec.shows_mistake else (),
            template=self.template.digest,
            letter_is_name=question.answer is not None and is_name(question.answer, text),
        )

    def request(self, retry: Retry, number: int) -> Request:
        """The first request of an attempt, by its number from 1."""
        return Request(retry.key, number, retry.prompt, self.sampling(retry.key, number), retry.history)

    def read_completion(self, question: Question, completion: Completion) -> Reading:
        """Read the first completion of an attempt."""
        parts = split_at_heading(completion.text) if self.spec.shows_mistake else Parts("", completion.text)
        critique, text = parts or Parts("", completion.text)
        answer = read_answer(text, question.letters) if completion.complete else None
        correct = answer is not None and answer == question.answer
        rejected = None
        if correct and parts is None:
            # the critique is somewhere in the text and would be trained on
            rejected = NO_SOLUTION
        elif correct and self.spec.gives_answer and gives_away(text):
            rejected = GIVES_AWAY
        return Reading(completion, text, critique, answer, correct, rejected)

    def verification(self, retry: Retry, number: int, reading: Reading) -> Request | None:
        """The second request of an attempt; None where the first completion needs none.

        The model is to conclude from the reasoning without its conclusion, and without all else that names the right
        option: otherwise it would read the answer off, and any reasoning would lead to it. Where no reasoning is left,
        there is nothing to conclude from.
        """
        if self.conclude is None or reading.answer is None or not reading.correct or reading.rejected:
            return None
        reasoning = without_conclusion(reading.text, retry.question.letters)
        reasoning = without_choice(reasoning, reading.answer, named=retry.letter_is_name)
        if not reasoning:
            return None
        # greedy: what the reasoning leads to counts, not what it may lead to with some luck
        sampling = replace(self.sampling(retry.key, number), temperature=0.0)
        return Request(retry.key, number, self.conclude.text, sampling, (retry.history[0], reasoning))

    def attempt(self, question: Question, reading: Reading, second: Completion | None = None) -> Attempt:
        """A finished attempt.

        Args:
            reading: of the first completion.
            second: the completion of the verification; None where there was nothing to verify.
        """
        first = reading.completion
        last = second or first
        rejected = reading.rejected
        if self.conclude is not None and reading.correct and not rejected:
            # without a verification there was nothing but the answer, which leads nowhere
            concluded = letter_of(second, question.letters) if second else None
            rejected = None if concluded == question.answer else INCONCLUSIVE
        return Attempt(
            # an answer that could not be verified is a failure, not a right answer
            answer=None if last.failed else reading.answer,
            correct=reading.correct and not last.failed,
            rejected=None if last.failed else rejected,
            tokens=first.completion_tokens + (second.completion_tokens if second else 0),
            truncated=first.truncated,
            likeness=hash(likeness(reading.text)),
            failure=last if last.failed else None,
        )

    def row(
        self, retry: Retry, number: int, reading: Reading, second: Completion | None, attempt: Attempt
    ) -> AttemptRow:
        """An attempt as it is written in a line of retries."""
        last = second or reading.completion
        return AttemptRow(
            attempt=number,
            temperature=self.sampling(retry.key, number).temperature,
            completion=reading.text,
            answer=attempt.answer,
            correct=attempt.correct,
            rejected=attempt.rejected,
            completion_tokens=attempt.tokens,
            finish_reason=last.finish_reason if last.failed else reading.completion.finish_reason,
            critique=reading.critique or None,
            conclusion=second.text if second and not second.failed else None,
            error=last.error if last.failed else None,
        )


def _check_flag(flag: str, path: Path | None, needed: bool, needs: Callable[[MethodSpec], bool]) -> None:
    if (path is not None) is not needed:
        names = [name for name in ASKING_METHODS if needs(METHODS[name])]
        only = "these" if len(names) > 1 else "it"
        raise UserError(f"--{flag} goes with {' and '.join(names)}, and only with {only}.")
