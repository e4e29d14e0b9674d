"""Step ablation: strategies from the same base with the same budget, as CSV and as a Markdown table."""

import argparse
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from errata.config.strategies import Strategies
from errata.config.variants import BASE
from errata.core.errors import UserError
from errata.core.files import write_text
from errata.plan.layout import ModelResults, Results
from errata.reporting.ablation_page import NO_ROWS, NO_START, Result, to_markdown
from errata.reporting.configuration import read_configuration_file
from errata.reporting.costs import TrainingCost, count_rows, list_trainings, measure_cost
from errata.reporting.leaderboard import Comparison, Row, compare, read_rows
from errata.reporting.tables import Cell, write_csv

SELF = "self"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", nargs="+", required=True, metavar="NAME", help="the models, in the table's order")
    parser.add_argument(
        "--scores",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="scores of the base and of every strategy, on test or folds; quantized and voted variants are left out",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration, YAML or JSON")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="FOLDER", help="the run's results")
    parser.add_argument("--output", type=Path, required=True, metavar="CSV", help="the table with every figure")
    parser.add_argument("--markdown", type=Path, required=True, metavar="FILE", help="the table for people")


def run(arguments: argparse.Namespace) -> None:
    """Write both tables.

    Raises:
        Faults: the configuration is not valid.
        UserError: a file cannot be read, or no scored question has an answer.
    """
    configuration = read_configuration_file(arguments.config)
    strategies = Strategies.of(configuration)
    order = [name for name, strategy in strategies.items() if strategy.fold is None]
    rows = _select_rows(read_rows(arguments.scores, order), arguments.model)
    results = []
    for model, split in dict.fromkeys((row.score.model, row.score.split) for row in rows):
        here = [row for row in rows if (row.score.model, row.score.split) == (model, split)]
        model_results = ModelResults(Results(arguments.results), model)
        results += collect_results(here, strategies, model_results)
        scored = {row.variant.strategy for row in here}
        results += find_untrained(model, split, scored, strategies, model_results)
    places = [BASE, *order]
    results.sort(
        key=lambda result: (arguments.model.index(result.model), places.index(result.name), result.row is None)
    )
    reference = choose_reference(strategies)
    write_csv(arguments.output, [_to_record(result, strategies, reference) for result in results])
    write_text(arguments.markdown, to_markdown(results, configuration, strategies.folds, reference))


def _select_rows(rows: Iterable[Row], models: Sequence[str]) -> list[Row]:
    """The rows of base and strategies, in the order of the models.

    Raises:
        UserError: there are none, or none has a labelled question.
    """
    selected = [row for row in rows if row.variant == row.variant.unquantized and row.score.model in models]
    selected.sort(key=lambda row: models.index(row.score.model))
    if not selected:
        raise UserError("--scores: no score of a base or a strategy of these models.")
    if not any(row.score.questions for row in selected):
        splits = " and ".join(dict.fromkeys(row.score.split for row in selected))
        raise UserError(
            f"no question of {splits} has an answer, so there is nothing to compare; set dataset.folds or use a "
            "labelled test file."
        )
    return selected


def choose_reference(strategies: Strategies) -> str | None:
    """The strategy that the others are compared with, beside the base: the one whose name and method are
    `self`, otherwise the first with that method. None where no strategy has it.
    """
    names = [name for name, strategy in strategies.items() if strategy.method == SELF]
    return SELF if SELF in names else next(iter(names), None)


def collect_results(rows: Sequence[Row], strategies: Strategies, model_results: ModelResults) -> list[Result]:
    """The scored base and strategies of one model and split.

    Args:
        model_results: of the model.
    """
    by_name = {row.variant.strategy: row for row in rows}
    reference = choose_reference(strategies)
    results = []
    for name, row in by_name.items():
        score = row.score
        results.append(
            Result(
                score.model,
                score.split,
                name,
                row,
                strategies.get(name),
                measure_cost(model_results, strategies, name, score.split) if name in strategies else TrainingCost(),
                _compare_held_out(row, by_name.get(BASE)),
                _compare_held_out(row, by_name.get(reference)) if reference and name != BASE else None,
            )
        )
    return results


def _compare_held_out(row: Row, other: Row | None) -> Comparison | None:
    """A comparison on questions that neither model was trained on: others would only show which one remembers them."""
    if other is None or other is row or not (row.score.held_out and other.score.held_out):
        return None
    return compare(row.answers, other.answers, other.score.variant)


def find_untrained(
    model: str, split: str, scored: Container[str], strategies: Strategies, model_results: ModelResults
) -> list[Result]:
    """The strategies that could not be trained, with the reason and what their completions cost.

    Later rounds of a strategy that could not be trained are left out: they were never reached.

    Args:
        scored: names of the strategies with a score, which were trained.
        model_results: of the model.
    """
    results = []
    trained = set()
    # a strategy comes after the one that it starts from
    for name, strategy in strategies.items():
        if strategy.fold is not None:
            continue
        can_start = strategy.start_from is None or strategy.start_from in trained
        empty = any(count_rows(model_results, each) == 0 for each in list_trainings(strategies, name, split))
        if name in scored or (can_start and not empty):
            trained.add(name)
        # a training set of an unreached round may be left from an earlier run
        elif can_start or strategy.round == 1:
            cost = measure_cost(model_results, strategies, name, split)
            reason = NO_ROWS if can_start else NO_START
            results.append(Result(model, split, name, None, strategy, cost, untrained=reason))
    return results


def _to_record(result: Result, strategies: Strategies, reference: str | None) -> dict[str, Cell]:
    """A row of the CSV file."""
    score, strategy = result.row.score if result.row else None, result.strategy
    compared: dict[str, Cell] = {}
    for name, comparison in ((BASE, result.to_base), (reference, result.to_reference)):
        if name is not None:
            compared[f"gained_{name}"] = comparison.test.first_only if comparison else None
            compared[f"lost_{name}"] = comparison.test.second_only if comparison else None
            compared[f"p_{name}"] = comparison.test.p if comparison else None
    figures = ("questions", "correct", "accuracy", "ci_low", "ci_high", "held_out")
    return {
        "model": result.model,
        "split": result.split,
        "strategy": result.name,
        "method": strategy.method if strategy else None,
        "retries": strategies.retries(strategy.name) if strategy else None,
        **{name: _without_fraction(value) for name, value in result.cost._asdict().items()},
        **{name: getattr(score, name) if score else None for name in figures},
        **compared,
    }


def _without_fraction(value: float | None) -> float | None:
    """A whole number as an integer; the mean of several trainings may not be whole."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
