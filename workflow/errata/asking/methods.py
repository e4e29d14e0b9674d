"""The ways of asking a question again: what an attempt is asked, and whether what comes is accepted.

An attempt of `self` and `distill` is one request. One of `reflect` is two: the second one asks to conclude from the
reasoning alone, without the hint, and is sent only where the first one passed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from errata.asking import prompts
from errata.asking.cases import Attempt, Case
from errata.asking.completions import letter_of
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

_ANEW = (
    r"(?:(?:new|corrected|correct|revised|right|proper|improved|updated|fresh|clean|full|final|brief|detailed"
    r"|step[ -]by[ -]step)[ \t]+)"
)
_ZH_ANEW = r"(?:(?:新|正确|重新|全新|完整|详细|逐步|最终|修正后|更正后|改正后|纠正后)的?)"
_TITLE = (
    # "Solution", "Step-by-step solution", "New reasoning"; the reasoning of no further description may be the wrong one
    r"(?:(?:here[ \t]+is|here['’]s)[ \t]+)?(?:(?:the|a|my)[ \t]+)?"
    rf"(?:{_ANEW}{{0,3}}solution|{_ANEW}{{1,3}}(?:reasoning|analysis|explanation)|reasoning[ \t]+anew)"
    # 解答, 解答如下, 正确解答, 新的推理
    rf"|(?:(?:以下|下面)是)?(?:{_ZH_ANEW}{{0,3}}解答|{_ZH_ANEW}{{1,3}}(?:推理|分析|思路|推导|解析|解法))"
    r"(?:过程|步骤)?(?:如下)?"
)
_MARKS = r"[ \t#>*_]{0,16}"
# The line below which the reasoning stands anew; some models write it as a heading, or go on in the same line. In the
# middle of a line it starts a sentence and ends with a colon.
_HEADING = re.compile(
    rf"^{_MARKS}(?:\d{{1,2}}[.)、][ \t]*)?(?:{_TITLE})(?:[ \t*_]{{0,8}}[:：][ \t*_]*|[ \t*_]*$)"
    rf"|(?<=[.!?。！？”\"]){_MARKS}(?:{_TITLE})[ \t*_]{{0,8}}[:：][ \t*_]*",
    re.IGNORECASE | re.MULTILINE,
)


class Reading(NamedTuple):
    """What is read in the first completion of an attempt.

    Attributes:
        text: what may be trained on.
        critique: what stood above it.
        answer: the letter chosen in it; None where none can be read, or the completion is not whole.
        correct: that is the right one.
        rejected: as in `errata.asking.cases.Attempt`, as far as the text alone says it.
    """

    text: str
    critique: str
    answer: str | None
    correct: bool
    rejected: str | None


@dataclass(frozen=True)
class Method:
    """A way of asking again.

    Args:
        name: of `ASKING_METHODS`.
        sampling: of an attempt, by question and number.
        template: of distill's and reflect's prompt.
        conclude: of the prompt that verifies; reflect's alone.
    """

    name: str
    sampling: Callable[[Key, int], Sampling]
    template: Template | None = None
    conclude: Template | None = None

    @classmethod
    def read(
        cls, name: str, sampling: Callable[[Key, int], Sampling], prompt: Path | None, conclude: Path | None
    ) -> "Method":
        """A method with its templates.

        Raises:
            UserError: one is missing, or will not do, or is of no use to this method.
        """
        purposes = METHODS[name].prompts
        giving = [each for each in ASKING_METHODS if METHODS[each].gives_answer]
        verifying = [each for each in ASKING_METHODS if METHODS[each].verified]
        for flag, path, methods in (("prompt", prompt, giving), ("conclude", conclude, verifying)):
            if (path is None) is (name in methods):
                raise UserError(
                    f"--{flag} goes with {' and '.join(methods)}, and only with {'these' if methods[1:] else 'it'}."
                )
        return cls(
            name,
            sampling,
            None if prompt is None else prompts.read(prompt, purposes[0]),
            None if conclude is None else prompts.read(conclude, purposes[1]),
        )

    @property
    def spec(self) -> MethodSpec:
        """The facts of the method."""
        return METHODS[self.name]

    def case(self, problem: Problem, question: Question, row: AnswerRow) -> Case:
        """The case of a question.

        Args:
            row: its line of the answers.
        """
        key = problem.key(question)
        if self.template is None:
            return Case(key, question, row.prompt, row.answer, template=row.template)
        history = (row.prompt, row.completion) if self.spec.shows_mistake else ()
        prompt = self.template.render(problem, question)
        named = question.answer is not None and is_name(
            question.answer, "\n".join((problem.text, question.text, *question.options))
        )
        return Case(key, question, prompt, row.answer, history, self.template.digest, named)

    def request(self, case: Case, number: int) -> Request:
        """The first request of an attempt, by its number from 1."""
        return Request(case.key, number, case.prompt, self.sampling(case.key, number), case.history)

    def verification(self, case: Case, number: int, first: Completion) -> Request | None:
        """The second request of an attempt; None where what came of the first one needs none.

        What it is to conclude from is the reasoning without its end, and without whatever else names the right option:
        else the answer would be read off, and any reasoning would lead to it. Where nothing is left of it there is
        nothing to conclude from.
        """
        if self.conclude is None:
            return None
        reading = self.reading(case.question, first)
        if not reading.correct or reading.rejected or reading.answer is None:
            return None
        letters = case.question.letters
        reasoning = without_choice(without_conclusion(reading.text, letters), reading.answer, named=case.named)
        if not reasoning:
            return None
        # what the reasoning leads to is to be seen, not what it may lead to with some luck
        sampling = replace(self.sampling(case.key, number), temperature=0.0)
        return Request(case.key, number, self.conclude.text, sampling, (case.history[0], reasoning))

    def reading(self, question: Question, first: Completion) -> Reading:
        """What the first completion of an attempt comes to."""
        parts = _solution(first.text) if self.spec.shows_mistake else ("", first.text)
        critique, text = parts or ("", first.text)
        answer = read_answer(text, question.letters) if first.complete else None
        correct = answer is not None and answer == question.answer
        rejected = None
        if correct and parts is None:
            # what it says of the mistake stands in it somewhere
            rejected = NO_SOLUTION
        elif correct and self.spec.gives_answer and gives_away(text):
            rejected = GIVES_AWAY
        return Reading(text, critique, answer, correct, rejected)

    def attempt(self, question: Question, first: Completion, second: Completion | None = None) -> Attempt:
        """An attempt by its completions; `second` is None where there was nothing to verify."""
        reading = self.reading(question, first)
        last = second or first
        rejected = reading.rejected
        if self.conclude is not None and reading.correct and not rejected:
            # without a second request there was nothing but the answer, which leads nowhere
            concluded = letter_of(second, question.letters) if second else None
            rejected = None if concluded == question.answer else INCONCLUSIVE
        return Attempt(
            # what could not be verified is a failure, not a right answer
            None if last.failed else reading.answer,
            reading.correct and not last.failed,
            None if last.failed else rejected,
            first.completion_tokens + (second.completion_tokens if second else 0),
            first.truncated,
            hash(likeness(reading.text)),
            last if last.failed else None,
        )

    def row(
        self, case: Case, number: int, first: Completion, second: Completion | None, attempt: Attempt
    ) -> AttemptRow:
        """An attempt as it stands in a line of retries."""
        reading = self.reading(case.question, first)
        last = second or first
        return AttemptRow(
            attempt=number,
            temperature=self.sampling(case.key, number).temperature,
            completion=reading.text,
            answer=attempt.answer,
            correct=attempt.correct,
            rejected=attempt.rejected,
            completion_tokens=attempt.tokens,
            finish_reason=last.finish_reason if last.failed else first.finish_reason,
            critique=reading.critique or None,
            conclusion=second.text if second and not second.failed else None,
            error=last.error if last.failed else None,
        )


def _solution(text: str) -> tuple[str, str] | None:
    """What stands above the last heading and what stands below it; None without one, for then nobody can tell the
    reasoning from what is said of the mistake.
    """
    headings = list(_HEADING.finditer(text))
    if not headings:
        return None
    return text[: headings[-1].start()].strip(), text[headings[-1].end() :].strip()
