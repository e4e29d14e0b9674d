"""Step ablation: every strategy from the same base with the same budget, as CSV and as a table for a README."""

import argparse
import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from errata.config.strategies import Strategies, Strategy
from errata.config.variants import BASE, Variant
from errata.core.errors import UserError
from errata.core.files import read_json, write_text
from errata.core.wording import duration
from errata.reporting.leaderboard import Comparison, Row, compare, read_rows
from errata.reporting.tables import DASH, JUDGED, accuracy, difference, markdown, number, read_config, write_csv
from errata.training.runs import RUNS_FILE, RunHistory, TrainingTime

SELF = "self"
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
# What is said in place of an accuracy.
EMPTY, NO_START = "nothing to train on", "nothing to start from"
# Of the training's settings those that change nothing that is learned.
_ASIDE = {"logging_steps", "save_steps", "eval_steps", "eval_strategy", "save_total_limit", "plot_loss"}


class Made(NamedTuple):
    """What a strategy's training was made of; None where it is not known. Of several, one a fold, it is their mean.

    Attributes:
        solved: questions with a completion that may be trained on, of all that were asked again.
        rows: of the training set.
        prompt_tokens: of all attempts, those of what the strategy builds on included.
        completion_tokens: likewise.
        cancelled_tokens: likewise, but of attempts that were cancelled, which `completion_tokens` does not hold: an
            estimate, and of the last run of each asking alone.
        train_seconds: in which the trainer made steps, what the strategy builds on included, and all runs of a training
            that was interrupted. Loading the model does not count. Of an adapter that does not say what its runs were,
            those of the last one.
        train_at_least: there were more: a run failed or was killed, and nobody knows how long after its last line in
            the trainer's log.
    """

    solved: float | None = None
    rows: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    cancelled_tokens: float | None = None
    train_seconds: float | None = None
    train_at_least: bool | None = None
    steps: float | None = None

    @classmethod
    def mean(cls, several: Sequence[Self]) -> Self:
        at_least = any(each.train_at_least for each in several)
        figures = cls._make(map(_mean, zip(*several, strict=True)))
        return figures._replace(train_at_least=None if figures.train_seconds is None else at_least)


