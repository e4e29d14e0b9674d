"""Splits of puzzles: all families equally often, right options spread evenly over the letters, answers proved."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from errata.puzzles import arithmetic, chains, kinship, orderings, schedules, sets
from errata.puzzles.puzzle import Puzzle, Question

FAMILIES: tuple[Callable[[Random], Puzzle], ...] = (
    orderings.make,
    kinship.make,
    chains.make,
    schedules.make,
    sets.make,
    arithmetic.make,
)
QUESTIONS = (1, 1, 2, 2, 2, 4)  # per problem, in a round with one problem of each family


@dataclass
class Letters:
    """Deals the places of right options: for each number of options, equally often each, in random order."""

    rng: Random
    left: dict[int, list[int]] = field(default_factory=dict)

    def deal(self, options: int) -> int:
        if not self.left.get(options):
            self.left[options] = self.rng.sample(range(options), options)
        return self.left[options].pop()


def make_split(rng: Random, problems: int, seen: set[str]) -> list[Puzzle]:
    """Make puzzles whose normalized texts are not in `seen`, and add their texts to it."""
    letters = Letters(rng)
    puzzles: list[Puzzle] = []
    while len(puzzles) < problems:
        families = rng.sample(FAMILIES, len(FAMILIES))
        for make, count in zip(families, rng.sample(QUESTIONS, len(QUESTIONS)), strict=True):
            puzzles.append(draw(rng, make, count, letters, seen))
    return puzzles[:problems]


def draw(rng: Random, make: Callable[[Random], Puzzle], count: int, letters: Letters, seen: set[str]) -> Puzzle:
    """Draw a new puzzle of one family, with `count` questions."""
    while True:
        puzzle = make(rng)
        questions = choose(rng, puzzle, count)
        if len(questions) == count and normalized(puzzle) not in seen:
            seen.add(normalized(puzzle))
            placed = [place(rng, puzzle, question, letters) for question in questions]
            return replace(puzzle, questions=tuple(placed))


def normalized(puzzle: Puzzle) -> str:
    """The text without capitals and punctuation, its sentences sorted."""
    return " ".join(sorted(re.sub(r"\W+", " ", statement.text.lower()) for statement in puzzle.statements))


def choose(rng: Random, puzzle: Puzzle, count: int) -> list[Question]:
    """Choose up to `count` provable questions of the puzzle, of different kinds if possible.

    The kind is drawn first, then the answer, then the question; otherwise "No" would be right far more often than
    "Yes".
    """
    pool = []
    for question in puzzle.questions:
        trimmed = trim(rng, puzzle, question)
        right = trimmed and puzzle.right_option(trimmed)
        if trimmed and right:
            pool.append((trimmed.kind, right.text, trimmed))
    chosen: list[Question] = []
    while pool and len(chosen) < count:
        kinds = {kind for kind, *_ in pool}
        kind = rng.choice(sorted(kinds - {question.kind for question in chosen} or kinds))
        answer = rng.choice(sorted({entry[1] for entry in pool if entry[0] == kind}))
        entry = rng.choice([entry for entry in pool if entry[:2] == (kind, answer)])
        pool.remove(entry)
        chosen.append(entry[2])
    return chosen


def trim(rng: Random, puzzle: Puzzle, question: Question) -> Question | None:
    """The question with one proved option and one to four refuted ones, in their order; None if it has too few."""
    verdicts = [puzzle.verdict(option) for option in question.options]
    right = [i for i, verdict in enumerate(verdicts) if verdict]
    wrong = [i for i, verdict in enumerate(verdicts) if verdict is False]
    if not right or not wrong:
        return None
    size = min(rng.choices((2, 3, 4, 5), (1, 4, 3, 2))[0], 1 + len(wrong))
    kept = sorted([rng.choice(right), *rng.sample(wrong, size - 1)])
    return replace(question, options=tuple(question.options[i] for i in kept))


def place(rng: Random, puzzle: Puzzle, question: Question, letters: Letters) -> Question:
    """The question with its options in random order, the right one at the place dealt by `letters`."""
    right = puzzle.right_option(question)
    assert right
    options = [option for option in question.options if option != right]
    rng.shuffle(options)
    options.insert(letters.deal(len(options) + 1), right)
    return replace(question, options=tuple(options))
