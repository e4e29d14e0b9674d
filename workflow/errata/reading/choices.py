"""Texts without the choice that they make: what is left of a completion when its answer is taken out."""

import re
from bisect import bisect_right
from itertools import accumulate, pairwise, takewhile

from errata.reading.answers import _ALONE, _ANY_LETTER, _GAP, _LETTER, _letter, _plain, _statements

# A letter that stands alone.
_MENTION = re.compile(rf"(?<![A-Za-z0-9_'’\\-]){_LETTER}")


# A letter that stands for an option, and for nothing else.
_CLEAR = re.compile(
    rf"(?:\b(?i:options?|choice)|选项)(?i:\s+(?:is|must\s+be|should\s+be|would\s+be))?{_GAP}{_ANY_LETTER}"
    rf"|(?:\b(?i:answer)(?:\s{{0,3}}[:=]|(?i:\s+(?:is|was|must\s+be|should\s+be|would\s+be|has\s+to\s+be|can\s+only\s+be)))"
    rf"|答案(?:应该?|只能|就|必须)?[是为选:])(?i:\s+(?:only|clearly|therefore|thus))?{_GAP}{_ANY_LETTER}"
    rf"|\b{_LETTER}[*_)\]]{{0,4}}\s+(?i:is\s+(?:\w+\s+)?the\s+(?:only\s+)?(?:right|correct)\s+(?:one|answer|option|choice))"
    rf"|{_LETTER}[*_)\]]{{0,4}}\s*(?:选项|[才就]?[是为]?(?:唯一)?正确的?(?:答案|选项))"
    rf"|(?:\b(?i:so|thus|hence|therefore|only)|因此|所以|故|只有)[\s,:]{{0,3}}\(\s?{_LETTER}\s?\)"
    rf"|(?:应该?|故|只能|因此|所以|本题)选择?{_GAP}{_LETTER}"
)


# The letters beside it in a row: "A or B", "A、B和C"; but not "C is wrong, B is right".
_ROW = (
    r"[\s*_`)\]]{0,4}(?:[/、&]|\b(?:and|or|nor)\b|和|或者?|与|以?及)\s*"
    r"(?:(?i:options?|choice)\s+|选项\s*)?[\s*_`(\[]{0,4}"
)


_BEFORE_IN_ROW = re.compile(rf"(?<![A-Za-z0-9])[A-Z]{_ROW}$")


_AFTER_IN_ROW = re.compile(rf"{_ROW}[A-Z]{_ALONE}")


# The label of an option at the start of a line: "B. Ann", "- **(B)** Ann", "Option B: Ann".
_LABEL = re.compile(
    rf"[\W\d_]{{0,12}}(?:(?i:option|choice)\s+|选项\s*)?[\W_]{{0,4}}{_LETTER}[*_`\"”]{{0,4}}(?:[.):、\]]|$)[*_`\"”]{{0,4}}"
)


# What judges an option in its line.
_VERDICT = re.compile(
    r"\b(?i:true|right|correct|valid|yes|holds?|fits?|works?|match(?:es)?|follows?|must|possible|consistent)\b"
    r"|[✓✔√✅]|正确|成立|符合|[为是]真|可能|对(?=[^\w]|$)"
)


# "A man" and "A red car", but not "A is", "A fits", "A alone".
_NOUN = re.compile(
    r"[ \t]+(?!(?:\w*[^\Wsu]s|and|or|it|alone|must|would|could|can|cannot|should|will|may|said|told|had|because|since"
    r"|in|for|with|if|but|not|from|to|right|true|correct)\b)[a-z]"
)


_START = re.compile(r"(?:\A|[.!?:;\n\"“(。])[\W\d_]{0,8}\Z")


# What ends a sentence within a line, and what a line may start with.
_END = re.compile(r"(?:[.!?;]+[\"'”’)*_\]]*\s|[。\r\u2028\u2029]|[!?;](?=[^\x00-\x7f]))[”’」』\"')\s]*")


_MARK = re.compile(r"[\W\d]{0,12}")


# As wide as a plain sign, so that places stay where they are.
_NARROW = str.maketrans("！？；", "!?;")


def without_conclusion(completion: str, letters: str) -> str:
    """What stands before a completion's conclusion: the reasoning without the sentence that chooses.

    A choice that is said several times ("The answer is B. ... So the answer is B.") is cut off with its first saying,
    for what is left is to lead to the answer, not to hold it.

    Args:
        letters: as for `read_answer`.

    Returns:
        The text without trailing space; all of it where nothing is chosen, nothing where it begins with the choice.
    """
    text = completion.strip()
    plain = rest = _plain(text)
    statements = _statements(rest, letters)
    answer = statements[-1].letter if statements else None
    while statements and statements[-1].letter == answer:
        *_, first = takewhile(lambda statement: statement.letter == answer, reversed(statements))
        rest = rest[: _sentence(rest, first.start)].rstrip()
        statements = _statements(rest, letters)
    if rest == plain:
        return text
    pieces = [_plain(sign) for sign in text]
    # signs that are one only together (a letter and its accent) are rare: then it is the plain text that is cut
    if "".join(pieces) != plain:
        return rest
    return text[: bisect_right(list(accumulate(map(len, pieces))), len(rest))].rstrip()


