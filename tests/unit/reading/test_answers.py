"""Which letter a completion chooses."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.data.records import LETTERS
from errata.reading.answers import read_answer

REQUESTED = {
    "The answer is B": "B",
    "the answer is B.": "B",
    "The answer is: B": "B",
    "The answer is:B": "B",
    "THE ANSWER IS B": "B",
    "The answer is\tC": "C",
    "The answer is\r\nC\r\n": "C",
    "The answer is: \n\n**B**": "B",
    "The answer is **B**.": "B",
    "**The answer is B**": "B",
    "**The answer is:** B": "B",
    "The answer is **B. Paul**": "B",
    "The answer is: **C) Anna**": "C",
    "The answer is ***C***": "C",
    "The answer is_B_": "B",
    "The answer is: `C`": "C",
    "> The answer is C": "C",
    "The answer is (B).": "B",
    "Therefore, the answer is **(C)**.": "C",
    "The answer is <B>": "B",
    'The answer is "B".': "B",
    "The answer is ‘B’": "B",
    "The answer is option B": "B",
    "The answer is option **B**": "B",
    "The answer is option (B)": "B",
    "The answer is the option B": "B",
    "The answer is letter B": "B",
    "The answer is choice C": "C",
    "The answer is $\\boxed{B}$.": "B",
    "The answer is \\(\\boxed{\\text{B}}\\)": "B",
    "The answer is $\\boxed{\\text{(B)}}$": "B",
    "The answer is $\\text{B}$": "B",
    "The final answer is $\\boxed{B}$. I hope it is correct.": "B",
    "The correct answer is\n\nB": "B",
    "The answer is D. Dedecker and Jacobs.": "D",
    "The answer is b.": "B",
    "The answer is a": "A",
    # copied from a web page, or typed on a full-width keyboard
    "The answer is \u00a0B": "B",
    "The answer is \u200bB": "B",
    "The answer is 𝐁": "B",
    "The answer is Ⓑ": "B",
    # the sentence goes on
    "The answer is A because Paul is older.": "A",
    "The answer is A, because B is younger.": "A",
    "The answer is A as stated": "A",
    "The answer is A - Paul": "A",
    "The answer is A Paul": "A",
    "The answer is A) a man": "A",
    "The answer is A: Anna is older than Paul.": "A",
    "The answer is A. A man named Paul.": "A",
    "The answer is A, not B.": "A",
    "The answer is A, and B is wrong": "A",
    "The answer is B and C is wrong": "B",
    "The answer is B.\n\nExplanation: option A is wrong because": "B",
    "The answer is B.\n\nA. Paul\nB. Anna": "B",
    "The answer is B\nA. Paul": "B",
    # the last choice counts
    "The answer is A.\nWait, let me check.\nThe answer is C.": "C",
    "The answer is not A. The answer is C.": "C",
    "If the answer is A, Paul lies. So the answer is B.": "B",
    "If Paul is older, then the answer is B.": "B",
    "Paul is not older so the answer is B": "B",
    'The form is "The answer is X", where X is the letter.\nThe answer is B': "B",
    # Chinese
    "因此答案是：B": "B",
    "因此答案是:B。": "B",
    "因此答案是：Ｂ": "B",
    "因此答案是：Ａ．保罗": "A",
    "因此，答案是 B": "B",
    "综上所述，答案是C。": "C",
    "因此答案是：**B**": "B",
    "因此答案是: **C. le chat**": "C",
    "因此答案是：（B）": "B",
    "因此答案是：【B】": "B",
    "答案是“B”": "B",
    "答案是「C」": "C",
    "因此答案是：选项B": "B",
    "因此答案是：选项 C。": "C",
    "因此答案是：B. 保罗": "B",
    "因此答案是：B、保罗": "B",
    "因此答案是：B保罗": "B",
    "因此答案是：D（王五）": "D",
    "因此答案是：c": "C",
    "答案是\nB": "B",
    "答案是$\\boxed{C}$": "C",
    "正确答案是：C": "C",
    "因此，正确答案是 **B. 保罗**。": "B",
    "因此答案是：A。\n\n（注：选项B错误）": "A",
    "若答案是A，则矛盾。因此答案是：B": "B",
}

USUAL = {
    "Answer: B": "B",
    "**Answer: B**": "B",
    "**Answer:** B": "B",
    "### Answer\n\n**B**": "B",
    "Answer:\nB": "B",
    "Final Answer: B": "B",
    "Answer - B": "B",
    "Answer B": "B",
    "Answer: b": "B",
    "Ans: B": "B",
    "answer = B": "B",
    "<answer>B</answer>": "B",
    '{"answer": "B"}': "B",
    "The answer's B": "B",
    "The answer should be B": "B",
    "The answer must be C.": "C",
    "So the answer is clearly B.": "B",
    "So the answer is indeed B.": "B",
    "The answer is therefore B.": "B",
    "The answer is actually C, since": "C",
    "The answer to the question is B.": "B",
    "The answer to this question is: B": "B",
    "The answer to question 1 is B.": "B",
    "The correct option is B: Paul": "B",
    "The correct choice is therefore B": "B",
    "Correct answer: B": "B",
    "The solution is A.": "A",
    "My choice is C.": "C",
    "I choose B.": "B",
    "I would go with B": "B",
    "\\boxed{B}": "B",
    "$\\boxed{\\textbf{B}}$": "B",
    "Thus, B is the correct answer.": "B",
    "Option B is the correct answer.": "B",
    "So B is correct.": "B",
    "(B) is the right choice.": "B",
    "Option A is not correct. Option B is correct.": "B",
    "答案：B": "B",
    "**答案**：B": "B",
    "所以答案为B": "B",
    "答案应该是B": "B",
    "答案应为B": "B",
    "答案就是B": "B",
    "答案选B": "B",
    "最终答案：$\\boxed{C}$": "C",
    "正确答案为C": "C",
    "正确选项是D": "D",
    "正确的选项是B": "B",
    "正确的答案是B": "B",
    "应选择B": "B",
    "故选：C": "C",
    "故选 C。": "C",
    "本题选B": "B",
    "选B": "B",
    "选项A错误，选项B正确": "B",
    "因此选项B是正确答案": "B",
    "所以，B选项正确。": "B",
    "B是正确答案": "B",
    # only the option
    "B": "B",
    "B.": "B",
    " (B)\n": "B",
    "**B**": "B",
    "[B]": "B",
    "`B`": "B",
    "b": "B",
    "b)": "B",
    "B. Paul": "B",
    "**B)** Paul": "B",
    "A: Paul": "A",
    "Paul is older, so we get\n\nB. Paul": "B",
}

NOTHING = [
    "",
    " \n ",
    "I don't know.",
    "The answer is X.",
    "The answer is indeed X.",
    "The answer is E",
    "因此答案是：G",
    # words, not letters
    "The answer is Anna",
    "The answer is A man named Paul.",
    "The answer is a man.",
    "A man walks into a bar.",
    "The answer is I think B",
    "The answer is B-flat",
    "The answer is A's sister",
    "The answer is C++",
    "A is older than B. B is older than C.",
    "B is the oldest.",
    # negated, supposed or asked
    "The answer is not A.",
    "The answer isn't A.",
    "Answer: not A",
    "The correct answer is not B",
    "I don't think the correct answer is A",
    "If the answer is A, Paul lies.",
    "If we choose A, we get a contradiction. So Paul must be it.",
    "Is option B correct?",
    "答案不是A",
    "不应选A",
    "不选A",
    "选项A不正确",
    "如果选A，则矛盾。",
    "选A的话会矛盾",
    "假设正确答案是A",
    "候选A",
    # more than one letter
    "The answer is A or B.",
    "The answer is either A or B.",
    "The answer is A and C.",
    "The answer is A, B",
    "The answer is A/B",
    "The answer is A B C D",
    "The answer is a, b or c",
    "因此答案是：A和B",
    "答案是A或B",
    "Option A is correct. Option B is correct. Option C is wrong.",
    "选项A正确，选项B正确，选项C错误",
    # the list of options repeated
    "A. Paul\nB. Anna\nC. Tom\nD. Eve",
    "A) Paul\nB) Anna",
    "**A.** Paul\n**B.** Anna",
    "A. 保罗\nB. 安娜",
    "选项A：错误\n选项B：正确",
]


@pytest.mark.parametrize(("completion", "letter"), REQUESTED.items())
def test_the_requested_form_is_read_in_every_layout(completion: str, letter: str) -> None:
    assert read_answer(completion, "ABCD") == letter


@pytest.mark.parametrize(("completion", "letter"), USUAL.items())
def test_the_usual_forms_are_read_too(completion: str, letter: str) -> None:
    assert read_answer(completion, "ABCD") == letter


@pytest.mark.parametrize("completion", NOTHING)
def test_nothing_is_read_where_nothing_is_chosen(completion: str) -> None:
    assert read_answer(completion, "ABCD") is None


FORMS = ["The answer is {}", "The answer is **{}**.", "因此答案是：{}", "the answer is ({})", "正确答案是 {}。"]
USUAL_FORMS = [
    "Answer: {}",
    "**Answer:** {}",
    "答案：{}",
    "故选{}。",
    "\\boxed{{{}}}",
    "I choose {}.",
    "The correct option is {}.",
]
# Text around a choice that chooses nothing itself.
PROSE = st.lists(
    st.sampled_from(
        [
            "Paul is older than Anna.",
            "Option A is wrong.",
            "张三比李四大。",
            "Step 1:",
            "选项B错误。",
            "So",
            "因此",
            "- then",
            "C is not said.",
        ]
    ),
    max_size=5,
).map("\n".join)
ALPHABET = st.integers(2, 26).map(lambda count: LETTERS[:count])
ANYTHING = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            [
                *"ABCDEZ",
                *"abi",
                "The answer is",
                "答案是",
                "选",
                "Option",
                "is correct",
                "\n",
                " ",
                ": ",
                "**",
                "\\boxed{",
                "}",
                "or",
                "not",
                ". ",
            ]
        ),
        max_size=30,
    ).map("".join),
)


@given(ANYTHING, ALPHABET)
def test_only_letters_of_options_are_read(completion: str, letters: str) -> None:
    assert read_answer(completion, letters) in {None, *letters}


@given(PROSE, st.lists(st.sampled_from("ABCD"), min_size=1, max_size=6), PROSE, st.sampled_from(FORMS))
def test_the_last_choice_counts(before: str, chosen: list[str], after: str, form: str) -> None:
    completion = "\n".join([before, *(form.format(letter) for letter in chosen), after])
    assert read_answer(completion, "ABCD") == chosen[-1]


@given(
    st.sampled_from("ABCD"),
    st.sampled_from(FORMS),
    st.sampled_from("ABCD"),
    st.sampled_from(USUAL_FORMS),
    st.booleans(),
)
def test_the_requested_form_counts_more_than_a_usual_one(
    requested: str, form: str, usual: str, other_form: str, requested_first: bool
) -> None:
    lines = [form.format(requested), other_form.format(usual)]
    assert read_answer("\n\n".join(lines if requested_first else lines[::-1]), "ABCD") == requested


@given(st.sampled_from("ABCD"), st.sampled_from(FORMS + USUAL_FORMS), st.sampled_from("EFGHXYZ"))
def test_a_letter_that_is_no_option_does_not_hide_an_earlier_choice(letter: str, form: str, beyond: str) -> None:
    assert read_answer(f"{form.format(letter)}\n{form.format(beyond)}", "ABCD") == letter


@given(
    st.integers(2, 26),
    st.sampled_from(["{}. {}", "{}) {}", "({}) {}", "**{}.** {}", "{}、{}", "{}：{}", "- {}. {}"]),
    st.text("Paul Anna张三", min_size=1, max_size=8),
)
def test_a_repeated_list_of_options_chooses_nothing(count: int, form: str, option: str) -> None:
    completion = "\n".join(form.format(letter, option) for letter in LETTERS[:count])
    assert read_answer(completion, LETTERS[:count]) is None


@pytest.mark.parametrize(
    "piece",
    [
        "answer is ",
        " ",
        "\n",
        "*",
        "\n* ",
        "选",
        "选A",
        "A ",
        "A, ",
        "A is ",
        "answer is text{",
        "answer to the question ",
        "not the correct ",
    ],
)
def test_a_repeated_phrase_is_read_in_linear_time(piece: str) -> None:
    completion = "The answer is" + piece * (100_000 // len(piece))
    start = time.process_time()
    read_answer(completion, "ABCD")
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize(
    "completion", ["A" + " " * 50_000 + "x", "So B\n" + "\n" * 50_000 + "B. x", "B\n" * 20_000 + "x"]
)
def test_long_white_space_around_a_letter_is_read_in_linear_time(completion: str) -> None:
    start = time.process_time()
    read_answer(completion, "ABCD")
    assert time.process_time() - start < 1.0
