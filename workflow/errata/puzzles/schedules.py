"""Schedule puzzles: everyone does something at a different time."""

from dataclasses import dataclass
from itertools import pairwise
from random import Random

from errata.puzzles.puzzle import Option, Puzzle, Question, Statement, yes_or_no
from errata.puzzles.words import PEOPLE, as_question, listing, negate, sentence, singular
from errata.puzzles.worlds import Comparison, Worlds


@dataclass(frozen=True)
class Times:
    """Times of one unit, e.g. days: `at` as in "on Monday", `when` as in "On which day"."""

    unit: str
    at: str
    when: str
    slots: tuple[str, ...]


@dataclass(frozen=True)
class Theme:
    """What is done at the times, and by whom (`things`); `who` begins the questions for them."""

    intro: str
    verb: str
    times: Times
    who: str = "Who"
    things: tuple[str, ...] = PEOPLE


DAYS = Times("day", "on", "On which day", ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"))
HOURS = Times("hour", "at", "At what time", ("nine", "ten", "eleven", "twelve"))
MONTHS = Times("month", "in", "In which month", ("April", "May", "June", "July", "August"))
LESSONS = ("Art", "Music", "Maths", "History", "French", "Science", "Sport", "Biology")
ROOMS = ("the hall", "the attic", "the kitchen", "the cellar", "the office", "the garage")

THEMES = (
    Theme("{names} each cook", "cook/cooks", DAYS),
    Theme("{names} each play tennis", "play/plays tennis", DAYS),
    Theme("{names} each see the doctor", "see/sees the doctor", HOURS),
    Theme("{names} each feed the cat", "feed/feeds the cat", HOURS),
    Theme("{names} each travel", "travel/travels", MONTHS),
    Theme("{names} each move house", "move/moves house", MONTHS),
    Theme("{names} are each taught", "are/is taught", HOURS, "Which lesson", LESSONS),
    Theme("{names} are each cleaned", "are/is cleaned", DAYS, "Which room", ROOMS),
)


def make(rng: Random) -> Puzzle:
    theme = rng.choice(THEMES)
    size = rng.choice((3, 3, 4))
    names = rng.sample(theme.things, size)
    order = rng.sample(names, size)  # order[i] has slots[i]
    start = rng.randrange(len(theme.times.slots) - size + 1)
    slots = theme.times.slots[start : start + size]
    when = [f"{theme.times.at} {slot}" for slot in slots]
    does = singular(theme.verb)

    def at(i: int) -> Statement:
        return Statement(sentence(f"{order[i]} {does} {when[i]}"), (Comparison(order[i], "=", plus=i),))

    def not_at(i: int, j: int) -> Statement:
        text = sentence(f"{order[i]} {negate(theme.verb)} {when[j]}")
        return Statement(text, (Comparison(order[i], "!=", plus=j),))

    def earlier(i: int, j: int) -> Statement:
        text = sentence(f"{order[i]} {does} earlier than {order[j]}")
        return Statement(text, (Comparison(order[i], "<", order[j]),))

    def after(i: int, j: int) -> Statement:
        text = sentence(f"{order[j]} {does} one {theme.times.unit} after {order[i]}")
        return Statement(text, (Comparison(order[j], "=", order[i], plus=1),))

    open_slots = sorted(rng.sample(range(size), rng.choice((1, 2, 2))))
    given = [at(i) for i in range(size) if i not in open_slots]
    if len(open_slots) == 2:  # one more statement decides which of the two is where
        i, j = open_slots
        steps = [after(*step) for step in pairwise(range(size)) if i in step or j in step]
        given.append(rng.choice([earlier(i, j), not_at(i, j), not_at(j, i), *steps]))
    rng.shuffle(given)
    text = f"{theme.intro} {theme.times.at} a different {theme.times.unit}: {listing(slots, 'or')}"
    intro = Statement(sentence(text.format(names=listing(names))), ())

    questions = []
    for i, slot in enumerate(when):
        options = tuple(Option(a, (Comparison(a, "=", plus=i),)) for a in names)
        questions.append(Question("who", f"{theme.who} {does} {slot}?", options))
    for a in names:
        claims = [Comparison(a, "=", plus=i) for i in range(size)]
        question = as_question(a, theme.verb)
        options = tuple(Option(slot, (says,)) for slot, says in zip(slots, claims, strict=True))
        lower = question[0].lower() + question[1:]
        questions.append(Question("when", f"{theme.times.when} {lower}?", options))
        questions += [yes_or_no(f"{question} {slot}?", says) for slot, says in zip(when, claims, strict=True)]
    return Puzzle("schedules", Worlds(tuple(order), range(size)), (intro, *given), tuple(questions))
