"""What a model is asked: the user's texts, unchanged."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.prompts import LANGUAGES, render, template
from errata.reading import read_answer
from errata.records import LETTERS, Problem, Question

TEXT = st.text(max_size=20) | st.sampled_from(
    ["{problem}", "{question}", "{options}", "{}", "{0}", "%s", "\\1", "a\nb", "题 "]
)


@pytest.mark.parametrize("language", LANGUAGES)
@given(problem=TEXT, question=TEXT, options=st.lists(TEXT, min_size=2, max_size=26))
def test_texts_stand_unchanged_and_in_order_in_the_prompt(
    language: str, problem: str, question: str, options: list[str]
) -> None:
    asked = Question(0, question, tuple(options), None)
    prompt = render(template(language), Problem("p", problem, (asked,)), asked)
    lettered = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    texts = {"problem": problem, "question": question, "options": lettered}
    # text, field, text, field, ...
    pieces = re.split(r"\{(\w+)\}", template(language))
    expected = "".join(texts[piece] if number % 2 else piece for number, piece in enumerate(pieces))
    assert prompt == expected


def test_both_languages_of_the_data_have_a_prompt_that_asks_for_what_is_read() -> None:
    assert set(LANGUAGES) == {"en", "zh"}
    for language in LANGUAGES:
        text = template(language)
        assert all(text.count(field) == 1 for field in ("{problem}", "{question}", "{options}"))
    # the closed world is said in words: what is not stated is false
    assert "false" in template("en")
    assert "假" in template("zh")
    # the forms that the prompts ask for are those that are read
    assert '"The answer is X"' in template("en")
    assert read_answer("The answer is X", LETTERS) == "X"
    assert "因此答案是：A" in template("zh")
    assert read_answer("因此答案是：A", "AB") == "A"
