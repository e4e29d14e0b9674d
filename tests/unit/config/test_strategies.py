"""The strategies of a configuration, their starts, and the completions that they share."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.config.strategies import Strategies
from errata.config.validation import validate
from errata.config.variants import Variant, fold_name, round_name


def of(strategies: Any, ablation: Any = (), **sections: Any) -> Strategies:
    config = {
        "dataset": {"train": "a", "test": "b", **sections.pop("dataset", {})},
        "models": {"m": {"source": "x"}, "t": {"source": "y"}},
        "strategies": strategies,
        "ablation": dict(ablation) if isinstance(ablation, dict) else list(ablation),
        **sections,
    }
    return Strategies.of(validate(config))


def test_strategies_with_the_same_requests_share_completions() -> None:
    strategies = of(
        {"a": {"method": "self", "keep": 2}, "b": {"method": "self", "replay": 0.5}, "dpo": {}, "reflect": {}}
    )
    assert {name: strategies.retries(name) for name in strategies} == {
        # it asks for longer, and that must not count as a cost of the others
        "a": "a",
        "b": "b",
        "dpo": "b",
        "reflect": "reflect",
    }


def test_keep_in_the_ablation_does_not_change_the_whole_pipeline() -> None:
    strategies = of(["self"], {"more": {"method": "self", "keep": 3}})
    assert [(strategies.retries(name), strategies[name].keep) for name in ("self", "more")] == [
        ("self", 1),
        ("more", 3),
    ]


def test_a_chain_of_strategies_counts_shared_requests_once() -> None:
    strategies = of({"self": {"rounds": 2}, "dpo": {"start_from": "self", "keep": 3}, "distill": {}})
    assert strategies.distinct_retries(["dpo", "self"]) == ["dpo"]
    assert strategies.distinct_retries(["self", "dpo"]) == ["dpo"]
    assert strategies.distinct_retries(["self-round2", "self"]) == ["self-round2", "self"]
    assert strategies.distinct_retries(["distill", "self"]) == ["distill", "self"]


def test_another_teacher_or_other_questions_are_other_completions() -> None:
    options = [{}, {"teacher": "t"}, {"questions": "all"}, {"teacher": "t", "keep": 3}]
    strategies = of({f"d{number}": {"method": "distill", **each} for number, each in enumerate(options)})
    assert [strategies.retries(name) for name in strategies] == ["d0", "d1", "d2", "d3"]


def test_a_round_asks_and_trains_the_model_of_the_round_before() -> None:
    strategies = of({"self": {"rounds": 3}, "dpo": {"start_from": "self"}})
    assert list(strategies) == ["self", "self-round2", "self-round3", "dpo"]
    third = strategies["self-round3"]
    assert (third.respondent, third.start_from, third.round, third.method) == ("self-round2", "self-round2", 3, "self")
    assert strategies.retries("self-round3") == "self-round3"
    assert (strategies["dpo"].start_from, strategies["dpo"].respondent, strategies["dpo"].stage) == (
        "self",
        "base",
        "dpo",
    )


def test_a_strategy_without_a_fold_builds_only_on_strategies_without_it() -> None:
    strategies = of({"self": {"rounds": 2}, "dpo": {"start_from": "self"}}, dataset={"folds": 2})
    assert len(strategies) == 3 * 3
    second = strategies["self-round2.fold1"]
    assert (second.fold, second.respondent, second.start_from) == (1, "self.fold1", "self.fold1")
    assert strategies["dpo.fold2"].start_from == "self.fold2"
    # the base's completions are made once for all folds, those of a fold's own model are not
    assert strategies.retries("dpo.fold2") == strategies.retries("self.fold1") == "self"
    assert strategies.retries("self-round2.fold1") == "self-round2.fold1"


def test_the_ablation_adds_strategies_and_rounds_to_those_of_the_whole_pipeline() -> None:
    strategies = of(["self"], {"distill": {}, "self": {"rounds": 2}})
    assert strategies.full == {"self": 1}
    assert strategies.ablation == {"self": 2, "distill": 1}
    assert list(strategies) == ["self", "self-round2", "distill"]


@pytest.mark.parametrize(
    ("text", "variant"),
    [
        ("base", ("base", None, None)),
        ("self", ("self", None, None)),
        ("self-4bit", ("self", 4, None)),
        ("base+maj8", ("base", None, 8)),
        ("self-round2.fold3-3bit+maj16", ("self-round2.fold3", 3, 16)),
        ("my-8bit-way", ("my-8bit-way", None, None)),
    ],
)
def test_a_variant_is_read_from_its_name(text: str, variant: tuple[str, int | None, int | None]) -> None:
    assert Variant.parse(text) == variant
    assert str(Variant(*variant)) == text


@pytest.mark.parametrize(
    ("text", "family", "round", "fold"),
    [
        ("base", "base", 1, None),
        ("self-4bit", "self", 1, None),
        ("my-way-round3", "my-way", 3, None),
        ("self.fold2+maj8", "self", 1, 2),
        ("self-round2.fold10-3bit+maj16", "self", 2, 10),
    ],
)
def test_a_variant_knows_its_strategy_round_and_fold(text: str, family: str, round: int, fold: int | None) -> None:
    variant = Variant.parse(text)
    assert (variant.family, variant.round, variant.fold) == (family, round, fold)
    assert variant.is_base is (family == "base")
    name = round_name(family, round)
    assert variant.unquantized.strategy == (name if fold is None else fold_name(name, fold))


def test_a_variant_is_changed_in_one_respect() -> None:
    variant = Variant.parse("self-3bit+maj8")
    assert [
        str(each) for each in (variant.greedy, variant.unquantized, variant.with_votes(16), variant.of_fold(2))
    ] == [
        "self-3bit",
        "self",
        "self-3bit+maj16",
        "self.fold2-3bit+maj8",
    ]
    assert Variant("base").of_fold(2) == Variant("base")


@given(
    st.from_regex(r"[a-z][a-z0-9-]{0,5}[a-z]", fullmatch=True),
    st.none() | st.integers(2, 8),
    st.none() | st.integers(1, 64),
)
def test_a_variants_name_is_read_as_it_was_written(strategy: str, bits: int | None, votes: int | None) -> None:
    variant = Variant(strategy, bits, votes)
    if not Variant.parse(strategy).bits:
        assert Variant.parse(str(variant)) == variant
        assert Variant.parse(str(variant.greedy)).votes is None
