"""Family puzzles: parents and children are stated; grandmothers, brothers, aunts and others follow."""

from itertools import permutations
from random import Random

from errata.puzzles.closure import Closure, rule
from errata.puzzles.people import ask_how_many, ask_who, claim, state
from errata.puzzles.puzzle import Puzzle, Statement, yes_or_no
from errata.puzzles.words import MEN, WOMEN, listing

KINSHIP = tuple(
    rule(text)
    for text in (
        "grandparent ?x ?z if parent ?x ?y and parent ?y ?z",
        "same ?x ?x if person ?x",
        "sibling ?x ?y if parent ?z ?x and parent ?z ?y and not same ?x ?y",
        "mother ?x ?y if parent ?x ?y and female ?x",
        "father ?x ?y if parent ?x ?y and male ?x",
        "grandmother ?x ?y if grandparent ?x ?y and female ?x",
        "grandfather ?x ?y if grandparent ?x ?y and male ?x",
        "sister ?x ?y if sibling ?x ?y and female ?x",
        "brother ?x ?y if sibling ?x ?y and male ?x",
        "daughter ?x ?y if parent ?y ?x and female ?x",
        "son ?x ?y if parent ?y ?x and male ?x",
        "aunt ?x ?y if sister ?x ?z and parent ?z ?y",
        "uncle ?x ?y if brother ?x ?z and parent ?z ?y",
    )
)
NEAR = ("mother", "father", "daughter", "son")
FAR = ("grandmother", "grandfather", "sister", "brother", "aunt", "uncle")
FEMALE = {"mother", "daughter", "grandmother", "sister", "aunt"}


def make(rng: Random) -> Puzzle:
    """Make a puzzle about a parent with one to three children, one of whom has children too."""
    women, men = rng.sample(WOMEN, 6), rng.sample(MEN, 6)
    count, grandcount = rng.choice(((1, 1), (1, 2), (2, 1), (2, 1), (2, 2), (3, 1)))
    root, *others = (rng.choice((women, men)).pop() for _ in range(1 + count + grandcount))
    children, grandchildren = others[:count], others[count:]
    statements = [state_children(rng, root, children), state_children(rng, rng.choice(children), grandchildren)]
    rng.shuffle(statements)
    names = rng.sample([root, *others], 1 + len(others))
    questions = []
    for x in names:
        rest = [y for y in names if y != x]
        for kind, relations in (("near", NEAR), ("far", FAR)):
            for relation in relations:
                questions.append(ask_who(kind, f"Who is {x}'s {relation}?", rest, f"{relation} {{x}} {x}"))
        questions.append(ask_how_many(f"How many children does {x} have?", 3, f"parent {x} {{x}}"))
    for x, y in permutations(names, 2):
        for relation in NEAR + FAR:
            if (relation in FEMALE) == (x in WOMEN):
                questions.append(yes_or_no(f"Is {x} {y}'s {relation}?", claim(f"{relation} {{x}} {y}", x)))
    return Puzzle("kinship", Closure(KINSHIP), tuple(statements), tuple(questions))


def state_children(rng: Random, parent: str, children: list[str]) -> Statement:
    """A sentence about the children of `parent` that also gives the sex of parent and children."""
    role, their, human = ("mother", "her", "woman") if parent in WOMEN else ("father", "his", "man")
    nouns = [("daughter" if child in WOMEN else "son", child) for child in children]
    named = listing(f"a {noun} named {child}" for noun, child in nouns)
    texts = [
        f"{parent} is the {role} of {named}.",
        f"{parent} is a {human} and has {named}.",
        f"{parent}'s {'children are' if len(nouns) > 1 else 'only child is'} "
        f"{listing(f'{their} {noun} {child}' for noun, child in nouns)}.",
    ]
    if len(nouns) == 1:
        texts.append(f"{children[0]} is the {nouns[0][0]} of a {human} named {parent}.")
    sexes = [f"{'female' if x in WOMEN else 'male'} {x}" for x in (parent, *children)]
    people = [f"person {x}" for x in (parent, *children)]
    facts = [*sexes, *people, *(f"parent {parent} {child}" for child in children)]
    return state(rng.choice(texts), *facts)
