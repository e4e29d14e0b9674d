"""Small arithmetic rules: amounts told by each other, or by a price or a number of points."""

from dataclasses import dataclass
from itertools import combinations, permutations
from random import Random

from errata.puzzles.puzzle import Option, Puzzle, Question, Statement, yes_or_no
from errata.puzzles.words import PEOPLE
from errata.puzzles.worlds import Comparison, Worlds

MOST = 20  # no amount is above it


@dataclass(frozen=True)
class Theme:
    """What is counted, and the verb as in "she has" and "they have".

    With `unit`, which tells the amount {n} for one thing, `some` tells how many things {a} has.
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
    told = []
    for i, name in enumerate(names):
        if i and rng.random() < 0.6:
            statement, amount = relative(rng, theme, name, names[i - 1], amounts[names[i - 1]])
        elif theme.unit:
            things = rng.randint(2, 4)
            text, amount = theme.some.format(a=name, n=things), things * unit
            statement = Statement(text, (Comparison(name, "=", "unit", times=things),))
        else:
            amount = rng.randint(2, 9)
            text = f"{name} {theme.verb} {amount} {theme.noun}."
            statement = Statement(text, (Comparison(name, "=", plus=amount),))
        told.append(statement)
        amounts[name] = amount
    rng.shuffle(told)
    statements += told
    solver = Worlds((*(["unit"] if theme.unit else []), *names), range(MOST + 1), distinct=False)
    return Puzzle("arithmetic", solver, tuple(statements), tuple(ask(rng, theme, amounts)))


def relative(rng: Random, theme: Theme, a: str, b: str, amount: int) -> tuple[Statement, int]:
    """A statement that tells the amount of `a` by that of `b`, and the amount."""
    noun, n = theme.noun, rng.randint(2, 4)
    phrases = [
        (f"{n} more {noun} than", 1, n),
        (f"{n} fewer {noun} than", 1, -n),
        (f"twice as many {noun} as", 2, 0),
        (f"as many {noun} as", 1, 0),
    ]
    phrase, times, plus = rng.choice([one for one in phrases if 0 < one[1] * amount + one[2] <= MOST])
    says = Comparison(a, "=", b, times, plus)
    return Statement(f"{a} {theme.verb} {phrase} {b}.", (says,)), times * amount + plus


def ask(rng: Random, theme: Theme, amounts: dict[str, int]) -> list[Question]:
    noun, verb, plural = theme.noun, theme.verb, theme.plural
    names = list(amounts)
    questions = []
    for word, op in (("most", ">"), ("fewest", "<")):
        beats = {a: tuple(Comparison(a, op, b) for b in names if b != a) for a in names}
        options = tuple(Option(a, claim) for a, claim in beats.items())
        questions.append(Question("extreme", f"Who {verb} the {word} {noun}?", options))
    for a in names:
        claims = [(n, Comparison(a, "=", plus=n)) for n in near(rng, amounts[a])]
        questions.append(how_many("amount", f"How many {noun} does {a} {plural}?", claims))
    for a, b in permutations(names, 2):
        questions.append(yes_or_no(f"Does {a} {plural} more {noun} than {b}?", Comparison(a, ">", b)))
    for a, b in combinations(rng.sample(names, len(names)), 2):
        sums = [(n, Comparison(a, "=", b, times=-1, plus=n)) for n in near(rng, amounts[a] + amounts[b])]
        questions.append(how_many("sum", f"How many {noun} do {a} and {b} {plural} together?", sums))
    return questions


def how_many(kind: str, text: str, claims: list[tuple[int, Comparison]]) -> Question:
    return Question(kind, text, tuple(Option(str(n), (claim,)) for n, claim in claims))


def near(rng: Random, amount: int) -> range:
    """Six numbers in a row, `amount` anywhere among them."""
    first = max(0, amount - rng.randrange(6))
    return range(first, first + 6)
