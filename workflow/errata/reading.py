"""Reading the chosen letter out of a completion: the exact form first, looser forms second, last match wins."""

import re
import unicodedata
from bisect import bisect_right
from itertools import accumulate, pairwise, takewhile
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


def read_answer(completion: str, letters: str) -> str | None:
    """The letter that a completion chooses, or None where it chooses none that can be read.

    Args:
        completion: the model's text, Chinese or English.
        letters: the letters of the question's options, e.g. "ABCD"; no other letter is ever returned.
    """
    statements = _statements(_plain(completion), letters)
    return statements[-1].letter if statements else None


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
