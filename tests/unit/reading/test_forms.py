"""Every form that is recognized has a name of its own, and examples of what it matches and what it does not."""

import re
from collections import Counter

import pytest

from errata.reading.answers import (
    AT_LINE_START,
    CALLED_RIGHT,
    LETTER_ALONE,
    NEGATION,
    REQUESTED,
    USUAL,
    find_choice,
    find_choices,
)
from errata.reading.choices import AN_OPTION, VERDICT
from errata.reading.forms import Form, Forms
from errata.reading.giveaway import GIVEAWAYS, Giveaway, find_giveaway, gives_away
from errata.reading.letters import plain_text

ANSWERS = [*REQUESTED, *USUAL, *CALLED_RIGHT, *AT_LINE_START, *LETTER_ALONE]
OTHERS = (NEGATION, AN_OPTION, VERDICT)


def name(form: Form) -> str:
    return form.name


@pytest.mark.parametrize("form", ANSWERS, ids=name)
def test_each_form_of_an_answer_reads_its_example(form: Form) -> None:
    choice = find_choice(form.example, "ABCD")
    assert choice is not None
    assert (choice.letter, choice.form.name) == ("B", form.name)
    if form.but_not:
        assert form.name not in {choice.form.name for choice in find_choices(plain_text(form.but_not), "ABCD")}


@pytest.mark.parametrize("form", list(GIVEAWAYS), ids=name)
def test_each_form_of_a_giveaway_finds_its_example(form: Form) -> None:
    found = find_giveaway(form.example)
    assert found is not None
    assert found.form.name == form.name
    assert gives_away(f"Ann is older than Bob. 甲比乙大。\n{form.example}\nThe answer is B")
    assert not gives_away(form.but_not)


@pytest.mark.parametrize("forms", OTHERS, ids=lambda forms: next(iter(forms)).name)
def test_each_other_form_finds_its_example(forms: Forms) -> None:
    for form in forms:
        match = forms.search(plain_text(form.example))
        assert match is not None, form.name
        assert forms.form_of(match).name == form.name
        assert not (form.but_not and forms.search(plain_text(form.but_not))), form.name


@pytest.mark.parametrize("forms", [ANSWERS, GIVEAWAYS, *OTHERS], ids=lambda forms: next(iter(forms)).name)
def test_names_are_unique_and_languages_fit_the_examples(forms: Forms) -> None:
    assert [each for each, count in Counter(form.name for form in forms).items() if count > 1] == []
    for form in forms:
        if form.language != "any":
            assert bool(re.search(r"[\u4e00-\u9fff]", form.example)) is (form.language == "Chinese"), form.name


def test_a_giveaway_says_which_words_and_which_form() -> None:
    found = find_giveaway("Ann is older.\nThe **given\u200b answer** is B, and 标准答案是B。")
    assert found == Giveaway(next(form for form in GIVEAWAYS if form.name == "the given answer"), "given answer")
    assert find_giveaway("Ann is older. The answer is B") is None


def test_where_two_forms_match_at_one_place_the_first_wins() -> None:
    forms = Forms(Form("long", "any", "abc", "abc"), Form("short", "any", "ab", "ab"), Form("line", "any", "^x", "x"))
    names = [forms.form_of(match).name for match in forms.finditer("abc ab\nx")]
    assert names == ["long", "short", "line"]
