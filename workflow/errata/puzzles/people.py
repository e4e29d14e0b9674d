"""Statements and questions about people for the solver in closure.py: who satisfies a condition, how many do."""

from collections.abc import Sequence

from errata.puzzles.closure import Claim, literals, rule
from errata.puzzles.puzzle import Option, Question, Statement


def state(text: str, *rules: str) -> Statement:
    """The sentence `text`, which states `rules`."""
    return Statement(text, tuple(rule(each) for each in rules))


def claim(body: str, x: str, count: int = 1) -> Claim:
    """The claim that person `x` satisfies `body`, a text with {x}; with "?x", that `count` people do."""
    return Claim(literals(f"person {x} and {body.format(x=x)}"), count)


def ask_who(kind: str, text: str, names: Sequence[str], body: str) -> Question:
    """A question for the person who satisfies `body`; "Nobody" is an option too."""
    options = [Option(x, (claim(body, x),)) for x in names]
    return Question(kind, text, (*options, Option("Nobody", (claim(body, "?x", 0),))))


def ask_how_many(text: str, most: int, body: str) -> Question:
    """A question for the number of people who satisfy `body`, from 0 to `most`."""
    return Question("count", text, tuple(Option(str(n), (claim(body, "?x", n),)) for n in range(most + 1)))
