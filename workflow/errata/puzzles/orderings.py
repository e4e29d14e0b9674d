"""Ordering puzzles: who is before whom."""

from dataclasses import dataclass
from itertools import pairwise, permutations
from random import Random

from errata.puzzles.puzzle import Option, Puzzle, Question, Statement, yes_or_no
from errata.puzzles.words import PEOPLE, as_question, listing, plural, sentence, singular
from errata.puzzles.worlds import Comparison, Worlds


@dataclass(frozen=True)
class Theme:
    """The verb phrases of one kind of order; `earlier` is for asking which of two is before the other."""

    intro: str
    before: str
    after: str
    first: str
    second: str
    last: str
    earlier: str
    who: str = "Who"
    things: tuple[str, ...] = PEOPLE


COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "grey")
THEMES = (
    Theme(
        intro="{names} run a race",
        before="finish/finishes before",
        after="finish/finishes after",
        first="win/wins the race",
        second="come/comes second",
        last="come/comes last",
        earlier="is faster",
    ),
    Theme(
        intro="{names} compare their heights",
        before="are/is taller than",
        after="are/is shorter than",
        first="are/is the tallest",
        second="are/is the second tallest",
        last="are/is the shortest",
        earlier="is taller",
    ),
    Theme(
        intro="{names} are cousins",
        before="are/is older than",
        after="are/is younger than",
        first="are/is the oldest",
        second="are/is the second oldest",
        last="are/is the youngest",
        earlier="is older",
    ),
    Theme(
        intro="{names} stand in a queue",
        before="stand/stands ahead of",
        after="stand/stands behind",
        first="are/is at the front",
        second="are/is second in the queue",
        last="are/is at the end",
        earlier="is further ahead",
    ),
    Theme(
        intro="{names} live on different floors of a house",
        before="live/lives above",
        after="live/lives below",
        first="live/lives highest",
        second="live/lives second highest",
        last="live/lives lowest",
        earlier="lives higher",
    ),
    Theme(
        intro="on a shelf stand {names}",
        before="are/is left of",
        after="are/is right of",
        first="are/is furthest left",
        second="are/is second from the left",
        last="are/is furthest right",
        earlier="is further left",
        who="Which book",
        things=tuple(f"the {colour} book" for colour in COLOURS),
    ),
)


def make(rng: Random) -> Puzzle:
    theme = rng.choice(THEMES)
    names = rng.sample(theme.things, rng.choice((3, 3, 4)))
    order = rng.sample(names, len(names))
    size = len(order)
    given = []
    for a, b in pairwise(order):
        texts = (f"{a} {singular(theme.before)} {b}", f"{b} {singular(theme.after)} {a}")
        given.append(Statement(sentence(rng.choice(texts)), (Comparison(a, "<", b),)))
    if rng.random() < 0.4:  # say who is at one end instead of who is next to whom
        end, verb, place = rng.choice(((0, theme.first, 1), (-1, theme.last, size)))
        given[end] = Statement(sentence(f"{order[end]} {singular(verb)}"), (Comparison(order[end], "=", plus=place),))
    rng.shuffle(given)
    intro = Statement(sentence(theme.intro.format(names=listing(names))), ())

    questions = []
    for kind, verb, place in (("end", theme.first, 1), ("end", theme.last, size), ("second", theme.second, 2)):
        options = tuple(Option(a, (Comparison(a, "=", plus=place),)) for a in names)
        questions.append(Question(kind, f"{theme.who} {singular(verb)}?", options))
    for a, b in permutations(names, 2):
        two = (Option(a, (Comparison(a, "<", b),)), Option(b, (Comparison(b, "<", a),)))
        questions.append(Question("earlier", f"{theme.who} {theme.earlier}, {a} or {b}?", two))
        questions.append(yes_or_no(f"{as_question(a, theme.before)} {b}?", Comparison(a, "<", b)))
    for a in names:
        counts = tuple(Option(str(n), (Comparison(a, "=", plus=n + 1),)) for n in range(size))
        questions.append(Question("count", f"How many of them {plural(theme.before)} {a}?", counts))
    return Puzzle("orderings", Worlds(tuple(order), range(1, size + 1)), (intro, *given), tuple(questions))
