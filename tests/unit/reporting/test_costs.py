"""The cost of training a strategy."""

import json
from pathlib import Path
from typing import Any

import pytest

from errata.config.strategies import Strategies
from errata.config.validation import validate
from errata.core.errors import UserError
from errata.plan.layout import ModelResults, Results
from errata.reporting.costs import TrainingCost, average_costs, count_rows, list_trainings, measure_cost


def model_results(folder: Path) -> ModelResults:
    """A folder as that of a model."""
    return ModelResults(Results(folder.parent), folder.name)


def strategies_of(folds: int | None = None, **options: dict[str, Any]) -> Strategies:
    return Strategies.of(
        validate(
            {
                "dataset": {"train": "a", "test": "b", "folds": folds},
                "models": {"m": {"source": "x"}},
                "strategies": options,
            }
        )
    )


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def test_the_mean_is_that_of_each_figure() -> None:
    first = TrainingCost(1, 10, 100, 1000, 10000, 2.0, False, 6)
    second = TrainingCost(2, 30, 500, 7000, 90000, 5.0, True, 7)
    assert average_costs([first, second]) == TrainingCost(1.5, 20, 300, 4000, 50000, 3.5, True, 6.5)


def test_the_mean_of_an_unknown_figure_is_unknown() -> None:
    known, unknown = TrainingCost(solved=4, rows=2, train_seconds=3.0, train_at_least=True), TrainingCost(solved=5)
    assert average_costs([known, unknown]) == TrainingCost(solved=4.5)


def test_folds_have_a_training_each() -> None:
    strategies = strategies_of(3, self={"rounds": 2})
    assert list_trainings(strategies, "self-round2", "test") == ["self-round2"]
    assert list_trainings(strategies, "self-round2", "folds") == [f"self-round2.fold{fold}" for fold in (1, 2, 3)]


def test_shared_completions_cost_their_tokens_once(tmp_path: Path) -> None:
    """The requests of a strategy that keeps more include those of strategies that keep less."""
    strategies = strategies_of(self={}, more={"method": "self", "keep": 3, "start_from": "self"})
    for name, tokens in (("self", 100), ("more", 250)):
        write(tmp_path / f"retries/{name}.summary.json", {"method": "self", "solved": 9, "completion_tokens": tokens})
        write(tmp_path / f"adapter/{name}/all_results.json", {"train_runtime": 10.0})
    cost = measure_cost(model_results(tmp_path), strategies, "more", "test")
    assert (cost.solved, cost.completion_tokens, cost.prompt_tokens, cost.train_seconds) == (9, 250, None, 20)


def test_without_files_nothing_is_known(tmp_path: Path) -> None:
    assert measure_cost(model_results(tmp_path), strategies_of(self={}), "self", "test") == TrainingCost()
    assert count_rows(model_results(tmp_path), "self") is None


def test_a_summary_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "retries" / "self.summary.json", [])
    with pytest.raises(UserError, match=r"self\.summary\.json: not a summary"):
        measure_cost(model_results(tmp_path), strategies_of(self={}), "self", "test")
