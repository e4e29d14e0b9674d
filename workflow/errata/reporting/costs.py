"""The cost of training a strategy: the tokens of its completions, and the rows, steps and seconds of its training."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from errata.config.strategies import Strategies
from errata.config.variants import BASE, Variant
from errata.core.files import read_json
from errata.data.summaries import AnswerSummary, RetrySummary, Summary
from errata.plan import layout
from errata.plan.layout import ModelResults
from errata.training.runs import RUNS_FILE, RunHistory, TrainingTime

AnySummary = TypeVar("AnySummary", bound=Summary)


class TrainingCost(NamedTuple):
    """The cost of one training, or the mean of several, one for each fold. A figure is None where it is not known.

    Tokens and seconds include those of the trainings that this one starts from.

    Attributes:
        solved: questions with a completion that may be trained on, of all that were asked again.
        rows: rows of the training set.
        prompt_tokens, completion_tokens: tokens of all attempts, and of the answers that a further round asks for.
        cancelled_tokens: an estimate of the completion tokens of cancelled attempts, which `completion_tokens` does
            not contain. Only the last run of each step retry is counted.
        train_seconds: time in which the trainer made steps, in all runs of an interrupted training. Loading the model
            does not count. An adapter without a record of its runs shows the seconds of the last run.
        train_at_least: whether the training may have taken longer: the time of a run that failed or was killed is
            known only up to the last line of the trainer's log.
        steps: steps of the training.
    """

    solved: float | None = None
    rows: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    cancelled_tokens: float | None = None
    train_seconds: float | None = None
    train_at_least: bool | None = None
    steps: float | None = None


def measure_cost(results: ModelResults, strategies: Strategies, strategy: str, split: str) -> TrainingCost:
    """The cost of a strategy whose models are scored on a split.

    Args:
        results: of the model.

    Raises:
        UserError: a file cannot be read.
    """
    return average_costs(
        [_measure_training(results, strategies, training) for training in list_trainings(strategies, strategy, split)]
    )


def list_trainings(strategies: Strategies, strategy: str, split: str) -> list[str]:
    """The trainings behind the score of a strategy: one, or for split `folds` one for each fold."""
    if split != "folds":
        return [strategy]
    return [Variant(strategy).of_fold(fold).strategy for fold in range(1, strategies.folds + 1)]


def count_rows(results: ModelResults, training: str) -> int | None:
    """The rows of a training set; None where there is no training set.

    Args:
        results: of the model.
    """
    path = results.path(layout.TRAINING_SET, strategy=training)
    return len(read_json(path)) if path.exists() else None


def average_costs(costs: Sequence[TrainingCost]) -> TrainingCost:
    """The mean of each figure; None where one of them is not known."""
    train_seconds = _mean([cost.train_seconds for cost in costs])
    at_least = any(cost.train_at_least for cost in costs)
    return TrainingCost(
        solved=_mean([cost.solved for cost in costs]),
        rows=_mean([cost.rows for cost in costs]),
        prompt_tokens=_mean([cost.prompt_tokens for cost in costs]),
        completion_tokens=_mean([cost.completion_tokens for cost in costs]),
        cancelled_tokens=_mean([cost.cancelled_tokens for cost in costs]),
        train_seconds=train_seconds,
        train_at_least=None if train_seconds is None else at_least,
        steps=_mean([cost.steps for cost in costs]),
    )


def _measure_training(results: ModelResults, strategies: Strategies, training: str) -> TrainingCost:
    """The cost of one training and of those that it starts from."""
    chain = [training, *_list_starts(strategies, training)]
    # trainings of the chain may share completions, which cost their tokens once
    retries = [_read_retries(results, name) for name in strategies.distinct_retries(chain)]
    # before a further round, the model of the round before answers all training questions
    respondents = {strategies[name].respondent for name in chain} - {BASE}
    answers = [
        _read_if_there(results.path(layout.summary(layout.SCORED_ANSWERS), variant=name, split="train"), AnswerSummary)
        for name in sorted(respondents)
    ]
    summaries: list[Summary | None] = [*retries, *answers]
    own_retries = _read_retries(results, strategies.retries(training))
    times = [_read_time(results.path(layout.ADAPTER, strategy=name)) for name in chain]
    return TrainingCost(
        solved=own_retries.solved if own_retries else None,
        rows=count_rows(results, training),
        prompt_tokens=sum_known(each.costs.prompt_tokens if each else None for each in summaries),
        completion_tokens=sum_known(each.costs.completion_tokens if each else None for each in summaries),
        cancelled_tokens=sum_known(each.cancelled_tokens if each else None for each in retries),
        train_seconds=sum_known(each.seconds if each else None for each in times),
        train_at_least=any(each.at_least for each in times if each),
        steps=_read_figure(results.path(layout.ADAPTER, strategy=training) / "trainer_state.json", "global_step"),
    )


def _list_starts(strategies: Strategies, training: str) -> list[str]:
    """The trainings that a training starts from, directly (first) and indirectly."""
    starts = []
    start = strategies[training].start_from
    while start is not None:
        starts.append(start)
        start = strategies[start].start_from
    return starts


def _read_retries(results: ModelResults, name: str) -> RetrySummary | None:
    return _read_if_there(results.path(layout.summary(layout.RETRIES), strategy=name), RetrySummary)


def _read_if_there(path: Path, kind: type[AnySummary]) -> AnySummary | None:
    return kind.read(path) if path.exists() else None


def _read_time(adapter: Path) -> TrainingTime | None:
    """The time of one training in all its runs; None where it is not known."""
    if (adapter / RUNS_FILE).exists():
        return RunHistory(adapter / RUNS_FILE).training_time
    last_run = _read_figure(adapter / "all_results.json", "train_runtime")
    return None if last_run is None else TrainingTime(last_run)


def _read_figure(path: Path, key: str) -> float | None:
    """A number of one of the trainer's files; None where the file or the number is missing."""
    if not path.exists():
        return None
    value = read_json(path).get(key)
    return value if isinstance(value, int | float) else None


def sum_known(figures: Iterable[float | None]) -> float | None:
    """The sum; None where one of the figures is not known."""
    total: float = 0
    for figure in figures:
        if figure is None:
            return None
        total += figure
    return total


def _mean(figures: Sequence[float | None]) -> float | None:
    total = sum_known(figures)
    return None if total is None else total / len(figures)
