"""The mistakes made on purpose in the training data, each with the correction that mends it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from errata.data.records import LETTERS
from errata.puzzles.closure import Claim, Literal
from errata.puzzles.puzzle import Option, Puzzle, Question, Statement
from errata.puzzles.words import PEOPLE, listing
from errata.puzzles.worlds import Comparison

WRONG = 1 / 30  # share of the questions that get a wrong label


@dataclass(frozen=True)
class Item:
    """A puzzle as it is filed: its id and the letter that stands as the answer of each question."""

    id: str
    puzzle: Puzzle
    answers: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        questions = [
            {"question": one.text, "options": [option.text for option in one.options], "answer": answer}
            for one, answer in zip(self.puzzle.questions, self.answers, strict=True)
        ]
        return {"id": self.id, "problem": self.puzzle.text, "questions": questions}


@dataclass(frozen=True)
class Correction:
    """A row of corrections.csv; `question` is None for a whole problem."""

    id: str
    question: int | None
    action: str
    old: str
    new: str
    reason: str


def items(split: str, puzzles: Sequence[Puzzle]) -> list[Item]:
    """The puzzles with their ids and proved answers."""
    return [
        Item(f"{split}-{number:04}", puzzle, tuple(letter(puzzle, one) for one in puzzle.questions))
        for number, puzzle in enumerate(puzzles, 1)
    ]


def letter(puzzle: Puzzle, question: Question) -> str:
    right = puzzle.proved(question)
    assert right, question
    return LETTERS[question.options.index(right)]


def spoil(rng: Random, right: Sequence[Item]) -> tuple[list[Item], list[Correction]]:
    """File some wrong labels, a question without a right option and a problem that contradicts itself.

    Each mistake is in a problem of its own. Small sets may have no problem fit for the last two.
    """
    filed = {item.id: item for item in right}
    corrections: list[Correction] = []
    wrong = round(WRONG * sum(len(item.answers) for item in right))
    makers = [misprint, contradict] + [mislabel] * wrong
    for item in rng.sample(right, len(right)):
        for make in makers:
            made = make(rng, item)
            if made:
                filed[item.id], correction = made
                corrections.append(correction)
                makers.remove(make)
                break
    return list(filed.values()), sorted(corrections, key=lambda one: one.id)


def mislabel(rng: Random, item: Item) -> tuple[Item, Correction] | None:
    """A question whose label is another letter."""
    index = rng.randrange(len(item.answers))
    question = item.puzzle.questions[index]
    new = item.answers[index]
    old = rng.choice(LETTERS[: len(question.options)].replace(new, ""))
    answers = (*item.answers[:index], old, *item.answers[index + 1 :])
    support = [f'"{one.text}"' for one in item.puzzle.support(question) if one.says]
    source = f"it follows from {listing(support)}" if support else "nothing in the text makes another option true"
    reason = f"{question.options[LETTERS.index(new)].text} is right: {source}"
    return replace(item, answers=answers), Correction(item.id, index, "answer", old, new, reason)


def misprint(rng: Random, item: Item) -> tuple[Item, Correction] | None:
    """A question, not the only one, whose right option bears the name of somebody who is not in the text."""
    puzzle = item.puzzle
    index = rng.randrange(len(item.answers))
    question = puzzle.questions[index]
    right = puzzle.proved(question)
    assert right
    named = right.text in PEOPLE and all(isinstance(part, Claim) for part in right.claim)
    if len(item.answers) == 1 or not named:
        return None
    known = {*puzzle.text.replace(".", "").split(), *(option.text for option in question.options)}
    stranger = rng.choice([name for name in PEOPLE if name not in known])
    claim = tuple(rename(part, right.text, stranger) for part in right.claim)
    options = tuple(Option(stranger, claim) if one == right else one for one in question.options)
    if any(puzzle.verdict(option) is not False for option in options):
        return None
    questions = list(puzzle.questions)
    questions[index] = replace(question, options=options)
    reason = f"misprint: the right option would be {right.text}; {stranger} is not in the text"
    correction = Correction(item.id, index, "drop", "", "", reason)
    return replace(item, puzzle=replace(puzzle, questions=tuple(questions))), correction


def rename(claim: Claim, old: str, new: str) -> Claim:
    return replace(
        claim,
        body=tuple(
            Literal(tuple(new if term == old else term for term in one.atom), one.positive) for one in claim.body
        ),
    )


def contradict(rng: Random, item: Item) -> tuple[Item, Correction] | None:
    """A problem that also says the reverse of one of its statements."""
    puzzle = item.puzzle
    for statement in rng.sample(puzzle.statements, len(puzzle.statements)):
        match statement.says:
            case (Comparison(left, "<", right),) if {left, right} <= set(re.findall(r"\w+", statement.text)):
                text = statement.text.replace(left, "{}", 1).replace(right, left, 1).replace("{}", right, 1)
                reverse = Statement(text, (Comparison(right, "<", left),))
                reason = f'contradictory: it says both "{statement.text}" and "{text}"'
                contradictory = replace(puzzle, statements=(*puzzle.statements, reverse))
                return replace(item, puzzle=contradictory), Correction(item.id, None, "drop", "", "", reason)
    return None
