"""Whether a completion gives away that its writer was given the answer, or saw an earlier wrong attempt.

A model that is trained on such a text learns to speak of a hint that it will not be given. The forms are listed in
`giveaway_english` and `giveaway_chinese`.
"""

from typing import NamedTuple

from errata.reading.forms import Form, Forms
from errata.reading.giveaway_chinese import CHINESE
from errata.reading.giveaway_english import ENGLISH
from errata.reading.letters import plain_text

GIVEAWAYS = Forms(*ENGLISH, *CHINESE)

# Marks around words are removed, and curly apostrophes become straight ones.
_MARKS = str.maketrans("‘’", "''", '*_`"“”#「」『』')


class Giveaway(NamedTuple):
    """The first words that give a text away, in small letters and without marks, and their form."""

    form: Form
    words: str


def gives_away(text: str) -> bool:
    """Whether a completion, English or Chinese, mentions that the answer was given, or an earlier wrong attempt.

    "The correct answer is C" and "it is given that Ann is older" do not; "since the given answer is C" does. Only
    wordings are compared, so a few texts are misjudged: one that passes is trained on, one that is refused is asked
    for again.
    """
    return GIVEAWAYS.search(_plain(text)) is not None


def find_giveaway(text: str) -> Giveaway | None:
    """The first words that give a completion away; None where nothing does."""
    match = GIVEAWAYS.search(_plain(text))
    return Giveaway(GIVEAWAYS.form_of(match), match[0]) if match else None


def _plain(text: str) -> str:
    """The text in small letters and on one line, with one space between words, as the forms expect it."""
    return " ".join(plain_text(text).translate(_MARKS).casefold().split())
