"""Named patterns: every form in which a text can say something has a name, a language and an example."""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Language = Literal["English", "Chinese", "any"]


class Form(NamedTuple):
    """One wording or layout that is recognized.

    Attributes:
        name: unique among the forms of its list.
        language: "any" for layouts such as LaTeX's box.
        pattern: the regular expression; `^` and `$` match at every line.
        example: a text that it matches.
        but_not: a similar text that it does not match, or "".
    """

    name: str
    language: Language
    pattern: str
    example: str
    but_not: str = ""


class Forms:
    """Several forms, found in a single pass; where two match at the same place, the first in the list wins."""

    def __init__(self, *forms: Form) -> None:
        self._forms = forms
        # One expression for all, without a group per form: with groups the search takes 2.5 times as long.
        expression = re.compile("|".join(form.pattern for form in forms), re.MULTILINE)
        self.match = expression.match
        self.search = expression.search
        self.finditer = expression.finditer

    def __iter__(self) -> Iterator[Form]:
        return iter(self._forms)

    def form_of(self, match: re.Match[str]) -> Form:
        """The form of a match that this object found."""
        return next(
            form
            for form in self._forms
            if re.compile(form.pattern, re.MULTILINE).match(match.string, match.start()) is not None
        )
