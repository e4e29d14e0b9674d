"""Membership puzzles: who is in which group, and who is in both, in only one or in neither."""

from itertools import permutations
from random import Random

from errata.puzzles.closure import Closure
from errata.puzzles.people import ask_how_many, ask_who, claim, state
from errata.puzzles.puzzle import Puzzle, yes_or_no
from errata.puzzles.words import PEOPLE, as_question, listing, plural, sentence, singular

# Verb -> groups that people belong to by it.
THEMES = {
    "are/is in": ("the chess club", "the choir", "the drama club", "the book club", "the swimming team"),
    "speak/speaks": ("French", "Spanish", "German", "Italian", "Polish"),
    "buy/buys": ("bread", "milk", "cheese", "honey", "rice"),
    "play/plays": ("the piano", "the violin", "the flute", "the guitar", "the drums"),
    "own/owns": ("a bicycle", "a boat", "a tent", "a camera", "a dog"),
    "like/likes": ("tea", "coffee", "cocoa", "lemonade", "juice"),
}
INTROS = ("{names} are friends", "{names} are neighbours", "{names} are in the same class")


def make(rng: Random) -> Puzzle:
    verb, groups = rng.choice(sorted(THEMES.items()))
    names = rng.sample(PEOPLE, rng.choice((3, 4, 4)))
    two = rng.sample(groups, 2)
    given = []
    for group in two:
        members = rng.sample(names, rng.randint(1, len(names) - 1))
        form = singular(verb) if len(members) == 1 else plural(verb)
        facts = [f"in {x} {token(group)}" for x in members]
        given.append(state(sentence(f"{listing(members)} {form} {group}"), *facts))
    if rng.random() < 0.3:
        g, h = two
        text = f"Everyone who {singular(verb)} {g} {singular(verb)} {h} too."
        given.append(state(text, f"in ?x {token(h)} if in ?x {token(g)}"))
    rng.shuffle(given)
    intro = sentence(rng.choice(INTROS).format(names=listing(names)))
    people = state(intro, *(f"person {x}" for x in names))

    questions = []
    for g, h in permutations(two, 2):
        in_g, in_h = f"in {{x}} {token(g)}", f"in {{x}} {token(h)}"
        questions += [
            ask_who("which", f"Which of them {singular(verb)} {g}?", names, in_g),
            ask_who("both", f"Who {singular(verb)} both {g} and {h}?", names, f"{in_g} and {in_h}"),
            ask_who("only", f"Who {singular(verb)} {g} but not {h}?", names, f"{in_g} and not {in_h}"),
            ask_who("neither", f"Who {singular(verb)} neither {g} nor {h}?", names, f"not {in_g} and not {in_h}"),
            ask_how_many(f"How many of them {plural(verb)} {g}?", len(names), in_g),
        ]
        questions += [yes_or_no(f"{as_question(x, verb)} {g}?", claim(in_g, x)) for x in names]
    return Puzzle("sets", Closure(), (people, *given), tuple(questions))


def token(group: str) -> str:
    return group.replace(" ", "-")
