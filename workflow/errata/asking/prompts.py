"""The texts that a model is asked: templates in files, filled with problem, question, lettered options and answer."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from errata.core.errors import Faults, UserError
from errata.core.files import cannot_read
from errata.data.records import Problem, Question

_FIELD = re.compile(r"\{([a-z_]+)\}")
_ASKED = ("problem", "question", "options")


class Purpose(NamedTuple):
    """What the template of a purpose holds: the fields that it must have, and those that it may have beside them."""

    needed: tuple[str, ...]
    allowed: tuple[str, ...] = ()


# Where the answer must not stand it would be given away to the model that is to find it.
PURPOSES = {
    "answer": Purpose(_ASKED),
    "distill": Purpose((*_ASKED, "answer")),
    "reflect": Purpose(("answer",), _ASKED),
    "conclude": Purpose(()),
}


@dataclass(frozen=True)
class Template:
    """A prompt with fields in braces."""

    text: str

    @cached_property
    def digest(self) -> str:
        """What artifacts made with it carry: the first 12 hexadecimal digits of the text's SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    def render(self, problem: Problem, question: Question) -> str:
        """Fill the fields in. Problem, question and option texts stand in it unchanged, braces and all."""
        fields = {
            "problem": problem.text,
            "question": question.text,
            "options": "\n".join(
                f"{letter}. {option}" for letter, option in zip(question.letters, question.options, strict=True)
            ),
        }
        if question.answer is not None:
            fields["answer"] = question.answer
        # one pass, so that a text that happens to hold "{options}" is not filled in again
        return _FIELD.sub(lambda match: fields[match[1]], self.text)


def read(path: Path, purpose: str = "answer") -> Template:
    """Read a template.

    Args:
        purpose: of `PURPOSES`; says which fields it must have and which it may have.

    Raises:
        UserError: the file cannot be read or is empty; a field is unknown, missing, or gives the answer away.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no UTF-8 text ({error}). Save it as UTF-8.") from error
    except OSError as error:
        raise cannot_read(path, error) from error
    needed, allowed = PURPOSES[purpose]
    found = _FIELD.findall(text)
    known = ", ".join(f"{{{name}}}" for name in (*needed, *allowed)) or "none"
    for name in found:
        if name not in needed + allowed:
            raise UserError(f"{path}: a prompt for {purpose} has no field {{{name}}}; there are: {known}. Remove it.")
    for name in needed:
        if name not in found:
            raise UserError(f"{path}: a prompt for {purpose} must say where the {name} goes. Put {{{name}}} there.")
    if not text:
        raise UserError(f"{path}: is empty. Write into it what the model is to be asked.")
    return Template(text)


def check(files: Mapping[str, Path]) -> None:
    """Read templates for nothing but their faults.

    Args:
        files: by purpose.

    Raises:
        Faults: of all of them, at once.
    """
    faults = []
    for purpose, path in files.items():
        try:
            read(path, purpose)
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise Faults("prompts", faults, "config/README.md says what a template holds.")
