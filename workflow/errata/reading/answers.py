"""Reading the letter that a completion chooses.

Forms of a choice are tried in ranks, the exact form first. The first rank found in the text decides. Within a rank
the last choice counts.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from errata.reading.forms import Form, Forms
from errata.reading.letters import (
    AND_OR_CHINESE,
    AND_OR_ENGLISH,
    ANY_LETTER,
    GAP,
    LETTER,
    STANDALONE,
    letter_of,
    plain_text,
)

# --- Ranks of forms

# The form that the prompts ask for.
REQUESTED = Forms(
    Form("the answer is B", "English", rf"\b(?i:answer\s+is){GAP}{ANY_LETTER}", "So the answer is **B**."),
    Form("答案是B", "Chinese", rf"答案是{GAP}{ANY_LETTER}", "因此答案是：B"),
)

_ADVERB = r"(?i:\s+(?:therefore|thus|hence|then|indeed|clearly|actually|definitely|obviously|most\s+likely|probably))?"
_CHOICE = rf"{_ADVERB}{GAP}{ANY_LETTER}"
# "answer", "solution to this question"
_ANSWER = (
    r"(?i:(?:ans(?:wer)?|solution|choice)(?:\s+to\s+(?:th\w+\s+)?(?:\w+\s+)?question(?:\s+\d+)?)?"
    r"(?:\s+is|'s|’s|\s+(?:would|should|must|will)\s+be|[\s*_`\"']{0,8}[:=>]))"
)
# What models write instead. Mentioning an option ("option A is wrong") does not choose it.
USUAL = Forms(
    Form("answer: B", "English", rf"\b{_ANSWER}{_CHOICE}", "**Answer:** B"),
    Form(
        "correct option: B",
        "English",
        r"\b(?i:correct\s+(?:option|choice|answer)(?:\s+(?:is|would\s+be|should\s+be|must\s+be))?)" + _CHOICE,
        "The correct option must be B",
        but_not="A correct option is needed.",
    ),
    Form("I choose B", "English", rf"\b(?i:choose|select|pick|go\s+with){_CHOICE}", "I would go with B."),
    Form("答案为B", "Chinese", rf"(?:答案|正确的?选项)(?:应该?|就|只能)?[是为选]?{_CHOICE}", "正确的选项为B"),
    Form("选B", "Chinese", rf"(?<![候备可筛评入])选择?{_CHOICE}", "故选：B", but_not="候选B"),
    Form("boxed", "any", rf"\\boxed\{{{_CHOICE}", "$\\boxed{B}$"),
    Form(
        "Answer B on its own line",
        "English",
        rf"^[\s*_#]{{0,8}}(?i:(?:final\s+)?answer)[\s*_-]{{0,8}}{LETTER}[\s*_.]{{0,8}}$",
        "Final answer - B",
        but_not="Answer B again, please.",
    ),
)

_IS_RIGHT = r"(?i:is\s+(?:therefore\s+|thus\s+|indeed\s+)?(?:the\s+)?(?:only\s+)?(?:correct|right))"
# An option that is called the right one. It is chosen only if no other option is called right.
CALLED_RIGHT = Forms(
    Form(
        "option B is right",
        "English",
        rf"\b(?i:option|choice|answer)\s+[*_(\[]{{0,4}}{LETTER}[*_)\]]{{0,4}}\s+{_IS_RIGHT}\b"
        r"(?!\s+(?i:only|if|when|unless))",
        "Option (B) is the correct one",
        but_not="Option B is correct only if Ann lies.",
    ),
    Form(
        "B is right",
        "English",
        rf"\b{LETTER}[*_)\]]{{0,4}}\s+{_IS_RIGHT}(?i:\s+(?:answer|option|choice))?(?=[\s*_]*(?:[.!,;]|$))",
        "So B is the right answer.",
        but_not="B is right about Ann.",
    ),
    Form(
        "选项B正确",
        "Chinese",
        rf"选项\s*[*_(“「]{{0,4}}{LETTER}[*_)”」]{{0,4}}\s*[是为]?(?:唯一)?正确",
        "只有选项B正确",
    ),
    Form(
        "B正确",
        "Chinese",
        rf"{LETTER}\s*(?:选项\s*)?[是为]?(?:唯一)?正确(?:的)?(?:答案|选项|[。,;!]|$)",
        "所以B选项正确。",
        but_not="B正确地说",
    ),
)

# A letter at the start of a line. It is chosen only if no other letter starts a line.
AT_LINE_START = Forms(
    Form(
        "B. Paul",
        "any",
        rf"^[ \t*_`\"'“(\[【-]{{0,12}}{LETTER}(?:[\s*_`\"'”)\]】.:,-]|$)",
        "**B)** Paul",
        but_not="Bob",
    ),
)

# Only a letter, capital or small.
LETTER_ALONE = Forms(Form("B", "any", r"\A\W{0,16}([A-Za-z])\W{0,16}\Z", " (b)\n", but_not="B it is"))

# --- Words around a form that take the choice back

# Words right before a form that negate it or make it a condition.
NEGATION = Forms(
    Form(
        "not, if",
        "English",
        r"(?:\b(?i:if|not|cannot|never|suppose|supposing|assume|assuming|whether)|(?i:n['’]t))\s+"
        r"(?i:(?:think|believe|say|that|we|i|you|should|would|can|the|correct|right|final|be)\s+){0,5}\Z",
        "I don't think the correct ",  # answer is A
        but_not="If Paul is older, then the ",  # answer is B
    ),
    Form(
        "不, 如果",
        "Chinese",
        r"(?:不|别|不能|不应该?|不可以?|如果|假如|假设|假定|若)(?:我们|正确|最终|的)*\n?\Z",
        "假设正确",  # 答案是A
        but_not="不是这样，正确",  # 答案是A
    ),
)
# Words right after a form that take it back: "选 A 的话" (if A), "选 A 是错误的" (A is wrong).
_TAKEN_BACK = re.compile(r"[\s)\]*”」]{0,4}(?:的话|是错|是不|不对|不正确|错误|会(?:导致|矛盾))")
# A second letter, as in "A or B", "A、B" and "A B C D": several letters choose nothing.
_SECOND_LETTER = re.compile(
    rf"[ \t*_`)\]}}$]{{0,6}}(?:(?:[,/、&]|{AND_OR_ENGLISH}|{AND_OR_CHINESE})\s*){{0,2}}"
    r"(?:(?i:option)\s+|选项)?[ \t*_`(\[{$]{0,4}"
    rf"([A-Za-z]){STANDALONE}"
    rf"(?=[\s*_`)\]}}$]{{0,6}}(?:[.,;:/、。]|$|{AND_OR_ENGLISH}|和|或|[A-Z]{STANDALONE}))"
)
# "A" and "I" are words before a small letter ("The answer is A man"), unless it begins one of these words.
_NEXT_WORD = re.compile(
    r"[ \t]+(?!(?:because|since|as|and|or|is|in|for|with|which|where|due|based|given|if|by|but|not|from)\b)[a-z]"
)


class Choice(NamedTuple):
    """A letter that a plain text chooses, the match of the form that says so, and the form's rank."""

    letter: str
    match: re.Match[str]
    rank: Forms

    @property
    def start(self) -> int:
        return self.match.start()

    @property
    def form(self) -> Form:
        return self.rank.form_of(self.match)


