"""The comparison of strategies as a page in Markdown."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from errata.config.configuration import Configuration
from errata.config.strategies import Strategy
from errata.core.wording import duration
from errata.reporting.costs import TrainingCost
from errata.reporting.leaderboard import Comparison, Row
from errata.reporting.tables import COMPARISON_NOTE, DASH, accuracy, difference, number, to_markdown_table

NO_ROWS, NO_START = "nothing to train on", "nothing to start from"
"""Why a strategy was not trained; shown instead of its accuracy."""

COLUMNS = {
    "strategy": "left",
    "how its data is made": "left",
    "solved": "right",
    "rows": "right",
    "completion tokens": "right",
    "prompt tokens": "right",
    "training": "right",
    "steps": "right",
    "accuracy": "left",
    "against base": "left",
}
# Settings of the trainer that do not change what is learned.
_IRRELEVANT = {"logging_steps", "save_steps", "eval_steps", "eval_strategy", "save_total_limit", "plot_loss"}


class Result(NamedTuple):
    """The base or a strategy on one split: its accuracy and its cost.

    Attributes:
        name: `base` or the strategy's name.
        row: its row of the leaderboard; None for a strategy that was not trained.
        strategy: None for the base.
        to_base: None for the base itself, and where either model was trained on the questions.
        to_reference: comparison with the reference strategy, see `errata.reporting.ablation`; None in the same cases.
        untrained: why it was not trained, `NO_ROWS` or `NO_START`.
    """

    model: str
    split: str
    name: str
    row: Row | None
    strategy: Strategy | None
    cost: TrainingCost
    to_base: Comparison | None = None
    to_reference: Comparison | None = None
    untrained: str = ""


def to_markdown(results: Sequence[Result], configuration: Configuration, folds: int, reference: str | None) -> str:
    """A table for each model and split, and a paragraph about all of them.

    Args:
        folds: number of folds; 0 for none.
        reference: the strategy that `to_reference` is about; None where there is none.
    """
    columns = COLUMNS | ({f"against {reference}": "left"} if reference else {})
    text = ""
    for model, split in dict.fromkeys((result.model, result.split) for result in results):
        here = [result for result in results if (result.model, result.split) == (model, split)]
        # without a reference the last cell has no column
        cells = [_to_cells(result)[: len(columns)] for result in here]
        text += f"{model}: {_describe_split(split, here, folds)}.\n\n{to_markdown_table(columns, cells)}\n"
    return f"{text}{' '.join([describe_budget(configuration), *_describe_columns(results), COMPARISON_NOTE])}\n"


def _describe_split(split: str, results: Sequence[Result], folds: int) -> str:
    """Which questions a table is about, and whether they are held out from training."""
    trained_on = [result.name for result in results if result.row and not result.row.score.held_out]
    if trained_on:
        return (
            f"split {split}, **not held out** from the training of {', '.join(trained_on)}; "
            "differences are shown for held-out rows only"
        )
    if split != "folds":
        return f"split {split}, held out from training"
    text = (
        f"every training question, answered by a model trained without its fold ({folds} folds). "
        "Solved and tokens count the retries of all training questions, once for all folds; rows, training and steps "
        f"are means over the {folds} trainings, each without its fold"
    )
    if any(result.strategy and result.strategy.round > 1 for result in results):
        text += (
            ". A further round asks the model of each fold about all training questions: its solved questions and the "
            "tokens that it adds are means as well"
        )
    return text


def _describe_columns(results: Sequence[Result]) -> list[str]:
    """Notes about the columns that these results need, in sentences."""
    strategies = [result.strategy for result in results if result.strategy]
    costs = [result.cost for result in results]
    notes = {
        "Own settings of a strategy follow its method.": any(strategy.train for strategy in strategies),
        "Tokens and training time include those of the strategy that a row starts from; rows and steps do not.": any(
            strategy.start_from for strategy in strategies
        ),
        "Training is the time in which the trainer made steps, in all runs of an interrupted training.": any(
            cost.train_seconds for cost in costs
        ),
        "Where it says at least, a run failed or was killed, and its time is known only up to the last line of its "
        "log.": any(cost.train_at_least for cost in costs),
        "Tokens of cancelled attempts are an estimate and count only the last run of step retry.": any(
            cost.cancelled_tokens for cost in costs
        ),
    }
    return [note for note, applies in notes.items() if applies]


def _to_cells(result: Result) -> list[str]:
    cost = result.cost
    cancelled = f" + about {number(cost.cancelled_tokens)} cancelled" if cost.cancelled_tokens else ""
    at_least = "at least " if cost.train_at_least else ""
    return [
        result.name,
        describe_strategy(result.strategy) if result.strategy else DASH,
        number(cost.solved),
        number(cost.rows),
        number(cost.completion_tokens) + cancelled,
        number(cost.prompt_tokens),
        DASH if cost.train_seconds is None else at_least + duration(cost.train_seconds),
        number(cost.steps),
        accuracy(result.row.score) if result.row else result.untrained,
        difference(result.to_base),
        difference(result.to_reference),
    ]


def describe_strategy(strategy: Strategy) -> str:
    """A strategy's method and options in a few words."""
    words = [strategy.method]
    if "teacher" in strategy.spec.options:
        words.append(f"teacher {strategy.teacher or 'is the model itself'}")
        words += ["all questions"] if strategy.questions == "all" else []
    words += [f"up to {strategy.keep} a question"] if strategy.keep > 1 and strategy.stage != "dpo" else []
    words += [f"up to {strategy.pairs} pairs a question"] if strategy.pairs > 1 else []
    words += [f"plus {100 * strategy.replay:g} % of the first-right questions"] if strategy.replay else []
    if strategy.round > 1:
        words.append(f"round {strategy.round}")
    elif strategy.start_from:
        words.append(f"starts from {strategy.start_from}")
    words += [f"{name} {value}" for name, value in strategy.train.items()]
    return ", ".join(words)


def describe_budget(configuration: Configuration) -> str:
    """The budget and the settings that all strategies share, in a sentence or two."""
    generate = configuration.generate
    limits = [f"at most {generate.attempts} attempts a question"]
    if generate.token_budget:
        limits.append(f"{generate.token_budget:,} tokens of completions")
    if generate.time_budget:
        limits.append(f"{generate.time_budget:g} minutes")
    limits.append(f"at most {generate.max_tokens:,} tokens a completion")
    settings = ", ".join(
        f"{name} {json.dumps(value) if isinstance(value, list | dict) else value}"
        for name, value in configuration.train.items()
        if name not in _IRRELEVANT and value is not None
    )
    training = f"Training: {settings}." if settings else "Training: the defaults."
    return f"The same base and the same budget for every strategy: {', '.join(limits)}. {training}"
