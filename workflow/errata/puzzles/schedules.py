"""Schedules: each in a slot of its own."""

from dataclasses import dataclass
from itertools import pairwise
from random import Random

from errata.puzzles.puzzle import Option, Puzzle, Question, Statement, listing, yes_or_no
from errata.puzzles.words import PEOPLE
from errata.puzzles.worlds import Comparison, Worlds


@dataclass(frozen=True)
class Theme:
    """Sentences of one schedule; {a} and {b} are things, {slot} is a slot."""

    intro: str
    at: str
    not_at: str
    after: str
    before: str
    who: str
    when: str
    is_at: str
    slots: tuple[str, ...]
    things: tuple[str, ...] = tuple(PEOPLE)


WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
HOURS = ("nine", "ten", "eleven", "twelve")

THEMES = (
    Theme(
        "{names} each cook on a different day: {slots}.",
        "{a} cooks on {slot}.",
        "{a} does not cook on {slot}.",
        "{a} cooks on the day after {b}.",
        "{a} cooks on an earlier day than {b}.",
        "Who cooks on {slot}?",
        "On which day does {a} cook?",
        "Does {a} cook on {slot}?",
        WEEK,
    ),
    Theme(
        "{names} each see the doctor at a different hour: {slots}.",
        "{a} has the appointment at {slot}.",
        "{a} does not come at {slot}.",
        "{a} comes one hour after {b}.",
        "{a} comes earlier than {b}.",
        "Who sees the doctor at {slot}?",
        "At what time does {a} see the doctor?",
        "Does {a} see the doctor at {slot}?",
        HOURS,
    ),
    Theme(
        "{names} are each taught at a different hour: {slots}.",
        "{a} starts at {slot}.",
        "{a} does not start at {slot}.",
        "{a} starts one hour after {b}.",
        "{a} comes earlier in the day than {b}.",
        "Which lesson starts at {slot}?",
        "When does {a} start?",
        "Does {a} start at {slot}?",
        HOURS,
        ("Art", "Music", "Maths", "History", "French", "Science", "Sport", "Biology"),
    ),
    Theme(
        "{names} each travel in a different month: {slots}.",
        "{a} travels in {slot}.",
        "{a} does not travel in {slot}.",
        "{a} travels one month after {b}.",
        "{a} travels earlier in the year than {b}.",
        "Who travels in {slot}?",
        "In which month does {a} travel?",
        "Does {a} travel in {slot}?",
        ("April", "May", "June", "July", "August"),
    ),
    Theme(
        "{names} are each cleaned on a different day: {slots}.",
        "{a} is cleaned on {slot}.",
        "{a} is not cleaned on {slot}.",
        "{a} is cleaned on the day after {b}.",
        "{a} is cleaned on an earlier day than {b}.",
        "What is cleaned on {slot}?",
        "On which day is {a} cleaned?",
        "Is {a} cleaned on {slot}?",
        WEEK,
        ("the hall", "the attic", "the kitchen", "the cellar", "the office", "the garage"),
    ),
)


def make(rng: Random) -> Puzzle:
    theme = rng.choice(THEMES)
    size = rng.choice((3, 3, 4))
    names = rng.sample(theme.things, size)
    first = rng.randrange(len(theme.slots) - size + 1)
    slots = theme.slots[first : first + size]
    order = rng.sample(names, size)  # order[i] has slots[i]

    def state(sentence: str, says: Comparison, **words: str) -> Statement:
        text = sentence.format(**words)
        return Statement(text[0].upper() + text[1:], (says,))

    untold = sorted(rng.sample(range(size), rng.choice((1, 2, 2))))
    statements = [
        state(theme.at, Comparison(order[i], "=", plus=i), a=order[i], slot=slots[i])
        for i in range(size)
        if i not in untold
    ]
    if len(untold) == 2:  # then one more statement settles where the two go
        i, j = untold
        more = [
            state(theme.before, Comparison(order[i], "<", order[j]), a=order[i], b=order[j]),
            state(theme.not_at, Comparison(order[i], "!=", plus=j), a=order[i], slot=slots[j]),
            state(theme.not_at, Comparison(order[j], "!=", plus=i), a=order[j], slot=slots[i]),
        ]
        for b, a in pairwise(order):
            if {a, b} & {order[i], order[j]}:
                more.append(state(theme.after, Comparison(a, "=", b, plus=1), a=a, b=b))
        statements.append(rng.choice(more))
    rng.shuffle(statements)
    questions = [
        Question("who", theme.who.format(slot=slot), tuple(Option(a, (Comparison(a, "=", plus=i),)) for a in names))
        for i, slot in enumerate(slots)
    ]
    for a in names:
        times = tuple(Option(slot, (Comparison(a, "=", plus=i),)) for i, slot in enumerate(slots))
        questions.append(Question("when", theme.when.format(a=a), times))
        for i, slot in enumerate(slots):
            questions.append(yes_or_no(theme.is_at.format(a=a, slot=slot), Comparison(a, "=", plus=i)))
    intro = theme.intro.format(names=listing(names), slots=listing(slots, "or"))
    intro_statement = Statement(intro[0].upper() + intro[1:], ())
    solver = Worlds(tuple(order), range(size))
    return Puzzle("schedules", solver, (intro_statement, *statements), tuple(questions))
