"""Removes the answer from a completion: its conclusion, or every sentence that singles out an option."""

import re
from bisect import bisect_right
from itertools import accumulate, takewhile

from errata.reading.answers import find_choices
from errata.reading.forms import Form, Forms
from errata.reading.letters import (
    AND_OR_CHINESE,
    ANY_LETTER,
    GAP,
    LETTER,
    STANDALONE,
    letter_of,
    plain_text,
)
from errata.reading.sentences import sentence_start, split_sentences

# A single letter. It may be an option, a name or the article.
_MENTION = re.compile(rf"(?<![A-Za-z0-9_'’\\-]){LETTER}")

_IS = r"(?i:\s+(?:is|must\s+be|should\s+be|would\s+be))?"
_ANSWER_IS = r"(?:\s{0,3}[:=]|(?i:\s+(?:is|was|must\s+be|should\s+be|would\s+be|has\s+to\s+be|can\s+only\s+be)))"
_ADVERB = r"(?i:\s+(?:only|clearly|therefore|thus))?"
_IN_BRACKETS = rf"[\s,:]{{0,3}}\(\s?{LETTER}\s?\)"
# A letter that can only be an option, even where people of the problem are called A and B.
AN_OPTION = Forms(
    Form("option B", "English", rf"\b(?i:options?|choice){_IS}{GAP}{ANY_LETTER}", "Only option b."),
    Form("选项B", "Chinese", rf"选项{_IS}{GAP}{ANY_LETTER}", "选项B正确"),
    Form(
        "answer is B",
        "English",
        rf"\b(?i:answer){_ANSWER_IS}{_ADVERB}{GAP}{ANY_LETTER}",
        "The answer can only be B",
        but_not="The answer B gave is no.",
    ),
    Form("答案是B", "Chinese", rf"答案(?:应该?|只能|就|必须)?[是为选:]{_ADVERB}{GAP}{ANY_LETTER}", "答案只能是B"),
    Form(
        "B is the right one",
        "English",
        rf"\b{LETTER}[*_)\]]{{0,4}}\s+"
        r"(?i:is\s+(?:\w+\s+)?the\s+(?:only\s+)?(?:right|correct)\s+(?:one|answer|option|choice))",
        "B is therefore the right one.",
        but_not="B is right about that.",
    ),
    Form(
        "B是正确答案",
        "Chinese",
        rf"{LETTER}[*_)\]]{{0,4}}\s*(?:选项|[才就]?[是为]?(?:唯一)?正确的?(?:答案|选项))",
        "B才是正确答案",
        but_not="B是正确的",
    ),
    Form(
        "so (B)",
        "English",
        rf"\b(?i:so|thus|hence|therefore|only){_IN_BRACKETS}",
        "Therefore (B).",
        but_not="So B is older.",
    ),
    Form("所以(B)", "Chinese", rf"(?:因此|所以|故|只有){_IN_BRACKETS}", "所以(B)", but_not="所以B大"),
    Form("故选B", "Chinese", rf"(?:应该?|故|只能|因此|所以|本题)选择?{GAP}{LETTER}", "故选B", but_not="我选B"),
)

# Between two letters in a row: "A or B", "A、B和C"; but not in "C is wrong, B is right".
_ROW = (
    rf"[\s*_`)\]]{{0,4}}(?:[/、&]|\b(?:and|or|nor)\b|{AND_OR_CHINESE})\s*"
    r"(?:(?i:options?|choice)\s+|选项\s*)?[\s*_`(\[]{0,4}"
)
_BEFORE_IN_ROW = re.compile(rf"(?<![A-Za-z0-9])[A-Z]{_ROW}$")
_AFTER_IN_ROW = re.compile(rf"{_ROW}[A-Z]{STANDALONE}")

# The label of an option at the start of a line: "B. Ann", "- **(B)** Ann", "Option B: Ann".
_LABEL = re.compile(
    rf"[\W\d_]{{0,12}}(?:(?i:option|choice)\s+|选项\s*)?[\W_]{{0,4}}{LETTER}[*_`\"”]{{0,4}}(?:[.):、\]]|$)[*_`\"”]{{0,4}}"
)
# Words that judge the option of a line.
VERDICT = Forms(
    Form(
        "right",
        "English",
        r"\b(?i:true|right|correct|valid|yes|holds?|fits?|works?|match(?:es)?|follows?|must|possible|consistent)\b",
        "B. Ann: that fits",
        but_not="B. Ann: a rightful heir",
    ),
    Form("✓", "any", r"[✓✔√✅]", "B. Ann ✅"),
    Form("正确", "Chinese", r"正确|成立|符合|[为是]真|可能|对(?=[^\w]|$)", "B. 甲：对。", but_not="B. 对面的人"),
)