def read_answer(completion: str, letters: str) -> str | None:
    """The letter that a completion chooses, or None if no choice can be read.

    Args:
        completion: the model's text, Chinese or English.
        letters: the letters of the question's options, e.g. "ABCD"; no other letter is ever returned.
    """
    choice = find_choice(completion, letters)
    return choice.letter if choice else None


def find_choice(completion: str, letters: str) -> Choice | None:
    """The choice that `read_answer` reads; its `form` is the wording that was recognized."""
    choices = find_choices(plain_text(completion), letters)
    return choices[-1] if choices else None


def find_choices(text: str, letters: str) -> list[Choice]:
    """All choices in a plain text, in its order, of the first rank that has any."""
    for rank in (REQUESTED, USUAL):
        choices = list(_choices_of_rank(rank, text, letters))
        if choices:
            return choices
    alone = LETTER_ALONE.match(text)
    if alone:
        letter = letter_of(alone)
        return [Choice(letter, alone, LETTER_ALONE)] if letter in letters else []
    # A completion that discusses the options one by one chooses none of them, so a letter must be the only one.
    called_right = _only_letter(CALLED_RIGHT, text)
    if called_right and called_right.letter in letters:
        return [called_right]
    at_start = _only_letter(AT_LINE_START, text)
    if at_start and at_start.letter in letters and not _starts_sentence(at_start.letter, text):
        return [at_start]
    return []


def _choices_of_rank(rank: Forms, text: str, letters: str) -> Iterator[Choice]:
    for match in rank.finditer(text):
        letter = letter_of(match)
        if letter in letters and not _is_taken_back(match, letter):
            yield Choice(letter, match, rank)


def _only_letter(rank: Forms, text: str) -> Choice | None:
    """The last choice of a rank, if all its choices are of the same letter."""
    last = {letter_of(match): match for match in rank.finditer(text)}
    if len(last) != 1:
        return None
    ((letter, match),) = last.items()
    return Choice(letter, match, rank)


def _is_taken_back(match: re.Match[str], letter: str) -> bool:
    """Whether the words around a match say that it is no choice."""
    text, end = match.string, match.end()
    if NEGATION.search(text[max(0, match.start() - 60) : match.start()]) or _TAKEN_BACK.match(text, end):
        return True
    second = _SECOND_LETTER.match(text, end)
    if second and second[1].upper() != letter:
        return True
    return letter in "AI" and _NEXT_WORD.match(text, end) is not None


def _starts_sentence(letter: str, text: str) -> bool:
    """Whether a line starts with the letter as a word: "A man ..."; "A. ..." and "A" alone name an option."""
    return re.search(rf"^[^\S\n]*{letter}\s+\w", text, re.MULTILINE) is not None
