"""Set membership: who belongs where, and who to both, to one only, or to none."""

from itertools import permutations
from random import Random

from errata.puzzles.closure import Closure
from errata.puzzles.people import claim, how_many, state, who
from errata.puzzles.puzzle import Puzzle, yes_or_no
from errata.puzzles.words import PEOPLE, asked, listing, many, one, sentence

# Verb -> the groups that it makes somebody a member of.
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
    told = []
    for group in two:
        members = rng.sample(names, rng.randint(1, len(names) - 1))
        form = one(verb) if len(members) == 1 else many(verb)
        facts = [f"in {x} {token(group)}" for x in members]
        told.append(state(sentence(f"{listing(members)} {form} {group}"), *facts))
    if rng.random() < 0.3:
        g, h = two
        text = f"Everyone who {one(verb)} {g} {one(verb)} {h} too."
        told.append(state(text, f"in ?x {token(h)} if in ?x {token(g)}"))
    rng.shuffle(told)
    intro = sentence(rng.choice(INTROS).format(names=listing(names)))
    people = state(intro, *(f"person {x}" for x in names))

    questions = []
    for g, h in permutations(two, 2):
        in_g, in_h = f"in {{x}} {token(g)}", f"in {{x}} {token(h)}"
        questions += [
            who("which", f"Which of them {one(verb)} {g}?", names, in_g),
            who("both", f"Who {one(verb)} both {g} and {h}?", names, f"{in_g} and {in_h}"),
            who("only", f"Who {one(verb)} {g} but not {h}?", names, f"{in_g} and not {in_h}"),
            who("neither", f"Who {one(verb)} neither {g} nor {h}?", names, f"not {in_g} and not {in_h}"),
            how_many(f"How many of them {many(verb)} {g}?", len(names), in_g),
        ]
        questions += [yes_or_no(f"{asked(x, verb)} {g}?", claim(in_g, x)) for x in names]
    return Puzzle("sets", Closure(), (people, *told), tuple(questions))


def token(group: str) -> str:
    return group.replace(" ", "-")