# "A man" and "A red car", but not "A is", "A fits", "A alone".
_NOUN = re.compile(
    r"[ \t]+(?!(?:\w*[^\Wsu]s|and|or|it|alone|must|would|could|can|cannot|should|will|may|said|told|had|because|since"
    r"|in|for|with|if|but|not|from|to|right|true|correct)\b)[a-z]"
)
# The end of a text that the first word of a sentence may follow.
_BEFORE_FIRST_WORD = re.compile(r"(?:\A|[.!?:;\n\"“(。])[\W\d_]{0,8}\Z")


def without_conclusion(completion: str, letters: str) -> str:
    """The reasoning of a completion: the text before the sentence that chooses.

    If a choice is repeated ("The answer is B. ... So the answer is B."), the text is cut at its first occurrence: the
    rest must lead to the answer without containing it.

    Args:
        letters: as for `read_answer`.

    Returns:
        The text without trailing space: all of it if nothing is chosen, "" if it begins with the choice.
    """
    text = completion.strip()
    plain = rest = plain_text(text)
    choices = find_choices(rest, letters)
    answer = choices[-1].letter if choices else None
    while choices and choices[-1].letter == answer:
        *_, first = takewhile(lambda choice: choice.letter == answer, reversed(choices))
        rest = rest[: sentence_start(rest, first.start)].rstrip()
        choices = find_choices(rest, letters)
    if rest == plain:
        return text
    pieces = [plain_text(sign) for sign in text]
    # Characters that combine (a letter and its accent) are rare. The plain text is then cut instead of the original.
    if "".join(pieces) != plain:
        return rest
    return text[: bisect_right(list(accumulate(map(len, pieces))), len(rest))].rstrip()


def without_choice(text: str, letter: str, *, named: bool = False) -> str:
    """A reasoning without the sentences that single out an option.

    "Only option B fits." and "Ann is older, which makes B right." state the answer as plainly as a conclusion does. A
    model that is asked to conclude from the reasoning would only copy it. Every mention of the letter counts, except in
    a row ("A or B") and in a list of the options that does not judge them.

    Args:
        letter: the option's.
        named: whether the letter is also a name in the problem. Then only wordings count that cannot mean a name, such
            as "option B".

    Returns:
        The text unchanged if nothing is taken out, "" if no words are left.
    """
    lines = text.split("\n")
    labelled = {label[1] for line in lines if (label := _LABEL.match(plain_text(line)))}
    kept = [_line_without_choice(line, letter, alone=len(labelled) == 1, named=named) for line in lines]
    left = "\n".join(rest for rest, line in zip(kept, lines, strict=True) if rest or not line)
    return left.strip() if any(map(str.isalnum, left)) else ""


def is_name(letter: str, text: str) -> bool:
    """Whether a letter is a name in a problem, as of people called A, B and C.

    The article "A" is no name. "I" always counts as one, because the pronoun looks like the letter.
    """
    plain = plain_text(text)
    return letter == "I" or any(match[1] == letter and not _is_article(match) for match in _MENTION.finditer(plain))


def _line_without_choice(line: str, letter: str, *, alone: bool, named: bool) -> str:
    """A line without its sentences that single out an option; "" if no words are left.

    Args:
        alone: whether only one option has a label at the start of a line.
    """
    plain = plain_text(line)
    # Characters that combine are rare. The plain text is then cut instead of the original.
    text = line if len(plain) == len(line) else plain
    label = _LABEL.match(plain)
    start = 0
    # If B is a name, "B: I am a knight" is what B says.
    if label and label[1] == letter and not (named and ":" in label[0] and not AN_OPTION.search(label[0])):
        if alone or VERDICT.search(plain) or AN_OPTION.search(label[0]):
            return ""
        start = label.end()
    sentences = split_sentences(text, start)
    kept = [sentence for sentence in sentences if not _singles_out(plain_text(sentence), letter, named=named)]
    if len(kept) == len(sentences):
        return line
    left = "".join(kept).rstrip()
    return text[:start] + left if any(map(str.isalnum, left)) else ""


def _singles_out(sentence: str, letter: str, *, named: bool) -> bool:
    """Whether a plain sentence mentions an option outside a row of several."""
    mentions = [*AN_OPTION.finditer(sentence), *([] if named else _MENTION.finditer(sentence))]
    return any(letter_of(each) == letter and not _is_article(each) and not _is_in_row(each) for each in mentions)


def _is_article(match: re.Match[str]) -> bool:
    """Whether the letter of a match is the "A" at the start of a sentence: "A man ..."."""
    text, start = match.string, match.start()
    return (
        match[0] == "A"
        and _NOUN.match(text, match.end()) is not None
        and _BEFORE_FIRST_WORD.search(text[max(0, start - 9) : start]) is not None
    )


def _is_in_row(match: re.Match[str]) -> bool:
    """Whether a match is one of several letters in a row: "A or B"."""
    text, (start, end) = match.string, match.span(match.lastindex or 0)
    before = text[max(0, start - 30) : start]
    return _AFTER_IN_ROW.match(text, end) is not None or _BEFORE_IN_ROW.search(before) is not None
