"""Deliberate mistakes in the training data, each with its correction."""

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

WRONG = 1 / 30  # share of questions with a wrong label


@dataclass(frozen=True)
class Item:
    """A puzzle as it is in a file: its id, and the answer (a letter) given for each question."""

    id: str
    puzzle: Puzzle
    answers: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        questions = [
            {"question": question.text, "options": [option.text for option in question.options], "answer": answer}
            for question, answer in zip(self.puzzle.questions, self.answers, strict=True)
        ]
        return {"id": self.id, "problem": self.puzzle.text, "questions": questions}


@dataclass(frozen=True)
class Correction:
    """A row of corrections.csv; `question` is None if the whole problem is dropped."""

    id: str
    question: int | None
    action: str
    old: str
    new: str
    reason: str


def make_items(split: str, puzzles: Sequence[Puzzle]) -> list[Item]:
    """Number puzzles and add their proved answers."""
    return [
        Item(f"{split}-{number:04}", puzzle, tuple(right_letter(puzzle, question) for question in puzzle.questions))
        for number, puzzle in enumerate(puzzles, 1)
    ]


def right_letter(puzzle: Puzzle, question: Question) -> str:
    """The letter of the proved option."""
    right = puzzle.right_option(question)
    assert right, question
    return LETTERS[question.options.index(right)]


def add_mistakes(rng: Random, correct: Sequence[Item]) -> tuple[list[Item], list[Correction]]:
    """Add wrong labels, one question without a right option and one problem that contradicts itself.

    No problem has two mistakes. In a small set there may be no problem that is suited for the last two.
    """
    items = {item.id: item for item in correct}
    corrections: list[Correction] = []
    wrong = round(WRONG * sum(len(item.answers) for item in correct))
    makers = [misprint, contradict] + [mislabel] * wrong
    for item in rng.sample(correct, len(correct)):
        for make in makers:
            made = make(rng, item)
            if made:
                items[item.id], correction = made
                corrections.append(correction)
                makers.remove(make)
                break
    return list(items.values()), sorted(corrections, key=lambda correction: correction.id)


def mislabel(rng: Random, item: Item) -> tuple[Item, Correction] | None:
    """Give a question a wrong label."""
    index = rng.randrange(len(item.answers))
    question = item.puzzle.questions[index]
    new = item.answers[index]
    old = rng.choice(LETTERS[: len(question.options)].replace(new, ""))
    answers = (*item.answers[:index], old, *item.answers[index + 1 :])
    support = [f'"{statement.text}"' for statement in item.puzzle.support(question) if statement.says]
    source = f"it follows from {listing(support)}" if support else "nothing in the text makes another option true"
    reason = f"{question.options[LETTERS.index(new)].text} is right: {source}"
    return replace(item, answers=answers), Correction(item.id, index, "answer", old, new, reason)


def misprint(rng: Random, item: Item) -> tuple[Item, Correction] | None:
    """Replace the name in a question's right option by one that is not in the text.

    None if the problem has only this question, or if its right option is not a name.
    """
    puzzle = item.puzzle
    index = rng.randrange(len(item.answers))
    question = puzzle.questions[index]
    right = puzzle.right_option(question)
    assert right
    named = right.text in PEOPLE and all(isinstance(part, Claim) for part in right.claim)
    if len(item.answers) == 1 or not named:
        return None
    used = {*puzzle.text.replace(".", "").split(), *(option.text for option in question.options)}
    stranger = rng.choice([name for name in PEOPLE if name not in used])
    claim = tuple(rename(part, right.text, stranger) for part in right.claim)
    options = tuple(Option(stranger, claim) if option == right else option for option in question.options)
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
            Literal(tuple(new if term == old else term for term in literal.atom), literal.positive)
            for literal in claim.body
        ),
    )


def contradict(rng: Random, item: Item) -> tuple[Item, Correction] | None:
    """Add the reverse of one of a problem's statements to it; None if no statement can be reversed."""
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
