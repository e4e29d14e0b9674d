"""Arithmetic puzzles: amounts given directly, by another amount, or by a price or a number of points."""

from dataclasses import dataclass
from itertools import combinations, permutations
from random import Random

from errata.puzzles.puzzle import Option, Puzzle, Question, Statement, yes_or_no
from errata.puzzles.words import PEOPLE
from errata.puzzles.worlds import Comparison, Worlds

MOST = 20  # the largest amount


@dataclass(frozen=True)
class Theme:
    """What is counted, and in which words.

    Attributes:
        noun: what is counted, e.g. "coins".
        verb, plural: as in "she pays" and "they pay".
        unit: a sentence that gives the amount {n} for one thing, or "".
        some: with `unit`, a sentence that says how many things ({n}) a person ({a}) has.
    """

    noun: str
    verb: str
    plural: str
    unit: str = ""
    some: str = ""


THEMES = (
    Theme("apples", "has", "have"),
    Theme("marbles", "has", "have"),
    Theme("pages", "reads", "read"),
    Theme("stamps", "owns", "own"),
    Theme("letters", "writes", "write"),
    Theme("points", "scores", "score", "Each goal is worth {n} points.", "{a} shoots {n} goals."),
    Theme("coins", "pays", "pay", "A ticket costs {n} coins.", "{a} buys {n} tickets."),
    Theme("coins", "earns", "earn", "Washing a car brings {n} coins.", "{a} washes {n} cars."),
    Theme("eggs", "uses", "use", "A cake needs {n} eggs.", "{a} bakes {n} cakes."),
)


def make(rng: Random) -> Puzzle:
    theme = rng.choice(THEMES)
    names = rng.sample(PEOPLE, rng.choice((2, 3, 3)))
    amounts: dict[str, int] = {}
    statements = []
    unit = rng.randint(2, 4)
    if theme.unit:
        statements.append(Statement(theme.unit.format(n=unit), (Comparison("unit", "=", plus=unit),)))
    given = []
    for i, name in enumerate(names):
        if i and rng.random() < 0.6:
            statement, amount = relate(rng, theme, name, names[i - 1], amounts[names[i - 1]])
        elif theme.unit:
            things = rng.randint(2, 4)
            text, amount = theme.some.format(a=name, n=things), things * unit
            statement = Statement(text, (Comparison(name, "=", "unit", times=things),))
        else:
            amount = rng.randint(2, 9)
            text = f"{name} {theme.verb} {amount} {theme.noun}."
            statement = Statement(text, (Comparison(name, "=", plus=amount),))
        given.append(statement)
        amounts[name] = amount
    rng.shuffle(given)
    statements += given
    solver = Worlds((*(["unit"] if theme.unit else []), *names), range(MOST + 1), distinct=False)
    return Puzzle("arithmetic", solver, tuple(statements), tuple(make_questions(rng, theme, amounts)))


def relate(rng: Random, theme: Theme, a: str, b: str, amount: int) -> tuple[Statement, int]:
    """A statement that gives the amount of `a` by that of `b` (`amount`), and the amount of `a`."""
    noun, n = theme.noun, rng.randint(2, 4)
    phrases = [
        (f"{n} more {noun} than", 1, n),
        (f"{n} fewer {noun} than", 1, -n),
        (f"twice as many {noun} as", 2, 0),
        (f"as many {noun} as", 1, 0),
    ]
    phrase, times, plus = rng.choice([entry for entry in phrases if 0 < entry[1] * amount + entry[2] <= MOST])
    says = Comparison(a, "=", b, times, plus)
    return Statement(f"{a} {theme.verb} {phrase} {b}.", (says,)), times * amount + plus


def make_questions(rng: Random, theme: Theme, amounts: dict[str, int]) -> list[Question]:
    noun, verb, plural = theme.noun, theme.verb, theme.plural
    names = list(amounts)
    questions = []
    for word, op in (("most", ">"), ("fewest", "<")):
        beats = {a: tuple(Comparison(a, op, b) for b in names if b != a) for a in names}
        options = tuple(Option(a, claim) for a, claim in beats.items())
        questions.append(Question("extreme", f"Who {verb} the {word} {noun}?", options))
    for a in names:
        claims = [(n, Comparison(a, "=", plus=n)) for n in numbers_near(rng, amounts[a])]
        questions.append(ask_how_many("amount", f"How many {noun} does {a} {plural}?", claims))
    for a, b in permutations(names, 2):
        questions.append(yes_or_no(f"Does {a} {plural} more {noun} than {b}?", Comparison(a, ">", b)))
    for a, b in combinations(rng.sample(names, len(names)), 2):
        sums = [(n, Comparison(a, "=", b, times=-1, plus=n)) for n in numbers_near(rng, amounts[a] + amounts[b])]
        questions.append(ask_how_many("sum", f"How many {noun} do {a} and {b} {plural} together?", sums))
    return questions


def ask_how_many(kind: str, text: str, claims: list[tuple[int, Comparison]]) -> Question:
    return Question(kind, text, tuple(Option(str(n), (claim,)) for n, claim in claims))


def numbers_near(rng: Random, amount: int) -> range:
    """Six consecutive numbers, with `amount` at a random place among them."""
    first = max(0, amount - rng.randrange(6))
    return range(first, first + 6)
