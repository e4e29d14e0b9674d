"""Plain text, and how the letter of an option is written in it."""

import re
import unicodedata

# Follows a letter that is a word of its own: not "Anna", "A's", "B-flat" or "C++".
STANDALONE = r"(?![A-Za-z0-9+]|['’][A-Za-z]|-[a-z]|_\w)"
LETTER = rf"([A-Z]){STANDALONE}"
# A small letter counts only at the end of a sentence, because "a" is an article.
ANY_LETTER = rf"(?:{LETTER}|([a-z])(?=[\s*_`\"”’\])}}$]{{0,8}}(?:[.。,;]\s|[.。]?$)))"

# Text that may be between "the answer is" and the letter: spaces, colons, quotes, brackets, Markdown, LaTeX, "option".
# Its length is limited, so that a model stuck on one character cannot make the search quadratic.
_SIGNS = r"[\s:*_`\"'“”‘’「『【\[({<>$#=\\-]{0,16}"
_OPTION = r"(?:(?i:the\s+)?(?i:option|choice|letter)\b|选项)?"
_LATEX = r"(?:\\?(?:boxed|text|textbf|mathbf|mathrm)\{\s*){0,3}"
GAP = _SIGNS + _OPTION + _SIGNS + _LATEX + r"[(\s]{0,4}"

# Between two letters: "A or B", "A和B".
AND_OR_ENGLISH = r"\b(?:and|or)\b"
AND_OR_CHINESE = r"和|或者?|与|以?及"


def letter_of(match: re.Match[str]) -> str:
    """The letter in a match of LETTER or ANY_LETTER, as a capital."""
    return next(group for group in match.groups() if group).upper()


def plain_text(text: str) -> str:
    """The text with full-width letters and punctuation made plain (NFKC), and without characters of no width."""
    if text.isascii():
        return text
    return "".join(sign for sign in unicodedata.normalize("NFKC", text) if unicodedata.category(sign) != "Cf")


def likeness(text: str) -> str:
    """A key that is equal for completions that differ only in spaces, case or the width of characters."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
