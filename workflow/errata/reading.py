"""Reading the chosen letter out of a completion: the exact form first, looser forms second, last match wins."""

import re
import unicodedata
from collections.abc import Iterator

# What may stand between "the answer is" and the letter: spaces, colons, quotes, brackets, Markdown, LaTeX.
_GAP = r"[\s:*_`\"'“”‘’「『【\[({<$-]*(?:\\(?:boxed|text|mathbf|mathrm)\{\s*)*"
_LETTER = r"([A-Z])(?![A-Za-z0-9_'’])"

# The form that the prompts ask for.
_STRICT = re.compile(rf"(?:(?i:\banswer\s+is)|答案是){_GAP}(?:(?i:option|choice)\s+|选项\s*)?{_GAP}{_LETTER}")
# What models write instead. A mere mention ("option A is wrong") is no choice.
_LOOSE = re.compile(
    r"(?:(?i:\banswer\s*(?:[:=]|would\s+be|must\s+be)|\bcorrect\s+(?:option|choice|answer)(?:\s+is)?|\b(?:choose|select|pick))"
    r"|答案为?|正确选项[是为]?|[应故]选|选择|\\boxed\{)"
    rf"{_GAP}(?:(?i:option|choice)\s+|选项\s*)?{_GAP}{_LETTER}"
    rf"|\b(?i:option|choice)\s+{_GAP}{_LETTER}{_GAP}(?i:is\s+(?:the\s+)?(?:correct|right|true)\b)"
)
# A letter that stands for itself: "B", "(B)", "B. Paul", "**B)** Paul".
_BARE = re.compile(rf"^[\s*_`\"'“(\[【-]*{_LETTER}(?:[\s*_`\"'”)\]】.:,-]|$)", re.MULTILINE)


def read_answer(completion: str, letters: str) -> str | None:
    """The letter that a completion chooses, or None where it chooses none that can be read.

    Args:
        completion: the model's text, Chinese or English.
        letters: the letters of the question's options, e.g. "ABCD"; no other letter is ever returned.
    """
    # full-width letters and punctuation become plain ones
    text = unicodedata.normalize("NFKC", completion)
    for pattern in (_STRICT, _LOOSE):
        found = [letter for letter in _found(pattern, text) if letter in letters]
        if found:
            return found[-1]
    # A completion that repeats the list of options chooses none of them, so a bare letter counts only alone.
    bare = set(_found(_BARE, text))
    if len(bare) == 1:
        (letter,) = bare
        # "A man ..." starts a sentence, "A. ..." and "A" alone name an option
        if letter in letters and not re.search(rf"^\s*{letter}\s+\w", text, re.MULTILINE):
            return letter
    return None


def _found(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    return (next(group for group in match.groups() if group) for match in pattern.finditer(text))
