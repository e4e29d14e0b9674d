"""What stands before a completion's conclusion."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.reading import read_answer, without_conclusion


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("Ann is older. The answer is B", "Ann is older."),
        (
            "Ann is older than Bob. Paul has 3.5 dogs. So, the answer is (B).\n",
            "Ann is older than Bob. Paul has 3.5 dogs.",
        ),
        ("Ann is older,\nso it is not A\n\n**Answer:** B\nDone.", "Ann is older,\nso it is not A"),
        ("1. Ann is older.\n2. The answer is B.", "1. Ann is older."),
        ("She said “Yes!” Thus the answer is B", "She said “Yes!”"),
        ("Since Ann is older, the answer is B", ""),
        ("The answer is B", ""),
        ("B", ""),
        ("(b)", ""),
        # said twice, it is cut off with its first saying, whatever stands between
        ("Ann is older. The answer is B. For Bob is not. The answer is B.", "Ann is older."),
        # what was chosen before and is not in the end is a part of the reasoning
        ("The answer is A. But no, Ann is older. The answer is B.", "The answer is A. But no, Ann is older."),
        ("甲比乙大，所以乙不是。因此答案是：Ｂ", "甲比乙大，所以乙不是。"),
        ("甲比乙大！\n\n因此答案是：B", "甲比乙大！"),
        ("因为甲比乙大，所以选B。", ""),
        ("e\u0301 is old. The answer is B", "é is old."),
        ("Ann is\u200b older. The answer is B", "Ann is\u200b older."),
        ("Ann is older.", "Ann is older."),
        ("", ""),
    ],
)
def test_the_reasoning_is_what_stands_before_the_sentence_that_chooses(text: str, reasoning: str) -> None:
    assert without_conclusion(text, "ABCD") == reasoning


@given(
    st.lists(
        st.sampled_from(
            [*"甲ＢBb .。!\n:1(", "The answer is ", "答案是", "Ann is older. ", "A", "选", "\u0301", "\u200b"]
        )
    )
)
def test_the_reasoning_never_holds_the_choice_and_is_a_beginning_of_the_text(signs: list[str]) -> None:
    text = "".join(signs)
    reasoning = without_conclusion(text, "AB")
    answer = read_answer(text, "AB")
    assert unicodedata.normalize("NFKC", text.strip()).startswith(unicodedata.normalize("NFKC", reasoning))
    assert answer is None or read_answer(reasoning, "AB") != answer


def test_a_choice_said_over_and_over_is_cut_off_in_no_time() -> None:
    start = time.process_time()
    assert without_conclusion("Ann is older. " + "The answer is B. " * 300, "ABCD") == "Ann is older."
    assert time.process_time() - start < 2
