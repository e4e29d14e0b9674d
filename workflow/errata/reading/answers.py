"""Reading the chosen letter out of a completion: the exact form first, looser forms second, last match wins."""

import re
import unicodedata
from typing import NamedTuple

# What may stand between "the answer is" and the letter: spaces, colons, quotes, brackets, Markdown, LaTeX. Bounded, so
# that a model stuck on one character cannot make the search quadratic.
_SIGNS = r"[\s:*_`\"'“”‘’「『【\[({<>$#=\\-]{0,16}"
_LATEX = r"(?:\\?(?:boxed|text|textbf|mathbf|mathrm)\{\s*){0,3}"
_NAMED = r"(?:(?i:the\s+)?(?i:option|choice|letter)\b|选项)?"
_GAP = _SIGNS + _NAMED + _SIGNS + _LATEX + r"[(\s]{0,4}"
# A letter that stands for itself: not of a word ("Anna", "A's", "B-flat"), not C++.
_ALONE = r"(?![A-Za-z0-9+]|['’][A-Za-z]|-[a-z]|_\w)"
_LETTER = rf"([A-Z]){_ALONE}"
# In lower case only where nothing of a sentence follows, for "a" is an article.
_ANY_LETTER = rf"(?:{_LETTER}|([a-z])(?=[\s*_`\"”’\])}}$]{{0,8}}(?:[.。,;]\s|[.。]?$)))"

# The form that the prompts ask for.
_STRICT = re.compile(rf"(?:\b(?i:answer\s+is)|答案是){_GAP}{_ANY_LETTER}", re.MULTILINE)

_ADVERB = r"(?i:\s+(?:therefore|thus|hence|then|indeed|clearly|actually|definitely|obviously|most\s+likely|probably))?"
# What models write instead. A mere mention ("option A is wrong") is no choice.
_LOOSE = re.compile(
    r"(?:\b(?i:(?:ans(?:wer)?|solution|choice)(?:\s+to\s+(?:th\w+\s+)?(?:\w+\s+)?question(?:\s+\d+)?)?"
    r"(?:\s+is|'s|’s|\s+(?:would|should|must|will)\s+be|[\s*_`\"']{0,8}[:=>]))"
    r"|\b(?i:correct\s+(?:option|choice|answer)(?:\s+(?:is|would\s+be|should\s+be|must\s+be))?)"
    r"|\b(?i:choose|select|pick|go\s+with)"
    r"|(?:答案|正确的?选项)(?:应该?|就|只能)?[是为选]?|(?<![候备可筛评入])选择?"
    rf"|\\boxed\{{){_ADVERB}{_GAP}{_ANY_LETTER}"
    # a line of its own: "Answer B", "Final answer - B"
    rf"|^[\s*_#]{{0,8}}(?i:(?:final\s+)?answer)[\s*_-]{{0,8}}{_LETTER}[\s*_.]{{0,8}}$",
    re.MULTILINE,
)
# An option that is judged to be the right one; it is a choice only when no other option is judged so as well.
_RIGHT = r"(?i:is\s+(?:therefore\s+|thus\s+|indeed\s+)?(?:the\s+)?(?:only\s+)?(?:correct|right))"
_JUDGED = re.compile(
    rf"(?:\b(?i:option|choice|answer)\s+)[*_(\[]{{0,4}}{_LETTER}[*_)\]]{{0,4}}\s+{_RIGHT}\b(?!\s+(?i:only|if|when|unless))"
    rf"|\b{_LETTER}[*_)\]]{{0,4}}\s+{_RIGHT}(?i:\s+(?:answer|option|choice))?(?=[\s*_]*(?:[.!,;]|$))"
    rf"|选项\s*[*_(“「]{{0,4}}{_LETTER}[*_)”」]{{0,4}}\s*[是为]?(?:唯一)?正确"
    rf"|{_LETTER}\s*(?:选项)?\s*[是为]?(?:唯一)?正确(?:的)?(?:答案|选项|[。,;!]|$)",
    re.MULTILINE,
)
# A letter at the start of a line: "B", "(B)", "B. Paul", "**B)** Paul".
_BARE = re.compile(rf"^[ \t*_`\"'“(\[【-]{{0,12}}{_LETTER}(?:[\s*_`\"'”)\]】.:,-]|$)", re.MULTILINE)
# Nothing but a letter, in lower case too.
_ONLY = re.compile(r"\W{0,16}([A-Za-z])\W{0,16}")

