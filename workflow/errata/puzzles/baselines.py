"""What can be scored without reading: rules of thumb that a model must beat to have learned anything."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from errata.data.records import LETTERS

Guess = Callable[[str, Sequence[str]], int]  # problem text and options -> index of the option guessed


def mentions(problem: str, option: str) -> list[int]:
    """Where the option stands in the text as words of its own."""
    return [match.start() for match in re.finditer(rf"\b{re.escape(option)}\b", problem, re.IGNORECASE)]


def first_mention(problem: str, option: str) -> int:
    return min(mentions(problem, option), default=len(problem))


def best(score: Callable[[str, str], int]) -> Guess:
    """The option of the highest score, the first one of equals."""

    def guess(problem: str, options: Sequence[str]) -> int:
        scores = [score(problem, option) for option in options]
        return scores.index(max(scores))

    return guess


BASELINES: dict[str, Guess] = {
    "option mentioned first in the text": best(lambda text, option: -first_mention(text, option)),
    "option mentioned last in the text": best(lambda text, option: max(mentions(text, option), default=-1)),
    "option mentioned most often in the text": best(lambda text, option: len(mentions(text, option))),
    "option mentioned least often in the text": best(lambda text, option: -len(mentions(text, option))),
    "longest option": best(lambda _, option: len(option)),
    "shortest option": best(lambda _, option: -len(option)),
    "last option": lambda _, options: len(options) - 1,
    "No or Nobody, else the first option": best(lambda _, option: option in ("No", "Nobody")),
    "Yes or Nobody, else the first option": best(lambda _, option: option in ("Yes", "Nobody")),
}


def baselines(records: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Baseline -> accuracy on the labels of the records, from 0 to 1; "chance" is that of blind guessing."""
    asked = [
        (record["problem"], question["options"], LETTERS.index(question["answer"]))
        for record in records
        for question in record["questions"]
    ]
    common, count = Counter(answer for *_, answer in asked).most_common(1)[0]
    scores = {
        "chance": sum(1 / len(options) for _, options, _ in asked),
        f"most common letter ({LETTERS[common]})": float(count),
    }
    for name, guess in BASELINES.items():
        scores[name] = float(sum(guess(text, options) == answer for text, options, answer in asked))
    return {name: score / len(asked) for name, score in scores.items()}
