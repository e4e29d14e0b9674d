"""Counts of the retries of a run, and a few of its questions as examples."""

from collections import Counter
from itertools import accumulate, islice
from pathlib import Path
from typing import NamedTuple

from errata.data.records import Key
from errata.data.rows import AnswerRow, AttemptRow, RetryRow, read_retries

SHOWN = 3
"""Examples of a kind that are shown: the first ones in file order."""

OUTCOMES = {
    "solved": "answered right by one of the attempts",
    "rejected": "right, but it mentions the given answer, is mixed with the critique, or does not lead to the answer",
    "exhausted": "wrong in every attempt",
    "unreadable": "no attempt gave a readable answer",
    "truncated": "every attempt was cut off at the token limit",
    "failed": "the requests themselves failed",
    "skipped": "never asked again: the budget was spent",
}

REJECTED = {
    "gives-away": "but it mentions that the answer was given",
    "no-solution": "but no heading separates its reasoning from the critique",
    "inconclusive": "but without the given answer, its reasoning leads to another one",
}
"""Why a right attempt is not trained on."""


class Passage(NamedTuple):
    """One text of an example, under a title such as "attempt 2: C, right"."""

    title: str
    text: str | None


class Example(NamedTuple):
    """A question with a model's completions. `prompt` is None where its answers file is missing."""

    title: str
    prompt: str | None
    passages: list[Passage]


class Retries(NamedTuple):
    """Counts and examples of a file of retries.

    Attributes:
        strategies: the strategies that are trained on it.
        respondent: the variant that gave the first answers: `base`, or the variant of the round before.
        wrong_only: whether all first answers were wrong.
        solved_by: [n] counts the questions solved within n + 1 attempts.
        tokens: of all completions.
    """

    strategies: list[str]
    respondent: str
    questions: int
    wrong_only: bool
    outcomes: dict[str, int]
    solved_by: list[int]
    tokens: int
    solved: list[Example]
    unsolved: list[Example]

    @property
    def name(self) -> str:
        return ", ".join(self.strategies)


def summarize_retries(
    path: Path, strategies: list[str], respondent: str, first_answers: dict[Key, AnswerRow]
) -> Retries:
    """Count a file of retries, and take the first examples of solved and of unsolved questions.

    Args:
        strategies: the strategies that are trained on it.
        respondent: the variant that gave the first answers.
        first_answers: its answers, with prompts and first completions.

    Raises:
        UserError: the file cannot be read.
    """
    outcomes: Counter[str] = Counter()
    solved_at: Counter[int] = Counter()
    attempts = tokens = 0
    wrong_only = True
    solved: list[Example] = []
    unsolved: list[Example] = []
    for row in read_retries(path):
        outcomes[row.outcome] += 1
        wrong_only &= row.first is None or row.first != row.expected
        attempts = max([attempts, *(each.attempt for each in row.attempts)])
        tokens += sum(each.completion_tokens for each in row.attempts)
        if row.outcome == "solved":
            solved_at[min(each.attempt for each in row.attempts if each.accepted)] += 1
        examples = solved if row.outcome == "solved" else unsolved
        if len(examples) < SHOWN:
            examples.append(_retry_example(row, first_answers.get(row.key)))
    by_attempt = list(accumulate(solved_at[number] for number in range(1, attempts + 1)))
    ordered = {name: outcomes[name] for name in [*OUTCOMES, *sorted(outcomes.keys() - OUTCOMES.keys())]}
    return Retries(strategies, respondent, outcomes.total(), wrong_only, ordered, by_attempt, tokens, solved, unsolved)


def _retry_example(row: RetryRow, first: AnswerRow | None) -> Example:
    passages = [Passage(f"first answer: {_letter(row.first)}", first.completion)] if first else []
    for attempt in row.attempts:
        if attempt.critique:
            passages.append(Passage(f"attempt {attempt.attempt}: critique of the mistake", attempt.critique))
        passages.append(
            Passage(f"attempt {attempt.attempt}: {_letter(attempt.answer)}, {_verdict(attempt)}", attempt.completion)
        )
    count = len(row.attempts)
    title = (
        f"{row.id}, question {row.question}: {row.outcome} after {count} "
        f"attempt{'' if count == 1 else 's'}, expected {row.expected}, first answer {_letter(row.first)}"
    )
    return Example(title, first.prompt if first else None, passages)


def _verdict(attempt: AttemptRow) -> str:
    if attempt.rejected:
        return f"right, {REJECTED.get(attempt.rejected, attempt.rejected)}"
    ending = ", cut off at the token limit" if attempt.truncated else ""
    return f"{'right' if attempt.correct else 'wrong'}{ending}"


def find_flips(
    base: dict[Key, AnswerRow], variant: dict[Key, AnswerRow], name: str, *, to_right: bool
) -> tuple[list[Example], int]:
    """Questions that only one of base and variant answered right.

    Args:
        to_right: take those that the variant answered right; otherwise those that the base answered right.

    Returns:
        The first examples in the variant's file order, and the number of all such questions.
    """
    keys = [
        key
        for key, answer in variant.items()
        if key in base
        and answer.expected is not None
        and base[key].expected == answer.expected
        and (base[key].correct is True, answer.correct is True) == (not to_right, to_right)
    ]
    examples = [
        Example(
            f"{key.id}, question {key.question}: expected {variant[key].expected}, "
            f"base {_letter(base[key].answer)}, {name} {_letter(variant[key].answer)}",
            variant[key].prompt,
            [
                Passage(f"base: {_letter(base[key].answer)}", base[key].completion),
                Passage(f"{name}: {_letter(variant[key].answer)}", variant[key].completion),
            ],
        )
        for key in islice(keys, SHOWN)
    ]
    return examples, len(keys)


def _letter(answer: str | None) -> str:
    return answer or "unreadable"