# What stands right before a choice and takes it back: "if the answer is A", "we cannot select B", "不能选 A".
_DENIED = re.compile(
    r"(?:\b(?i:if|not|cannot|never|suppose|supposing|assume|assuming|whether)|(?i:n['’]t))\s+"
    r"(?i:(?:think|believe|say|that|we|i|you|should|would|can|the|correct|right|final|be)\s+){0,5}$"
    r"|(?:不|别|不能|不应该?|不可以?|如果|假如|假设|假定|若)(?:我们|正确|最终|的)*$"
)
# What follows and takes it back: "选 A 的话", "选 A 是错误的".
_TAKEN_BACK = re.compile(r"[\s)\]*”」]{0,4}(?:的话|是错|是不|不对|不正确|错误|会(?:导致|矛盾))")
# A second letter: "A or B", "A、B", "A B C D" choose nothing.
_SECOND = re.compile(
    r"[ \t*_`)\]}$]{0,6}(?:(?:[,/、&]|\b(?:and|or)\b|和|或者?|与|以?及)\s*){0,2}"
    r"(?:(?i:option)\s+|选项)?[ \t*_`(\[{$]{0,4}"
    rf"([A-Za-z]){_ALONE}(?=[\s*_`)\]}}$]{{0,6}}(?:[.,;:/、。]|$|\b(?:and|or)\b|和|或|[A-Z]{_ALONE}))"
)
# The article, or the pronoun: "The answer is A man ...", but not "The answer is A because ...".
_FIRST_WORD = re.compile(
    r"[ \t]+(?!(?:because|since|as|and|or|is|in|for|with|which|where|due|based|given|if|by|but|not|from)\b)[a-z]"
)


def read_answer(completion: str, letters: str) -> str | None:
    """The letter that a completion chooses, or None where it chooses none that can be read.

    Args:
        completion: the model's text, Chinese or English.
        letters: the letters of the question's options, e.g. "ABCD"; no other letter is ever returned.
    """
    statements = _statements(_plain(completion), letters)
    return statements[-1].letter if statements else None


class Statement(NamedTuple):
    """Where a text chooses a letter."""

    letter: str
    start: int


def _plain(text: str) -> str:
    """Full-width letters and punctuation become plain ones; what has no width goes."""
    return "".join(sign for sign in unicodedata.normalize("NFKC", text) if unicodedata.category(sign) != "Cf")


def _statements(text: str, letters: str) -> list[Statement]:
    """Where a plain text chooses one of the letters, in its clearest form; the last one counts."""
    for pattern in (_STRICT, _LOOSE):
        chosen = [
            Statement(letter, match.start())
            for match in pattern.finditer(text)
            if (letter := _chosen(match)) and letter in letters
        ]
        if chosen:
            return chosen
    only = _ONLY.fullmatch(text)
    if only:
        return [Statement(only[1].upper(), 0)] if only[1].upper() in letters else []
    # A completion that goes through the options one by one chooses none of them, so these count only alone.
    for pattern in (_JUDGED, _BARE):
        found = {_letter(match): match.start() for match in pattern.finditer(text)}
        if len(found) == 1:
            ((letter, start),) = found.items()
            # "A man ..." starts a sentence, "A. ..." and "A" alone name an option
            if letter in letters and not (pattern is _BARE and re.search(rf"^\s*{letter}\s+\w", text, re.MULTILINE)):
                return [Statement(letter, start)]
    return []


def _letter(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group).upper()


def _chosen(match: re.Match[str]) -> str | None:
    """The letter of a match, or None where the words around it say that it is no choice."""
    text, letter = match.string, _letter(match)
    before = text[max(0, match.start() - 60) : match.start()]
    if _DENIED.search(before) or _TAKEN_BACK.match(text, match.end()):
        return None
    second = _SECOND.match(text, match.end())
    if second and second[1].upper() != letter:
        return None
    if letter in "AI" and _FIRST_WORD.match(text, match.end()):
        return None
    return letter


def likeness(text: str) -> str:
    """What is equal for completions that differ only in spaces, case or the width of characters."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
