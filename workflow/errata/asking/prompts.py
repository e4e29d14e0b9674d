"""Prompt templates: text files whose fields are filled with the problem, the question, its options and the answer."""

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
_QUESTION = ("problem", "question", "options")


class Purpose(NamedTuple):
    """The fields that the template of a purpose must have, and those that it may have."""

    needed: tuple[str, ...]
    allowed: tuple[str, ...] = ()


# Without a field for the answer where the model has to find it.
PURPOSES = {
    "answer": Purpose(_QUESTION),
    "distill": Purpose((*_QUESTION, "answer")),
    "reflect": Purpose(("answer",), _QUESTION),
    "conclude": Purpose(()),
}


@dataclass(frozen=True)
class Template:
    """A prompt with fields in braces."""

    text: str

    @cached_property
    def digest(self) -> str:
        """The first 12 hexadecimal digits of the text's SHA-256. Artifacts name the template by them."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    def render(self, problem: Problem, question: Question) -> str:
        """Fill in the fields. The texts of problem, question and options stay as they are, braces included."""
        fields = {
            "problem": problem.text,
            "question": question.text,
            "options": "\n".join(
                f"{letter}. {option}" for letter, option in zip(question.letters, question.options, strict=True)
            ),
        }
        if question.answer is not None:
            fields["answer"] = question.answer
        # in one pass, so that "{options}" in the text of a problem is not filled in
        return _FIELD.sub(lambda match: fields[match[1]], self.text)


def read(path: Path, purpose: str = "answer") -> Template:
    """Read a template.

    Args:
        purpose: of `PURPOSES`.

    Raises:
        UserError: the file cannot be read or is empty; a field is unknown, missing, or gives the answer away.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error}). Save it as UTF-8.") from error
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
        raise UserError(f"{path}: is empty. Write the prompt into it.")
    return Template(text)


def check(files: Mapping[str, Path]) -> None:
    """Check that templates can be read.

    Args:
        files: by purpose.

    Raises:
        Faults: those of all templates at once.
    """
    faults = []
    for purpose, path in files.items():
        try:
            read(path, purpose)
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise Faults("prompts", faults, "config/README.md describes the fields of a template.")
