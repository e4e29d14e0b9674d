"""What a completion answers."""

from errata.inference.requests import Completion
from errata.reading.answers import read_answer


def letter_of(completion: Completion, letters: str) -> str | None:
    """The answer that a completion gives, of a question's letters; None where it is not complete or not readable."""
    return read_answer(completion.text, letters) if completion.complete else None
