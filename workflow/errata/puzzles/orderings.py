"""Orderings: who is before whom."""

from dataclasses import dataclass
from itertools import pairwise, permutations
from random import Random

from errata.puzzles.puzzle import Option, Puzzle, Question, Statement, listing, yes_or_no
from errata.puzzles.words import PEOPLE
from errata.puzzles.worlds import Comparison, Worlds


@dataclass(frozen=True)
class Theme:
    """Sentences of one order; {a} stands before {b}."""

    intro: str
    before: tuple[str, ...]
    is_first: str
    is_last: str
    first: str
    second: str
    last: str
    earlier: str
    is_before: str
    count: str
    things: tuple[str, ...] = tuple(PEOPLE)


THEMES = (
    Theme(
        "{names} ran a race.",
        ("{a} finished before {b}.", "{b} finished after {a}.", "{a} was faster than {b}."),
        "{a} won the race.",
        "{a} came last.",
        "Who won the race?",
        "Who came second?",
        "Who came last?",
        "Who finished earlier, {a} or {b}?",
        "Did {a} finish before {b}?",
        "How many runners finished before {a}?",
    ),
    Theme(
        "{names} compare their heights.",
        ("{a} is taller than {b}.", "{b} is shorter than {a}."),
        "{a} is the tallest.",
        "{a} is the shortest.",
        "Who is the tallest?",
        "Who is the second tallest?",
        "Who is the shortest?",
        "Who is taller, {a} or {b}?",
        "Is {a} taller than {b}?",
        "How many of them are taller than {a}?",
    ),
    Theme(
        "{names} are cousins.",
        ("{a} is older than {b}.", "{b} is younger than {a}.", "{a} was born before {b}."),
        "{a} is the oldest.",
        "{a} is the youngest.",
        "Who is the oldest?",
        "Who is the second oldest?",
        "Who is the youngest?",
        "Who is older, {a} or {b}?",
        "Is {a} older than {b}?",
        "How many of them are older than {a}?",
    ),
    Theme(
        "{names} stand in a queue.",
        ("{a} stands ahead of {b}.", "{b} stands behind {a}."),
        "{a} is at the front.",
        "{a} is at the end.",
        "Who is at the front of the queue?",
        "Who is second in the queue?",
        "Who is at the end of the queue?",
        "Who will be served first, {a} or {b}?",
        "Is {a} ahead of {b}?",
        "How many people stand ahead of {a}?",
    ),
    Theme(
        "{names} live on different floors of a house.",
        ("{a} lives above {b}.", "{b} lives below {a}.", "{a} lives higher up than {b}."),
        "{a} lives on the top floor.",
        "{a} lives lowest of all.",
        "Who lives highest?",
        "Who lives second highest?",
        "Who lives lowest?",
        "Who lives higher, {a} or {b}?",
        "Does {a} live above {b}?",
        "How many of them live above {a}?",
    ),
    Theme(
        "On a shelf stand books in these colours: {names}.",
        ("The {a} book is left of the {b} book.", "The {b} book is right of the {a} book."),
        "The {a} book is furthest left.",
        "The {a} book is furthest right.",
        "Which book is furthest left?",
        "Which book is second from the left?",
        "Which book is furthest right?",
        "Which book is further left, {a} or {b}?",
        "Is the {a} book left of the {b} book?",
        "How many books are left of the {a} book?",
        ("red", "blue", "green", "yellow", "black", "white", "brown", "grey"),
    ),
)


def make(rng: Random) -> Puzzle:
    theme = rng.choice(THEMES)
    names = rng.sample(theme.things, rng.choice((3, 3, 4)))
    order = rng.sample(names, len(names))
    size = len(order)
    statements = [
        Statement(rng.choice(theme.before).format(a=a, b=b), (Comparison(a, "<", b),)) for a, b in pairwise(order)
    ]
    if rng.random() < 0.4:  # tell who stands at one end, instead of a neighbour
        end, place = rng.choice(((0, 1), (-1, size)))
        sentence = theme.is_first if place == 1 else theme.is_last
        statements[end] = Statement(sentence.format(a=order[end]), (Comparison(order[end], "=", plus=place),))
    rng.shuffle(statements)
    intro = Statement(theme.intro.format(names=listing(names)), ())
    questions = [
        Question(kind, text, tuple(Option(a, (Comparison(a, "=", plus=place),)) for a in names))
        for kind, text, place in (
            ("end", theme.first, 1),
            ("end", theme.last, size),
            ("second", theme.second, 2),
        )
    ]
    for a, b in permutations(names, 2):
        two = (Option(a, (Comparison(a, "<", b),)), Option(b, (Comparison(b, "<", a),)))
        questions.append(Question("earlier", theme.earlier.format(a=a, b=b), two))
        questions.append(yes_or_no(theme.is_before.format(a=a, b=b), Comparison(a, "<", b)))
    for a in names:
        counts = tuple(Option(str(n), (Comparison(a, "=", plus=n + 1),)) for n in range(size))
        questions.append(Question("count", theme.count.format(a=a), counts))
    solver = Worlds(tuple(order), range(1, size + 1))
    return Puzzle("orderings", solver, (intro, *statements), tuple(questions))
