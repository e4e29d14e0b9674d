"""Questions picked out of a run: what the retries came to, and a few examples of every outcome."""

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import NamedTuple

from errata.data.records import Key
from errata.data.rows import AnswerRow, AttemptRow, RetryRow
from errata.data.rows import read_retries as read_retry_rows

SHOWN = 3
"""How many examples of a kind are shown: the first ones in file order."""

OUTCOMES = {
    "solved": "answered right by one of the attempts",
    "rejected": "right, but saying that it was told, mixed with the critique, or not convincing without being told",
    "exhausted": "wrong in every attempt",
    "unreadable": "no attempt gave a readable answer",
    "truncated": "every attempt was cut off at the token limit",
    "failed": "the requests themselves failed",
    "skipped": "never asked again: the budget was spent",
}

REJECTED = {
    "gives-away": "but it says that it was told",
    "no-solution": "but no heading tells its reasoning from what it says of the mistake",
    "inconclusive": "but asked without being told, its reasoning leads elsewhere",
}
"""Why a right attempt is not trained on."""


class Part(NamedTuple):
    """One completion of an example, under a title such as "attempt 2: C, right"."""

    title: str
    text: str | None


class Example(NamedTuple):
    """A question with what a model made of it. `prompt` is None where its answers file is missing."""

    title: str
    prompt: str | None
    parts: list[Part]


class Retries(NamedTuple):
    """What asking questions again came to.

    Attributes:
        strategies: that are trained on it.
        asked: the variant whose first answers they go back to: `base`, or in a further round what the last one made.
        wrong_only: no question was answered right at first.
        solved_by: [n] counts the questions solved within n + 1 attempts.
        tokens: of all completions.
    """

    strategies: list[str]
    asked: str
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


def read_retries(path: Path, strategies: list[str], asked: str, first_answers: dict[Key, AnswerRow]) -> Retries:
    """Count a file of retries and pick the first examples of solved and of never-solved questions.

    Args:
        strategies: that are trained on it.
        asked: the variant that gave the first answers.
        first_answers: these, which hold prompts and first completions.

    Raises:
        UserError: the file cannot be read.
    """
    outcomes: Counter[str] = Counter()
    solved_at: Counter[int] = Counter()
    attempts = tokens = 0
    wrong_only = True
    solved: list[Example] = []
    unsolved: list[Example] = []
    for row in read_retry_rows(path):
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
    return Retries(strategies, asked, outcomes.total(), wrong_only, ordered, by_attempt, tokens, solved, unsolved)


def _retry_example(row: RetryRow, first: AnswerRow | None) -> Example:
    parts = [Part(f"first answer: {_letter(row.first)}", first.completion)] if first else []
    for attempt in row.attempts:
        if attempt.critique:
            parts.append(Part(f"attempt {attempt.attempt}: what it says of its mistake", attempt.critique))
        parts.append(
            Part(f"attempt {attempt.attempt}: {_letter(attempt.answer)}, {_verdict(attempt)}", attempt.completion)
        )
    count = len(row.attempts)
    title = (
        f"{row.id}, question {row.question}: {row.outcome} after {count} "
        f"attempt{'' if count == 1 else 's'}, expected {row.expected}, first answer {_letter(row.first)}"
    )
    return Example(title, first.prompt if first else None, parts)


def _verdict(attempt: AttemptRow) -> str:
    if attempt.rejected:
        return f"right, {REJECTED.get(attempt.rejected, attempt.rejected)}"
    ending = ", cut off at the token limit" if attempt.truncated else ""
    return f"{'right' if attempt.correct else 'wrong'}{ending}"


def flips(
    base: dict[Key, AnswerRow], variant: dict[Key, AnswerRow], name: str, *, to_right: bool
) -> tuple[list[Example], int]:
    """Questions whose answer changed between right and wrong.

    Args:
        to_right: take those that base got wrong and the variant right; else the other way round.

    Returns:
        The first examples in the variant's file order, and how many such questions there are.
    """

    def found() -> Iterator[Key]:
        for key, answer in variant.items():
            before = base.get(key)
            if (
                before is not None
                and answer.expected is not None
                and before.expected == answer.expected
                and (before.correct is True, answer.correct is True) == (not to_right, to_right)
            ):
                yield key

    keys = list(found())
    examples = [
        Example(
            f"{key.id}, question {key.question}: expected {variant[key].expected}, "
            f"base {_letter(base[key].answer)}, {name} {_letter(variant[key].answer)}",
            variant[key].prompt,
            [
                Part(f"base: {_letter(base[key].answer)}", base[key].completion),
                Part(f"{name}: {_letter(variant[key].answer)}", variant[key].completion),
            ],
        )
        for key in islice(keys, SHOWN)
    ]
    return examples, len(keys)


def _letter(answer: str | None) -> str:
    return answer or "unreadable"
