"""The text that a model is asked: template, problem, question and lettered options."""

import re
from pathlib import Path

from errata.errors import UserError
from errata.records import Problem, Question

_FOLDER = Path(__file__).parent / "prompts"
LANGUAGES = tuple(sorted(path.stem for path in _FOLDER.glob("*.txt")))
_FIELD = re.compile(r"\{(problem|question|options)\}")


def template(language: str) -> str:
    """The prompt template of a language.

    Raises:
        UserError: there is none.
    """
    path = _FOLDER / f"{language}.txt"
    if language not in LANGUAGES:
        raise UserError(f"dataset.language: no prompt for {language!r}; there are {', '.join(LANGUAGES)}.")
    return path.read_text(encoding="utf-8").strip()


def render(text: str, problem: Problem, question: Question) -> str:
    """Fill a template. Problem, question and option texts stand in it unchanged, braces and all."""
    fields = {
        "problem": problem.text,
        "question": question.text,
        "options": "\n".join(
            f"{letter}. {option}" for letter, option in zip(question.letters, question.options, strict=True)
        ),
    }
    # one pass, so that a text that happens to hold "{options}" is not filled in again
    return _FIELD.sub(lambda match: fields[match[1]], text)
