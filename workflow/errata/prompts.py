"""The text that a model is asked: template, problem, question and lettered options."""

import re
from pathlib import Path

from errata.errors import UserError
from errata.records import Problem, Question

_FOLDER = Path(__file__).parent / "prompts"
NAMES = tuple(sorted(path.stem for path in _FOLDER.glob("*.txt")))
_FIELD = re.compile(r"\{(problem|question|options)\}")


def template(name: str) -> str:
    """The prompt template of that name: a language, with `-short` behind it for one that asks for little reasoning.

    Raises:
        UserError: there is none.
    """
    path = _FOLDER / f"{name}.txt"
    if name not in NAMES:
        raise UserError(f"no prompt template {name!r}; there are {', '.join(NAMES)}.")
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
