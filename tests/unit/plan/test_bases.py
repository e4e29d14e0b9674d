"""The base models that a bundle needs."""

from typing import Any

import pytest

from errata.config.validation import validate
from errata.plan import plan as plan_module
from errata.plan.plan import Plan

ENDPOINT = {"engine": "endpoint", "base_url": "http://127.0.0.1:9/v1"}


def plan(teacher: str | None = None, source: str = "org/m", **baselines: dict[str, Any]) -> Plan:
    strategies = {"self": {}, "distill": {"teacher": teacher}}
    models = {"m": {"source": source}, "asked": ENDPOINT}
    dataset = {"train": "a", "test": "b"}
    return Plan(validate({"dataset": dataset, "models": models, "baselines": baselines, "strategies": strategies}))


@pytest.mark.parametrize(
    ("teacher", "baselines", "bases"),
    [
        (None, {"big": {"source": "org/big"}}, []),
        ("m", {"big": {"source": "org/big"}}, []),
        ("asked", {}, []),
        ("big", {"big": {"source": "org/big"}, "other": {"source": "org/other"}}, ["big/base/checkpoint"]),
        ("big", {"big": {"source": "pypi:big==1"}}, ["big/base/model.gguf"]),
        ("big", {"big": {"source": "/shared/big"}}, ["big/base/checkpoint"]),
        ("big", {"big": {**ENDPOINT, "source": "org/big"}}, []),
        # made here: from a trained model, from another baseline, from an unknown model, from itself
        ("big", {"big": {"source": "results/m/tuned/self"}}, []),
        (
            "big",
            {"big": {"source": "results/seed/base/checkpoint"}, "seed": {"source": "o/s"}},
            ["seed/base/checkpoint"],
        ),
        ("big", {"big": {"source": "results/nobody/tuned/self"}}, []),
        ("big", {"big": {"source": "results/big/tuned/self"}}, []),
    ],
)
def test_the_bases_are_those_of_trained_models_and_of_teachers_that_are_served_here(
    teacher: str | None, baselines: dict[str, dict[str, Any]], bases: list[str]
) -> None:
    assert plan_module.bases(plan(teacher, **baselines)) == [
        f"results/{path}" for path in ["m/base/checkpoint", *bases]
    ]


def test_a_trained_model_that_is_made_here_is_not_made_to_be_packed() -> None:
    assert plan_module.bases(plan(source="results/seed/tuned/self", seed={"source": "org/seed"})) == [
        "results/seed/base/checkpoint"
    ]
