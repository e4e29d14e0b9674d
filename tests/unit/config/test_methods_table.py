"""The table of methods is consistent, and agrees with the steps that ask and train."""

from typing import get_args

import pytest

from errata.asking.prompts import PURPOSES
from errata.config.configuration import Prompts
from errata.config.methods import ASKING_METHODS, METHODS, MethodSpec, Stage, methods_with
from errata.config.strategy_options import StrategyOptions
from helpers import PROMPTS

SPECS = METHODS.items()


@pytest.mark.parametrize(("name", "spec"), SPECS, ids=list(METHODS))
def test_an_entry_is_complete(name: str, spec: MethodSpec) -> None:
    assert spec.stage in get_args(Stage)
    # completions are asked for by a method that asks for its own
    assert METHODS[spec.completions].completions == spec.completions
    assert spec.options <= set(StrategyOptions.model_fields)
    assert set(spec.prompts) <= set(Prompts.model_fields)
    assert set(spec.prompts) <= set(PURPOSES)
    if spec.completions != name:
        assert not spec.prompts, "a method that takes another's completions asks nothing"
    if spec.shows_mistake:
        assert "questions" not in spec.options, "there is no mistake in a right answer"


@pytest.mark.parametrize("name", ASKING_METHODS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_prompt_of_a_method_has_a_template(name: str, language: str) -> None:
    assert [purpose for purpose in METHODS[name].prompts if not (PROMPTS / language / f"{purpose}.txt").is_file()] == []


def test_the_facts_of_each_method() -> None:
    assert ASKING_METHODS == ("self", "distill", "reflect")
    assert {name: spec.stage for name, spec in SPECS} == {
        "self": "sft",
        "distill": "sft",
        "reflect": "sft",
        "dpo": "dpo",
    }
    assert {name: methods_with(name) for name in ("teacher", "questions", "pairs", "replay")} == {
        "teacher": ["distill"],
        "questions": ["distill"],
        "pairs": ["dpo"],
        "replay": ["self", "distill", "reflect"],
    }
    assert [name for name, spec in SPECS if spec.verified] == ["reflect"]
    assert [name for name, spec in SPECS if spec.gives_answer] == ["distill", "reflect"]
    assert [name for name, spec in SPECS if not spec.first_wrong_only] == ["distill"]
