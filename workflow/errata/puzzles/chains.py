"""Chains of rules: a rule with an exception, and a rule about its outcome. What cannot be derived is false."""

from dataclasses import dataclass
from random import Random

from errata.puzzles.closure import Closure
from errata.puzzles.people import ask_how_many, ask_who, claim, state
from errata.puzzles.puzzle import Puzzle, yes_or_no
from errata.puzzles.words import PEOPLE, as_question, listing, negate, plural, sentence, singular


@dataclass(frozen=True)
class Theme:
    """Everyone with the trait has the outcome, except those with the exception.

    A second rule says what follows from the outcome (`consequence`), or what everyone without it does (`otherwise`).
    """

    intro: str
    trait: str
    exception: str
    outcome: str
    otherwise: str
    consequence: str


THEMES = (
    Theme(
        intro="{names} come to a concert",
        trait="have/has a ticket",
        exception="are/is late",
        outcome="get/gets in",
        otherwise="go/goes home",
        consequence="receive/receives a poster",
    ),
    Theme(
        intro="{names} use the library",
        trait="lose/loses a book",
        exception="are/is ill",
        outcome="pay/pays a fee",
        otherwise="get/gets a sticker",
        consequence="write/writes a letter",
    ),
    Theme(
        intro="{names} apply for a team",
        trait="can/can swim",
        exception="are/is injured",
        outcome="are/is chosen",
        otherwise="help/helps at the desk",
        consequence="wear/wears a red cap",
    ),
    Theme(
        intro="{names} work in one office",
        trait="work/works at night",
        exception="are/is new",
        outcome="get/gets Friday off",
        otherwise="join/joins the meeting",
        consequence="must/must come on Saturday",
    ),
    Theme(
        intro="{names} live in one house",
        trait="are/is hungry",
        exception="are/is ill",
        outcome="eat/eats soup",
        otherwise="drink/drinks tea",
        consequence="wash/washes a bowl",
    ),
    Theme(
        intro="{names} play a game",
        trait="hold/holds a red card",
        exception="are/is asleep",
        outcome="may/may roll the dice",
        otherwise="lose/loses a coin",
        consequence="move/moves forward",
    ),
    Theme(
        intro="{names} wait at the airport",
        trait="have/has a heavy bag",
        exception="are/is a pilot",
        outcome="pay/pays ten coins",
        otherwise="board/boards early",
        consequence="get/gets a label",
    ),
)
EVERYONE = ("Everyone who", "Anyone who", "Whoever")


def make(rng: Random) -> Puzzle:
    theme = rng.choice(THEMES)
    names = rng.sample(PEOPLE, 3)
    everyone = rng.choice(EVERYONE)
    rules = [
        state(
            f"{everyone} {singular(theme.trait)} {singular(theme.outcome)}, unless they {plural(theme.exception)}.",
            "outcome ?x if trait ?x and not exception ?x",
        )
    ]
    verbs = {"outcome": theme.outcome}
    if rng.random() < 0.5:
        verbs["otherwise"] = theme.otherwise
        text = f"{everyone} {negate(theme.outcome)} {singular(theme.otherwise)}."
        rules.append(state(text, "otherwise ?x if person ?x and not outcome ?x"))
    else:
        verbs["consequence"] = theme.consequence
        text = f"{everyone} {singular(theme.outcome)} {singular(theme.consequence)}."
        rules.append(state(text, "consequence ?x if outcome ?x"))
    facts = [
        state(f"{x} {singular(verb)}.", f"{predicate} {x}")
        for predicate, verb, count in (("trait", theme.trait, rng.choice((1, 2, 2))), ("exception", theme.exception, 1))
        for x in rng.sample(names, count)
    ]
    rng.shuffle(facts)
    people = state(sentence(theme.intro.format(names=listing(names))), *(f"person {x}" for x in names))

    questions = [yes_or_no(f"{as_question(x, theme.trait)}?", claim("trait {x}", x)) for x in names]
    for predicate, verb in verbs.items():
        body = f"{predicate} {{x}}"
        questions.append(ask_who(f"which {predicate}", f"Which of them {singular(verb)}?", names, body))
        questions.append(ask_how_many(f"How many of them {plural(verb)}?", len(names), body))
        questions += [yes_or_no(f"{as_question(x, verb)}?", claim(body, x)) for x in names]
    return Puzzle("chains", Closure(), (people, *rules, *facts), tuple(questions))
