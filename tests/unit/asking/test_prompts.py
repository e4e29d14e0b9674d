"""Prompt templates: they contain the user's texts unchanged and ask for the form that is read later."""

import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.asking.prompts import PURPOSES, check, read
from errata.core.errors import Faults, UserError
from errata.data.records import LETTERS, Problem, Question
from errata.reading.answers import read_answer
from helpers import PROMPTS

TEXT = st.text(max_size=20) | st.sampled_from(
    ["{problem}", "{question}", "{options}", "{answer}", "{}", "{0}", "%s", "\\1", "a\nb", "题 "]
)
KINDS = ["answer", "answer-short", "distill", "distill-short", "reflect", "reflect-short", "conclude"]
FILES = [PROMPTS / language / f"{kind}.txt" for language in ("en", "zh") for kind in KINDS]


def purpose(path: Path) -> str:
    return path.stem.removesuffix("-short")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
@given(problem=TEXT, question=TEXT, options=st.lists(TEXT, min_size=2, max_size=26), right=st.integers(0, 25))
def test_the_prompt_contains_the_texts_unchanged_and_in_order(
    path: Path, problem: str, question: str, options: list[str], right: int
) -> None:
    template = read(path, purpose(path))
    asked = Question(0, question, tuple(options), LETTERS[right % len(options)])
    prompt = template.render(Problem("p", problem, (asked,)), asked)
    lettered = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    texts = {"problem": problem, "question": question, "options": lettered, "answer": asked.answer or ""}
    # text, field, text, field, ...
    pieces = re.split(r"\{(\w+)\}", template.text)
    expected = "".join(texts[piece] if number % 2 else piece for number, piece in enumerate(pieces))
    assert prompt == expected


def test_both_languages_have_a_prompt_of_each_kind_that_asks_for_the_form_that_is_read() -> None:
    assert sorted(PROMPTS.rglob("*.txt")) == sorted(FILES)
    # the prompt explains the closed world and asks for a form that is read
    said = {"en": ("false", "The answer is"), "zh": ("假", "因此答案是：")}
    for path in FILES:
        text = read(path, purpose(path)).text
        closed_world, form = said[path.parent.name]
        # the right letter may occur several times
        assert all(text.count(f"{{{field}}}") == 1 for field in PURPOSES[purpose(path)].needed if field != "answer")
        assert form in text
        assert read_answer(f"{form} B", LETTERS) == "B"
        if "{problem}" in text:
            assert closed_world in text
        if purpose(path) == "reflect":
            assert {"en": '"Solution:"', "zh": "“解答：”"}[path.parent.name] in text


def test_the_prompts_are_byte_for_byte_those_of_earlier_versions() -> None:
    digests = {f"{path.parent.name}/{path.stem}": read(path).digest for path in FILES if purpose(path) == "answer"}
    # with another text, all questions in the journals would be asked again
    assert digests == {
        "en/answer": "9a9a4d5546d7",
        "en/answer-short": "e11b3e331576",
        "zh/answer": "7ba522250913",
        "zh/answer-short": "5fca4e34b042",
    }


def test_the_digest_is_of_the_stripped_text(tmp_path: Path) -> None:
    text = "{problem} {question} {options}"
    (tmp_path / "a.txt").write_text(f"\n{text}\n\n")
    template = read(tmp_path / "a.txt")
    assert (template.text, template.digest) == (text, hashlib.sha256(text.encode()).hexdigest()[:12])


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("answer", "{problem} {question}", "must say where the options goes. Put {options} there"),
        ("answer", "{problem} {question} {options} {naem}", "has no field {naem}"),
        ("answer", "{problem} {question} {options} {answer}", "has no field {answer}"),
        ("distill", "{problem} {question} {options}", "must say where the answer goes"),
        ("reflect", "Wrong. Again.", "must say where the answer goes"),
        ("conclude", "It is {answer}.", "has no field {answer}; there are: none"),
        ("conclude", " \n", "is empty"),
    ],
)
def test_an_invalid_template_is_reported_with_its_file(tmp_path: Path, kind: str, text: str, message: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: .*{re.escape(message)}"):
        read(path, kind)


def test_a_missing_file_or_one_that_is_not_text_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.txt: cannot read"):
        read(tmp_path / "no.txt")
    (tmp_path / "latin.txt").write_bytes("später".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt: is not UTF-8 text .*Save it as UTF-8"):
        read(tmp_path / "latin.txt")


def test_the_faults_of_all_templates_are_reported_at_once(tmp_path: Path) -> None:
    texts = {"answer": "{problem} {question} {options} {answer}", "reflect": "Wrong.", "conclude": "So?"}
    for purpose, text in texts.items():
        (tmp_path / purpose).write_text(text)
    with pytest.raises(Faults) as refused:
        check({purpose: tmp_path / purpose for purpose in [*texts, "distill"]})
    given_away, unfilled, missing = refused.value.faults
    assert "a prompt for answer has no field {answer}" in given_away
    assert "a prompt for reflect must say where the answer goes" in unfilled
    assert f"{tmp_path}/distill" in missing