def without_choice(text: str, letter: str, *, named: bool = False) -> str:
    """A reasoning without the sentences that single out an option, wherever they stand.

    "Only option B fits." and "Ann is older, which makes B right." say the answer as plainly as a conclusion does; who
    is to conclude from the reasoning would read it off. Where a letter stands for nothing else every mention counts,
    but for one in a row ("A or B") and one in a list of the options that does not judge them.

    Args:
        letter: of the option.
        named: the letter is a name as well, so that only wordings count that no name stands in: "option B".

    Returns:
        The text as it was where nothing is taken out; nothing where no words are left.
    """
    labelled = {label[1] for line in text.split("\n") if (label := _LABEL.match(_plain(line)))}
    lines = []
    for line in text.split("\n"):
        kept = _line_without_choice(line, letter, alone=len(labelled) == 1, named=named)
        if kept or not line:
            lines.append(kept)
    left = "\n".join(lines)
    return left.strip() if any(map(str.isalnum, left)) else ""


def is_name(letter: str, text: str) -> bool:
    """Whether a letter is a name in a problem, as of people called A, B and C.

    Neither the article "A" nor the pronoun "I" is one; but as nobody can tell the pronoun from the letter, "I" is
    always taken for a name.
    """
    plain = _plain(text)
    return letter == "I" or any(match[1] == letter and not _is_article(match) for match in _MENTION.finditer(plain))


def _sentence(text: str, place: int) -> int:
    """Where the sentence or the line that holds a place starts."""
    line = text.rfind("\n", 0, place) + 1
    ends = [match.end() for match in _END.finditer(text, line, place + 1) if match.end() <= place]
    start = ends[-1] if ends else line
    # of a line that is nothing else the mark before it goes too: "3. ", "- **"
    return line if _MARK.fullmatch(text, line, start) else start


def _line_without_choice(line: str, letter: str, *, alone: bool, named: bool) -> str:
    """A line without its sentences that single out an option; nothing where no words are left of it.

    Args:
        alone: of the options no other one stands at the start of a line.
    """
    plain = _plain(line)
    # signs that are one only together are rare: then it is the plain text that is cut
    text = line if len(plain) == len(line) else plain
    label = _LABEL.match(plain)
    start = 0
    # "B: I am a knight" is what B says
    if label and label[1] == letter and not (named and ":" in label[0] and not _CLEAR.search(label[0])):
        if alone or _VERDICT.search(plain) or _CLEAR.search(label[0]):
            return ""
        start = label.end()
    pieces = _sentences(text, start)
    kept = [piece for piece in pieces if not _singles_out(_plain(piece), letter, named=named)]
    if len(kept) == len(pieces):
        return line
    left = "".join(kept).rstrip()
    return text[:start] + left if any(map(str.isalnum, left)) else ""


def _sentences(line: str, start: int) -> list[str]:
    """The sentences of a line from a place on; a mark before the first one belongs to it."""
    ends = [match.end() for match in _END.finditer(line.translate(_NARROW), start)]
    places = [start, *(end for end in ends if not _MARK.fullmatch(line, start, end)), len(line)]
    return [line[left:right] for left, right in pairwise(places) if left < right]


def _singles_out(sentence: str, letter: str, *, named: bool) -> bool:
    """Whether a plain sentence mentions an option otherwise than in a row with others."""
    mentions = [*_CLEAR.finditer(sentence), *([] if named else _MENTION.finditer(sentence))]
    return any(_letter(each) == letter and not _is_article(each) and not _is_in_row(each) for each in mentions)


def _is_article(match: re.Match[str]) -> bool:
    """Whether the letter of a match is the "A" that a sentence starts with: "A man ..."."""
    text, start = match.string, match.start()
    return (
        match[0] == "A"
        and _NOUN.match(text, match.end()) is not None
        and _START.search(text[max(0, start - 9) : start]) is not None
    )


def _is_in_row(match: re.Match[str]) -> bool:
    """Whether the letter of a match stands in a row with other ones."""
    text, (start, end) = match.string, match.span(match.lastindex or 0)
    before = text[max(0, start - 30) : start]
    return _AFTER_IN_ROW.match(text, end) is not None or _BEFORE_IN_ROW.search(before) is not None
