"""English words: verbs that agree with their subject, lists, and names.

A verb phrase contains the plural and the singular of its verb: "get/gets in", "are/is late".
"""

import re
from collections.abc import Iterable

AUXILIARIES = {"is", "can", "may", "must"}

# Names that are clearly a woman's or a man's.
WOMEN, MEN = (
    tuple(names.split())
    for names in (
        "Alice Ann Clara Emma Eva Grace Helen Ida Julia Kate Laura Lucy Maria Mia Nina Nora Rosa Ruth Sara Vera",
        "Adam Ben Carl David Felix Henry Jack James Leo Luke Mark Max Oscar Otto Paul Peter Simon Theo Tom Victor",
    )
)
PEOPLE = tuple(sorted(WOMEN + MEN))


def plural(verb: str) -> str:
    """ "get/gets in" -> "get in" """
    return re.sub(r"(\w+)/(\w+)", r"\1", verb)


def singular(verb: str) -> str:
    """ "get/gets in" -> "gets in" """
    return re.sub(r"(\w+)/(\w+)", r"\2", verb)


def negate(verb: str) -> str:
    """ "get/gets in" -> "does not get in", "are/is late" -> "is not late" """
    first, _, rest = singular(verb).partition(" ")
    return f"{first} not {rest}" if first in AUXILIARIES else f"does not {plural(verb)}"


def as_question(subject: str, verb: str) -> str:
    """ "Ann", "get/gets in" -> "Does Ann get in"; "Ann", "are/is late" -> "Is Ann late" """
    first, _, rest = singular(verb).partition(" ")
    return f"{first.capitalize()} {subject} {rest}" if first in AUXILIARIES else f"Does {subject} {plural(verb)}"


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def listing(words: Iterable[str], last: str = "and") -> str:
    """ "Ann, Ben and Leo" """
    *front, end = words
    return f"{', '.join(front)} {last} {end}" if front else end
