"""Scores of rules of thumb that answer without understanding the text; a model must beat them."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from errata.data.records import LETTERS

Guess = Callable[[str, Sequence[str]], int]  # text of the problem, options -> index of the guessed option


def mentions(problem: str, option: str) -> list[int]:
    """Where the option occurs in the text as whole words."""
    return [match.start() for match in re.finditer(rf"\b{re.escape(option)}\b", problem, re.IGNORECASE)]


def first_mention(problem: str, option: str) -> int:
    return min(mentions(problem, option), default=len(problem))


def best(score: Callable[[str, str], int]) -> Guess:
    """Guess the option with the highest score, the first of several."""

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


def score_baselines(records: Iterable[dict[str, Any]]) -> dict[str, float]:
    """The accuracy of every baseline on the labels, from 0 to 1; "chance" is that of random guessing."""
    questions = [
        (record["problem"], question["options"], LETTERS.index(question["answer"]))
        for record in records
        for question in record["questions"]
    ]
    common, count = Counter(answer for *_, answer in questions).most_common(1)[0]
    scores = {
        "chance": sum(1 / len(options) for _, options, _ in questions),
        f"most common letter ({LETTERS[common]})": float(count),
    }
    for name, guess in BASELINES.items():
        scores[name] = float(sum(guess(text, options) == answer for text, options, answer in questions))
    return {name: score / len(questions) for name, score in scores.items()}
