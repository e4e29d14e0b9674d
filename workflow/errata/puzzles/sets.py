"""Set membership: who belongs where, and what follows for both, one only, or none."""

from dataclasses import dataclass
from itertools import permutations
from random import Random

from errata.puzzles.closure import Claim, Closure, literals, rule
from errata.puzzles.puzzle import Option, Puzzle, Question, Statement, listing, yes_or_no
from errata.puzzles.words import PEOPLE


@dataclass(frozen=True)
class Theme:
    """Phrases of one sort of set; {x} is a person, {g} and {h} are groups."""

    groups: tuple[str, ...]
    one: str
    many: str
    every: str
    is_in: str
    which: str
    both: str
    only: str
    neither: str
    count: str


THEMES = (
    Theme(
        ("chess club", "choir", "drama club", "book club", "swimming team"),
        "{x} is in the {g}.",
        "{x} are in the {g}.",
        "Everyone in the {g} is also in the {h}.",
        "Is {x} in the {g}?",
        "Which of them is in the {g}?",
        "Who is in both the {g} and the {h}?",
        "Who is in the {g} but not in the {h}?",
        "Who is in neither the {g} nor the {h}?",
        "How many of them are in the {g}?",
    ),
    Theme(
        ("French", "Spanish", "German", "Italian", "Polish"),
        "{x} speaks {g}.",
        "{x} speak {g}.",
        "Everyone who speaks {g} also speaks {h}.",
        "Does {x} speak {g}?",
        "Which of them speaks {g}?",
        "Who speaks both {g} and {h}?",
        "Who speaks {g} but not {h}?",
        "Who speaks neither {g} nor {h}?",
        "How many of them speak {g}?",
    ),
    Theme(
        ("bread", "milk", "cheese", "apples", "honey"),
        "{x} bought {g}.",
        "{x} bought {g}.",
        "Everyone who bought {g} also bought {h}.",
        "Did {x} buy {g}?",
        "Which of them bought {g}?",
        "Who bought both {g} and {h}?",
        "Who bought {g} but no {h}?",
        "Who bought neither {g} nor {h}?",
        "How many of them bought {g}?",
    ),
    Theme(
        ("piano", "violin", "flute", "guitar", "drums"),
        "{x} plays the {g}.",
        "{x} play the {g}.",
        "Everyone who plays the {g} also plays the {h}.",
        "Does {x} play the {g}?",
        "Which of them plays the {g}?",
        "Who plays both the {g} and the {h}?",
        "Who plays the {g} but not the {h}?",
        "Who plays neither the {g} nor the {h}?",
        "How many of them play the {g}?",
    ),
)
INTROS = ("{names} are friends.", "{names} are neighbours.", "{names} are in the same class.")


def make(rng: Random) -> Puzzle:
    theme = rng.choice(THEMES)
    names = rng.sample(PEOPLE, rng.choice((3, 4, 4)))
    groups = rng.sample(theme.groups, 2)
    intro = rng.choice(INTROS).format(names=listing(names))
    statements = []
    for group in groups:
        members = rng.sample(names, rng.randint(1, len(names) - 1))
        sentence = theme.one if len(members) == 1 else theme.many
        says = tuple(rule(f"in {x} {token(group)}") for x in members)
        statements.append(Statement(sentence.format(x=listing(members), g=group), says))
    if rng.random() < 0.3:
        g, h = groups
        follows = rule(f"in ?x {token(h)} if in ?x {token(g)}")
        statements.append(Statement(theme.every.format(g=g, h=h), (follows,)))
    rng.shuffle(statements)
    people = Statement(intro, tuple(rule(f"person {x}") for x in names))
    questions = []
    for g, h in permutations(groups, 2):
        inside, outside = f"in {{x}} {token(g)}", f"not in {{x}} {token(g)}"
        questions += [
            who("which", theme.which.format(g=g), names, inside),
            who("both", theme.both.format(g=g, h=h), names, f"{inside} and in {{x}} {token(h)}"),
            who("only", theme.only.format(g=g, h=h), names, f"{inside} and not in {{x}} {token(h)}"),
            who("neither", theme.neither.format(g=g, h=h), names, f"{outside} and not in {{x}} {token(h)}"),
            how_many(theme.count.format(g=g), len(names), inside),
        ]
        for x in names:
            questions.append(yes_or_no(theme.is_in.format(x=x, g=g), claim(inside, x)))
    return Puzzle("sets", Closure(), (people, *statements), tuple(questions))


def token(group: str) -> str:
    return group.replace(" ", "-")


def claim(body: str, x: str, count: int = 1) -> Claim:
    """The claim that the person `x` (or, for "?x", that `count` persons) satisfies `body`, a text with {x}."""
    return Claim(literals(f"person {x} and {body.format(x=x)}"), count)


def who(kind: str, text: str, names: list[str], body: str) -> Question:
    """A question for the person who satisfies `body`; "Nobody" is an option too."""
    options = [Option(x, (claim(body, x),)) for x in names]
    return Question(kind, text, (*options, Option("Nobody", (claim(body, "?x", 0),))))


def how_many(text: str, most: int, body: str) -> Question:
    options = [Option(str(n), (claim(body, "?x", n),)) for n in range(most + 1)]
    return Question("count", text, tuple(options))
