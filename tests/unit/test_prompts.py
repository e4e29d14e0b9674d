"""What a model is asked: the user's texts, unchanged."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.prompts import NAMES, render, template
from errata.reading import read_answer
from errata.records import LETTERS, Problem, Question

TEXT = st.text(max_size=20) | st.sampled_from(
    ["{problem}", "{question}", "{options}", "{}", "{0}", "%s", "\\1", "a\nb", "题 "]
)


@pytest.mark.parametrize("name", NAMES)
@given(problem=TEXT, question=TEXT, options=st.lists(TEXT, min_size=2, max_size=26))
def test_texts_stand_unchanged_and_in_order_in_the_prompt(
    name: str, problem: str, question: str, options: list[str]
) -> None:
    asked = Question(0, question, tuple(options), None)
    prompt = render(template(name), Problem("p", problem, (asked,)), asked)
    lettered = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    texts = {"problem": problem, "question": question, "options": lettered}
    # text, field, text, field, ...
    pieces = re.split(r"\{(\w+)\}", template(name))
    expected = "".join(texts[piece] if number % 2 else piece for number, piece in enumerate(pieces))
    assert prompt == expected


def test_both_languages_have_a_prompt_of_each_kind_that_asks_for_what_is_read() -> None:
    assert set(NAMES) == {"en", "en-short", "zh", "zh-short"}
    # the closed world is said in words, and the form asked for is one that is read
    said = {"en": ("false", "The answer is X", "X"), "zh": ("假", "因此答案是：A", "A")}
    for name in NAMES:
        text = template(name)
        closed_world, form, letter = said[name.removesuffix("-short")]
        assert all(text.count(field) == 1 for field in ("{problem}", "{question}", "{options}"))
        assert closed_world in text
        assert form in text
        assert read_answer(form, LETTERS) == letter
