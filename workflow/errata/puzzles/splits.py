"""Two splits of puzzles: families mixed evenly, right options spread evenly, every answer proved."""

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
QUESTIONS = (1, 1, 2, 2, 2, 4)  # of the problems of one round over the families


@dataclass
class Letters:
    """Deals letters for the right options, for each number of options evenly and in random order."""

    rng: Random
    left: dict[int, list[int]] = field(default_factory=dict)

    def deal(self, options: int) -> int:
        if not self.left.get(options):
            self.left[options] = self.rng.sample(range(options), options)
        return self.left[options].pop()


def split(rng: Random, problems: int, seen: set[str]) -> list[Puzzle]:
    """That many puzzles, none with a text in `seen`, where their texts are then added."""
    letters = Letters(rng)
    puzzles: list[Puzzle] = []
    while len(puzzles) < problems:
        families = rng.sample(FAMILIES, len(FAMILIES))
        for make, count in zip(families, rng.sample(QUESTIONS, len(QUESTIONS)), strict=True):
            puzzles.append(draw(rng, make, count, letters, seen))
    return puzzles[:problems]


def draw(rng: Random, make: Callable[[Random], Puzzle], count: int, letters: Letters, seen: set[str]) -> Puzzle:
    """A new puzzle of one family, with `count` of its questions."""
    while True:
        puzzle = make(rng)
        questions = choose(rng, puzzle, count)
        if len(questions) == count and normalized(puzzle) not in seen:
            seen.add(normalized(puzzle))
            placed = [place(rng, puzzle, question, letters) for question in questions]
            return replace(puzzle, questions=tuple(placed))


def normalized(puzzle: Puzzle) -> str:
    """The text without the order of its sentences, capitals and punctuation."""
    return " ".join(sorted(re.sub(r"\W+", " ", one.text.lower()) for one in puzzle.statements))


def choose(rng: Random, puzzle: Puzzle, count: int) -> list[Question]:
    """Up to `count` provable questions of the puzzle, of different kinds as far as possible.

    Kind first, then answer, then question: else "No" would be right far more often than "Yes".
    """
    pool = []
    for question in puzzle.questions:
        trimmed = trim(rng, puzzle, question)
        right = trimmed and puzzle.proved(trimmed)
        if trimmed and right:
            pool.append((trimmed.kind, right.text, trimmed))
    chosen: list[Question] = []
    while pool and len(chosen) < count:
        kinds = {kind for kind, *_ in pool}
        kind = rng.choice(sorted(kinds - {one.kind for one in chosen} or kinds))
        answer = rng.choice(sorted({entry[1] for entry in pool if entry[0] == kind}))
        entry = rng.choice([entry for entry in pool if entry[:2] == (kind, answer)])
        pool.remove(entry)
        chosen.append(entry[2])
    return chosen


def trim(rng: Random, puzzle: Puzzle, question: Question) -> Question | None:
    """One proved option and one to four refuted ones, in their order; None where that cannot be had."""
    verdicts = [puzzle.verdict(option) for option in question.options]
    right = [i for i, verdict in enumerate(verdicts) if verdict]
    wrong = [i for i, verdict in enumerate(verdicts) if verdict is False]
    if not right or not wrong:
        return None
    size = min(rng.choices((2, 3, 4, 5), (1, 4, 3, 2))[0], 1 + len(wrong))
    kept = sorted([rng.choice(right), *rng.sample(wrong, size - 1)])
    return replace(question, options=tuple(question.options[i] for i in kept))


def place(rng: Random, puzzle: Puzzle, question: Question, letters: Letters) -> Question:
    """The question with its options in random order and the right one where `letters` wants it."""
    right = puzzle.proved(question)
    assert right
    options = [option for option in question.options if option != right]
    rng.shuffle(options)
    options.insert(letters.deal(len(options) + 1), right)
    return replace(question, options=tuple(options))
