"""English: verbs that agree with their subject, lists, and names.

A verb phrase is written with both forms of its verb, for many and for one: "get/gets in", "are/is late".
"""

import re
from collections.abc import Iterable

AUXILIARIES = {"is", "can", "may", "must"}

# Names that every reader takes for a woman's or a man's.
WOMEN, MEN = (
    tuple(names.split())
    for names in (
        "Alice Ann Clara Emma Eva Grace Helen Ida Julia Kate Laura Lucy Maria Mia Nina Nora Rosa Ruth Sara Vera",
        "Adam Ben Carl David Felix Henry Jack James Leo Luke Mark Max Oscar Otto Paul Peter Simon Theo Tom Victor",
    )
)
PEOPLE = tuple(sorted(WOMEN + MEN))


def many(verb: str) -> str:
    """ "get in" """
    return re.sub(r"(\w+)/(\w+)", r"\1", verb)


def one(verb: str) -> str:
    """ "gets in" """
    return re.sub(r"(\w+)/(\w+)", r"\2", verb)


def denied(verb: str) -> str:
    """ "does not get in" or "is not late" """
    first, _, rest = one(verb).partition(" ")
    return f"{first} not {rest}" if first in AUXILIARIES else f"does not {many(verb)}"


def asked(subject: str, verb: str) -> str:
    """ "Does Ann get in" or "Is Ann late" """
    first, _, rest = one(verb).partition(" ")
    return f"{first.capitalize()} {subject} {rest}" if first in AUXILIARIES else f"Does {subject} {many(verb)}"


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def listing(words: Iterable[str], last: str = "and") -> str:
    """ "Ann, Ben and Leo" """
    *front, end = words
    return f"{', '.join(front)} {last} {end}" if front else end
