"""Where sentences start and end in lines of English or Chinese."""

import re
from itertools import pairwise

# The end of a sentence within a line: ". ", "?!\" ", "。", "!" before a Chinese character. A match starts at the last
# of several marks, so that a long row of marks is not searched again from each of them.
_END = re.compile(r"(?:[.!?;][\"'”’)*_\]]*\s|[。\r\u2028\u2029]|[!?;](?=[^\x00-\x7f]))[”’」』\"')\s]*")
# A mark before a sentence: "3. ", "- **".
_MARK = re.compile(r"[\W\d]{0,12}")
# Full-width marks as plain ones of the same length, so that places stay the same.
_NARROW = str.maketrans("！？；", "!?;")


def sentence_start(text: str, place: int) -> int:
    """The start of the sentence at a place of a plain text, including the mark before the sentence."""
    line = text.rfind("\n", 0, place) + 1
    ends = [match.end() for match in _END.finditer(text, line, place + 1) if match.end() <= place]
    start = ends[-1] if ends else line
    return line if _MARK.fullmatch(text, line, start) else start


def split_sentences(line: str, start: int) -> list[str]:
    """The sentences of a line from `start` on; a mark before the first one belongs to it."""
    ends = [match.end() for match in _END.finditer(line.translate(_NARROW), start)]
    places = [start, *(end for end in ends if not _MARK.fullmatch(line, start, end)), len(line)]
    return [line[left:right] for left, right in pairwise(places) if left < right]
