"""The heading between the critique of a mistake and the solution that may be trained on."""

import re
from typing import NamedTuple

_NEW = (
    r"(?:(?:new|corrected|correct|revised|right|proper|improved|updated|fresh|clean|full|final|brief|detailed"
    r"|step[ -]by[ -]step)[ \t]+)"
)
_ZH_NEW = r"(?:(?:新|正确|重新|全新|完整|详细|逐步|最终|修正后|更正后|改正后|纠正后)的?)"
_EN_TITLE = (
    r"(?:(?:here[ \t]+is|here['’]s)[ \t]+)?(?:(?:the|a|my)[ \t]+)?"
    # "Solution" stands alone; "reasoning" alone may be the wrong one, so it needs an adjective as in "New reasoning"
    rf"(?:{_NEW}{{0,3}}solution|{_NEW}{{1,3}}(?:reasoning|analysis|explanation)|reasoning[ \t]+anew)"
)
# 解答, 解答如下, 正确解答, 新的推理
_ZH_TITLE = (
    rf"(?:(?:以下|下面)是)?(?:{_ZH_NEW}{{0,3}}解答|{_ZH_NEW}{{1,3}}(?:推理|分析|思路|推导|解析|解法))"
    r"(?:过程|步骤)?(?:如下)?"
)
_TITLE = f"{_EN_TITLE}|{_ZH_TITLE}"
_MARKS = r"[ \t#>*_]{0,16}"
_HEADING = re.compile(
    # at the start of a line, numbered or marked; the solution follows below or in the same line after a colon
    rf"^{_MARKS}(?:\d{{1,2}}[.)、][ \t]*)?(?:{_TITLE})(?:[ \t*_]{{0,8}}[:：][ \t*_]*|[ \t*_]*$)"
    # at the start of a sentence within a line, with a colon
    rf"|(?<=[.!?。！？”\"]){_MARKS}(?:{_TITLE})[ \t*_]{{0,8}}[:：][ \t*_]*",
    re.IGNORECASE | re.MULTILINE,
)


class Parts(NamedTuple):
    """The text above the last heading and the text below it."""

    critique: str
    solution: str


def split_at_heading(text: str) -> Parts | None:
    """Split a reflection at its last heading; None without one, because nobody can tell critique and solution apart."""
    headings = list(_HEADING.finditer(text))
    if not headings:
        return None
    return Parts(text[: headings[-1].start()].strip(), text[headings[-1].end() :].strip())