class Line(NamedTuple):
    """A row of the table.

    Attributes:
        row: None of a strategy that was not trained.
        strategy: None of the base.
        to_base: None also where either was trained on the questions.
        to_reference: likewise.
        untrained: why it was not trained, `EMPTY` or `NO_START`.
    """

    model: str
    split: str
    name: str
    row: Row | None
    strategy: Strategy | None
    made: Made
    to_base: Comparison | None = None
    to_reference: Comparison | None = None
    untrained: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", nargs="+", required=True, metavar="NAME", help="the models, in their order")
    parser.add_argument(
        "--scores",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="of the base and of every strategy, on test or folds; quantized and voted variants are left out",
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the configuration, all its defaults filled in"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="FOLDER", help="the run's results")
    parser.add_argument("--output", type=Path, required=True, metavar="CSV", help="the table with every figure")
    parser.add_argument("--markdown", type=Path, required=True, metavar="FILE", help="the table for people")


def run(arguments: argparse.Namespace) -> None:
    """Write both tables.

    Raises:
        UserError: a file cannot be read, the configuration lacks what the workflow fills in, or no question that was
            scored has an answer.
    """
    config = read_config(arguments.config)
    try:
        strategies = Strategies.of(config)
    except (KeyError, TypeError) as error:
        raise UserError(
            f"--config: no {error}. Give the configuration with its defaults filled in, as rule ablation does."
        ) from error
    order = [name for name, strategy in strategies.items() if strategy.fold is None]
    rows = [row for row in read_rows(arguments.scores, order) if row.variant == Variant(row.variant.strategy)]
    rows = [row for row in rows if row.score.model in arguments.model]
    rows.sort(key=lambda row: arguments.model.index(row.score.model))
    if not rows:
        raise UserError("--scores: no score of these models is of a base or of a strategy.")
    if not any(row.score.questions for row in rows):
        splits = " and ".join(dict.fromkeys(row.score.split for row in rows))
        raise UserError(
            f"no question of {splits} has an answer, so there is nothing to compare; set dataset.folds or bring a "
            "labelled test file."
        )
    lines = [line(row, rows, strategies, arguments.results / row.score.model) for row in rows]
    for model, split in dict.fromkeys((each.model, each.split) for each in lines):
        scored = {each.name for each in lines if (each.model, each.split) == (model, split)}
        lines += untrained(model, split, scored, strategies, arguments.results / model)
    places = [BASE, *order]
    lines.sort(key=lambda each: (arguments.model.index(each.model), places.index(each.name)))
    write_csv(arguments.output, [_figures(each, strategies) for each in lines])
    write_text(arguments.markdown, page(lines, config, strategies))


def reference(strategies: Strategies) -> str | None:
    """The strategy that the others are compared with, beside the base: the one called `self`, if that is its method
    too, else the first of that method, if there is any.
    """
    found = [name for name, strategy in strategies.items() if strategy.method == SELF]
    return SELF if SELF in found else next(iter(found), None)


def line(row: Row, rows: Iterable[Row], strategies: Strategies, folder: Path) -> Line:
    """A row of the table with all that is known of it."""
    score, name, compared = row.score, row.variant.strategy, reference(strategies)
    beside = {
        each.score.variant: each for each in rows if (each.score.model, each.score.split) == (score.model, score.split)
    }
    trained = name in strategies
    return Line(
        score.model,
        score.split,
        name,
        row,
        strategies[name] if trained else None,
        _made(folder, strategies, name, score.split) if trained else Made(),
        _against(row, beside.get(BASE)),
        _against(row, beside.get(compared)) if compared and name != BASE else None,
    )


def _against(row: Row, other: Row | None) -> Comparison | None:
    """A comparison of what no training has seen: else it would say who remembers, not who knows."""
    if other is None or other is row or not (row.score.held_out and other.score.held_out):
        return None
    return compare(row.answers, other.answers, other.score.variant)


def untrained(model: str, split: str, scored: Container[str], strategies: Strategies, folder: Path) -> Iterator[Line]:
    """Rows of strategies that were not trained, for want of rows or of a model to start from; not of rounds that were
    never reached.

    Args:
        scored: the strategies that were.
    """

    def empty(name: str) -> bool:
        return any(_rows(folder / "sft" / f"{each}.json") == 0 for each in _trainings(name, split, strategies))

    def there_is(name: str) -> bool:
        start = strategies[name].start_from
        return name in scored or ((start is None or there_is(start)) and not empty(name))

    for name, strategy in strategies.items():
        if strategy.fold is not None or there_is(name):
            continue
        # what an earlier run has left of a round that is not reached any more does not count
        started = strategy.start_from is None or there_is(strategy.start_from)
        if started or strategy.round == 1:
            made = _made(folder, strategies, name, split)
            yield Line(model, split, name, None, strategy, made, untrained=EMPTY if started else NO_START)


def _trainings(name: str, split: str, strategies: Strategies) -> list[str]:
    """The trainings that a row is about: one for each fold, where it is about folds."""
    if split != "folds":
        return [name]
    return [Variant(name).of_fold(fold).strategy for fold in range(1, strategies.folds + 1)]


def _made(folder: Path, strategies: Strategies, name: str, split: str) -> Made:
    """What a strategy was made of, where its models are scored on a split."""
    return Made.mean([_made_once(folder, strategies, each) for each in _trainings(name, split, strategies)])


def _made_once(folder: Path, strategies: Strategies, name: str) -> Made:
    """Of one training."""
    chain = [name]
    while (before := strategies[chain[-1]].start_from) is not None:
        chain.append(before)
    # what several have made together was made once
    retried = [folder / "retries" / f"{made}.summary.json" for made in strategies.distinct_retries(chain)]
    # a further round has the model before it answer all questions
    asked = {strategies[each].respondent for each in chain} - {BASE}
    summaries = [*retried, *(folder / "scores" / each / "train.summary.json" for each in sorted(asked))]
    trained = [_trained(folder / "adapter" / each) for each in chain]
    return Made(
        solved=_number(folder / "retries" / f"{strategies.retries(name)}.summary.json", "solved"),
        rows=_rows(folder / "sft" / f"{name}.json"),
        prompt_tokens=_sum(_number(path, "prompt_tokens") for path in summaries),
        completion_tokens=_sum(_number(path, "completion_tokens") for path in summaries),
        cancelled_tokens=_sum(_number(path, "cancelled_tokens") for path in retried),
        train_seconds=_sum(each.seconds if each else None for each in trained),
        train_at_least=any(each.at_least for each in trained if each),
        steps=_number(folder / "adapter" / name / "trainer_state.json", "global_step"),
    )


def _trained(adapter: Path) -> TrainingTime | None:
    """The seconds of one training; None where they are not known at all."""
    if (adapter / RUNS_FILE).exists():
        return RunHistory(adapter / RUNS_FILE).training_time
    last = _number(adapter / "all_results.json", "train_runtime")
    return None if last is None else TrainingTime(last)


def _rows(path: Path) -> float | None:
    return len(read_json(path)) if path.exists() else None


def _number(path: Path, name: str) -> float | None:
    """A figure of a JSON file; None where either is not there."""
    if not path.exists():
        return None
    value = read_json(path).get(name)
    return value if isinstance(value, int | float) else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _mean(values: Sequence[float | None]) -> float | None:
    total = _sum(values)
    return None if total is None else total / len(values)


def _figures(each: Line, strategies: Strategies) -> dict[str, Any]:
    """A row of the CSV file."""
    score, strategy = each.row.score if each.row else None, each.strategy
    compared: dict[str, Any] = {}
    for name, comparison in ((BASE, each.to_base), (reference(strategies), each.to_reference)):
        if name is not None:
            compared[f"gained_{name}"] = comparison.test.first_only if comparison else None
            compared[f"lost_{name}"] = comparison.test.second_only if comparison else None
            compared[f"p_{name}"] = comparison.test.p if comparison else None
    names = ("questions", "correct", "accuracy", "ci_low", "ci_high", "held_out")
    return {
        "model": each.model,
        "split": each.split,
        "strategy": each.name,
        "method": strategy.method if strategy else None,
        "retries": strategies.retries(strategy.name) if strategy else None,
        **{name: _whole(value) for name, value in each.made._asdict().items()},
        **{name: getattr(score, name) if score else None for name in names},
        **compared,
    }


def _whole(value: float | None) -> float | None:
    """A count as one; the mean of several trainings may be none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def described(strategy: Strategy) -> str:
    """A strategy's method and options in a few words."""
    words = [strategy.method]
    if strategy.method == "distill":
        words.append(f"teacher {strategy.teacher or 'is the model itself'}")
        words += ["all questions"] if strategy.questions == "all" else []
    words += [f"up to {strategy.keep} a question"] if strategy.keep > 1 and strategy.method != "dpo" else []
    words += [f"up to {strategy.pairs} pairs a question"] if strategy.pairs > 1 else []
    words += [f"{100 * strategy.replay:g} % of the first-right ones too"] if strategy.replay else []
    if strategy.round > 1:
        words.append(f"round {strategy.round}")
    elif strategy.start_from:
        words.append(f"starts from {strategy.start_from}")
    words += [f"{name} {value}" for name, value in strategy.train.items()]
    return ", ".join(words)


def page(lines: Sequence[Line], config: Mapping[str, Any], strategies: Strategies) -> str:
    """A table in Markdown for each model and split, and what is common to all rows."""
    text, compared = "", reference(strategies)
    columns = COLUMNS | ({f"against {compared}": "left"} if compared else {})
    for model, split in dict.fromkeys((each.model, each.split) for each in lines):
        here = [each for each in lines if (each.model, each.split) == (model, split)]
        # without a reference the last cell has no column
        cells = [_cells(each)[: len(columns)] for each in here]
        text += f"{_heading(model, split, here, strategies)}\n\n{markdown(columns, cells)}\n"
    notes = [budget(config)]
    if any(each.strategy and each.strategy.train for each in lines):
        notes.append("Settings of its own stand behind a strategy's method.")
    if any(each.strategy and each.strategy.start_from for each in lines):
        notes.append("What a strategy starts from is in its tokens and its training time; rows and steps are its own.")
    if any(each.made.train_seconds for each in lines):
        notes.append("Training is the time in which steps were made, in all runs of a training that was interrupted.")
    if any(each.made.train_at_least for each in lines):
        notes.append("At least so long: of a run that failed or was killed it is known up to its last line in the log.")
    if any(each.made.cancelled_tokens for each in lines):
        notes.append("What cancelled attempts had cost is an estimate, and of the last run of the asking alone.")
    return f"{text}{' '.join([*notes, JUDGED])}\n"


def _heading(model: str, split: str, lines: Sequence[Line], strategies: Strategies) -> str:
    trained_on = [each.name for each in lines if each.row and not each.row.score.held_out]
    if trained_on:
        words = (
            f"split {split}, **not held out** from the training of {', '.join(trained_on)}; "
            "differences are of held-out rows alone"
        )
    elif split == "folds":
        words = (
            f"every training question, by a model trained without its fold ({strategies.folds} folds). "
            "Solved and tokens count what was asked about all training questions, once for all folds; rows, training "
            f"and steps are those of one training, the mean of {strategies.folds}, each without its fold"
        )
        if any(each.strategy and each.strategy.round > 1 for each in lines):
            words += (
                ". A further round asks the model of each fold about all training questions: what it solved, and what "
                "its tokens add to those of the rounds before, are means as well"
            )
    else:
        words = f"split {split}, held out from training"
    return f"{model}: {words}."


def _cells(each: Line) -> list[str]:
    made = each.made
    cancelled = f" + about {number(made.cancelled_tokens)} cancelled" if made.cancelled_tokens else ""
    at_least = "at least " if made.train_at_least else ""
    return [
        each.name,
        described(each.strategy) if each.strategy else DASH,
        number(made.solved),
        number(made.rows),
        number(made.completion_tokens) + cancelled,
        number(made.prompt_tokens),
        DASH if made.train_seconds is None else at_least + duration(made.train_seconds),
        number(made.steps),
        accuracy(each.row.score) if each.row else each.untrained,
        difference(each.to_base),
        difference(each.to_reference),
    ]


def budget(config: Mapping[str, Any]) -> str:
    """What is the same for every strategy, in a sentence or two."""
    generate = config["generate"]
    limits = [f"at most {generate['attempts']} attempts a question"]
    if generate.get("token_budget"):
        limits.append(f"{generate['token_budget']:,} tokens of completions")
    if generate.get("time_budget"):
        limits.append(f"{generate['time_budget']:g} minutes")
    limits.append(f"at most {generate['max_tokens']:,} tokens a completion")
    settings = ", ".join(
        f"{name} {json.dumps(value) if isinstance(value, list | dict) else value}"
        for name, value in (config.get("train") or {}).items()
        if name not in _ASIDE and value is not None
    )
    trained = f" Training: {settings}." if settings else " Training: the defaults."
    return f"The same base and the same budget for every strategy: {', '.join(limits)}.{trained}"
