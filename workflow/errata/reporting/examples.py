"""Questions picked out of a run: what the retries came to, and a few examples of every outcome."""

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple

from errata.core.files import read_jsonl
from errata.data.records import Key, usable
from errata.scoring.score import Answer

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


def read_retries(path: Path, strategies: list[str], asked: str, first_answers: dict[Key, Answer]) -> Retries:
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
    for row in read_jsonl(path):
        outcome = row.get("outcome", "unknown")
        outcomes[outcome] += 1
        wrong_only &= row["first"] is None or row["first"] != row["expected"]
        attempts = max([attempts, *(number for number, _ in _numbered(row))])
        tokens += sum(each.get("completion_tokens") or 0 for each in row.get("attempts", []))
        if outcome == "solved":
            solved_at[min(number for number, each in _numbered(row) if usable(each))] += 1
        examples = solved if outcome == "solved" else unsolved
        if len(examples) < SHOWN:
            examples.append(_retried(row, first_answers.get(Key(str(row["id"]), row["question"]))))
    by_attempt = list(accumulate(solved_at[number] for number in range(1, attempts + 1)))
    ordered = {name: outcomes[name] for name in [*OUTCOMES, *sorted(outcomes.keys() - OUTCOMES.keys())]}
    return Retries(strategies, asked, outcomes.total(), wrong_only, ordered, by_attempt, tokens, solved, unsolved)


def _numbered(row: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """Attempts by their numbers, of which some are missing where attempts ran side by side and one was right."""
    return [(each.get("attempt", place), each) for place, each in enumerate(row.get("attempts", []), 1)]


def _retried(row: dict[str, Any], first: Answer | None) -> Example:
    parts = [Part(f"first answer: {_letter(row['first'])}", first.completion)] if first else []
    for number, attempt in _numbered(row):
        if attempt.get("critique"):
            parts.append(Part(f"attempt {number}: what it says of its mistake", attempt["critique"]))
        parts.append(
            Part(f"attempt {number}: {_letter(attempt['answer'])}, {_verdict(attempt)}", attempt["completion"])
        )
    tries = len(row["attempts"])
    title = (
        f"{row['id']}, question {row['question']}: {row['outcome']} after {tries} "
        f"attempt{'' if tries == 1 else 's'}, expected {row['expected']}, first answer {_letter(row['first'])}"
    )
    return Example(title, first.prompt if first else None, parts)


def _verdict(attempt: dict[str, Any]) -> str:
    if "rejected" in attempt:
        return f"right, {REJECTED.get(attempt['rejected'], attempt['rejected'])}"
    ending = ", cut off at the token limit" if attempt.get("finish_reason") == "length" else ""
    return f"{'right' if attempt['correct'] else 'wrong'}{ending}"


def flips(
    base: dict[Key, Answer], variant: dict[Key, Answer], name: str, *, to_right: bool
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
                and (before.correct, answer.correct) == (not to_right, to_right)
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
