"""Rule chains: rules with exceptions, where what is not derivable counts as false."""

from dataclasses import dataclass
from random import Random

from errata.puzzles.closure import Closure, rule
from errata.puzzles.puzzle import Puzzle, Statement, listing, yes_or_no
from errata.puzzles.sets import claim, how_many, who
from errata.puzzles.words import PEOPLE

# Each theme has a trait, an exception to it, an outcome, its opposite and a consequence of the outcome.
RULES = (
    "outcome ?x if trait ?x and not exception ?x",
    "opposite ?x if person ?x and not outcome ?x",
    "consequence ?x if outcome ?x",
)


@dataclass(frozen=True)
class Theme:
    """Sentences of one theme, `rules` in the order of RULES; then a yes-or-no question for each predicate."""

    intro: str
    rules: tuple[str, str, str]
    trait: str
    exception: str
    has_trait: str
    outcome: tuple[str, str, str]  # yes or no, which of them, how many
    opposite: tuple[str, str, str]
    consequence: tuple[str, str, str]


THEMES = (
    Theme(
        "{names} come to a concert.",
        (
            "Whoever has a ticket gets in, except those who are late.",
            "Whoever does not get in goes home.",
            "Whoever gets in receives a poster.",
        ),
        "{x} has a ticket.",
        "{x} is late.",
        "Does {x} have a ticket?",
        ("Does {x} get in?", "Which of them gets in?", "How many of them get in?"),
        ("Does {x} go home?", "Which of them goes home?", "How many of them go home?"),
        ("Does {x} receive a poster?", "Which of them receives a poster?", "How many posters are given out?"),
    ),
    Theme(
        "{names} borrow books.",
        (
            "Whoever returns a book late pays a fee, except those who were ill.",
            "Whoever pays no fee gets a sticker.",
            "Whoever pays a fee gets a receipt.",
        ),
        "{x} returned a book late.",
        "{x} was ill.",
        "Did {x} return a book late?",
        ("Does {x} pay a fee?", "Which of them pays a fee?", "How many of them pay a fee?"),
        ("Does {x} get a sticker?", "Which of them gets a sticker?", "How many of them get a sticker?"),
        ("Does {x} get a receipt?", "Which of them gets a receipt?", "How many receipts are given out?"),
    ),
    Theme(
        "{names} apply for a team.",
        (
            "Everyone who can swim is chosen, unless injured.",
            "Everyone who is not chosen helps at the desk.",
            "Everyone who is chosen gets a red cap.",
        ),
        "{x} can swim.",
        "{x} is injured.",
        "Can {x} swim?",
        ("Is {x} chosen?", "Which of them is chosen?", "How many of them are chosen?"),
        (
            "Does {x} help at the desk?",
            "Which of them helps at the desk?",
            "How many of them help at the desk?",
        ),
        ("Does {x} get a red cap?", "Which of them gets a red cap?", "How many red caps are given out?"),
    ),
    Theme(
        "{names} work in one office.",
        (
            "Those who work at night get Friday off, unless they are new.",
            "Those who do not get Friday off join the meeting.",
            "Those who get Friday off must come on Saturday.",
        ),
        "{x} works at night.",
        "{x} is new.",
        "Does {x} work at night?",
        ("Does {x} get Friday off?", "Which of them gets Friday off?", "How many of them get Friday off?"),
        (
            "Does {x} join the meeting?",
            "Which of them joins the meeting?",
            "How many of them join the meeting?",
        ),
        (
            "Must {x} come on Saturday?",
            "Which of them must come on Saturday?",
            "How many of them must come on Saturday?",
        ),
    ),
    Theme(
        "{names} live in a boarding school.",
        (
            "Pupils who are hungry eat soup, except those who are ill.",
            "Pupils who eat no soup drink tea.",
            "Pupils who eat soup wash a bowl.",
        ),
        "{x} is hungry.",
        "{x} is ill.",
        "Is {x} hungry?",
        ("Does {x} eat soup?", "Which of them eats soup?", "How many of them eat soup?"),
        ("Does {x} drink tea?", "Which of them drinks tea?", "How many of them drink tea?"),
        ("Does {x} wash a bowl?", "Which of them washes a bowl?", "How many of them wash a bowl?"),
    ),
    Theme(
        "{names} are dogs in a shelter.",
        (
            "A trained dog may run free, unless it is sick.",
            "A dog that may not run free stays on a lead.",
            "A dog that may run free wears a bell.",
        ),
        "{x} is trained.",
        "{x} is sick.",
        "Is {x} trained?",
        ("May {x} run free?", "Which dog may run free?", "How many dogs may run free?"),
        ("Does {x} stay on a lead?", "Which dog stays on a lead?", "How many dogs stay on a lead?"),
        ("Does {x} wear a bell?", "Which dog wears a bell?", "How many dogs wear a bell?"),
    ),
)


def make(rng: Random) -> Puzzle:
    theme = rng.choice(THEMES)
    names = rng.sample(PEOPLE, 3)
    used = rng.choice(((0, 1), (0, 2)))
    rules = [Statement(theme.rules[i], (rule(RULES[i]),)) for i in used]
    facts = [
        Statement(theme.trait.format(x=x), (rule(f"trait {x}"),)) for x in rng.sample(names, rng.choice((1, 2, 2)))
    ]
    x = rng.choice(names)
    facts.append(Statement(theme.exception.format(x=x), (rule(f"exception {x}"),)))
    rng.shuffle(facts)
    people = Statement(theme.intro.format(names=listing(names)), tuple(rule(f"person {x}") for x in names))
    asked = {"outcome": theme.outcome}
    asked |= {"opposite": theme.opposite} if 1 in used else {"consequence": theme.consequence}
    questions = [yes_or_no(theme.has_trait.format(x=x), claim("trait {x}", x)) for x in names]
    for predicate, (is_so, which, count) in asked.items():
        body = f"{predicate} {{x}}"
        questions += [yes_or_no(is_so.format(x=x), claim(body, x)) for x in names]
        questions += [who(f"which {predicate}", which, names, body), how_many(count, len(names), body)]
    return Puzzle("chains", Closure(), (people, *rules, *facts), tuple(questions))
