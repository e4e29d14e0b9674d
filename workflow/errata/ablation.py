"""Step ablation: every strategy from the same base with the same budget, as CSV and as a table for a README."""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from errata.errors import UserError
from errata.files import read_json, write_text
from errata.leaderboard import Comparison, Row, collect, compare
from errata.provenance import duration
from errata.strategies import BASE, Strategies, Strategy, Variant
from errata.tables import DASH, JUDGED, accuracy, difference, markdown, number, read_config, write_csv

REFERENCE = "self"
"""The strategy that the others are compared with, beside the base."""
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
    f"against {REFERENCE}": "left",
}
# Of the training's settings those that change nothing that is learned.
_ASIDE = {"logging_steps", "save_steps", "eval_steps", "eval_strategy", "save_total_limit", "plot_loss"}


class Made(NamedTuple):
    """What a strategy's training was made of; None where it is not known.

    Attributes:
        solved: questions with a completion that may be trained on.
        rows: of the training set.
        prompt_tokens: of all attempts, those of what the strategy builds on included.
        completion_tokens: likewise.
        train_seconds: of the trainer's own, what it builds on included.
    """

    solved: float | None = None
    rows: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    train_seconds: float | None = None
    steps: float | None = None


class Line(NamedTuple):
    """A row of the table. `row` is None of a strategy that had nothing to train on; `strategy` is None of the base."""

    model: str
    split: str
    name: str
    row: Row | None
    strategy: Strategy | None
    made: Made
    to_self: Comparison | None = None


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
        "--config", required=True, metavar="FILE_OR_JSON", help="the configuration, all its defaults filled in"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="FOLDER", help="the run's results")
    parser.add_argument("--output", type=Path, required=True, metavar="CSV", help="the table with every figure")
    parser.add_argument("--markdown", type=Path, required=True, metavar="FILE", help="the table for people")


def run(arguments: argparse.Namespace) -> None:
    """Write both tables.

    Raises:
        UserError: a file cannot be read, or the configuration lacks what the workflow fills in.
    """
    config = read_config(arguments.config)
    try:
        strategies = Strategies.of(config)
    except (KeyError, TypeError) as error:
        raise UserError(
            f"--config: no {error}. Give the configuration with its defaults filled in, as rule ablation does."
        ) from error
    order = [name for name, strategy in strategies.items() if strategy.fold is None]
    rows = [row for row in collect(arguments.scores, order) if row.variant == Variant(row.variant.made)]
    rows = [row for row in rows if row.score.model in arguments.model]
    rows.sort(key=lambda row: arguments.model.index(row.score.model))
    lines = [line(row, rows, strategies, arguments.results / row.score.model) for row in rows]
    if not lines:
        raise UserError("--scores: no score of these models is of a base or of a strategy.")
    for model, split in dict.fromkeys((each.model, each.split) for each in lines):
        scored = {each.name for each in lines if (each.model, each.split) == (model, split)}
        for name in order:
            if name not in scored and _is_empty(arguments.results / model, name, split, strategies):
                made = _made(arguments.results / model, strategies, name)._replace(rows=0)
                lines.append(Line(model, split, name, None, strategies[name], made))
    places = [BASE, *order]
    lines.sort(key=lambda each: (arguments.model.index(each.model), places.index(each.name)))
    write_csv(arguments.output, [_figures(each, strategies) for each in lines])
    write_text(arguments.markdown, page(lines, config, strategies))


def line(row: Row, rows: Iterable[Row], strategies: Strategies, folder: Path) -> Line:
    """A row of the table with all that is known of it."""
    score, name = row.score, row.variant.made
    beside = [each for each in rows if (each.score.model, each.score.split) == (score.model, score.split)]
    reference = next((each for each in beside if each.score.variant == REFERENCE), None)
    to_self = (
        compare(row.answers, reference.answers, REFERENCE) if reference and name not in (BASE, REFERENCE) else None
    )
    if name not in strategies:
        return Line(score.model, score.split, name, row, None, Made(), to_self)
    all_made = [_made(folder, strategies, each) for each in _trainings(name, score.split, strategies)]
    made = Made(*map(_mean, zip(*all_made, strict=True)))
    return Line(score.model, score.split, name, row, strategies[name], made, to_self)


def _trainings(name: str, split: str, strategies: Strategies) -> list[str]:
    """The trainings that a row is about: one for each fold, where it is about folds."""
    if split != "folds":
        return [name]
    return [Variant(name).of_fold(fold).made for fold in range(1, strategies.folds + 1)]


def _is_empty(folder: Path, name: str, split: str, strategies: Strategies) -> bool:
    """Whether a strategy had nothing to train on, which its set says; a round that was never reached has no set."""
    return any(_rows(folder / "sft" / f"{each}.json") == 0 for each in _trainings(name, split, strategies))


def _made(folder: Path, strategies: Strategies, name: str) -> Made:
    """Of one training."""
    chain = [name]
    while (before := strategies[chain[-1]].start_from) is not None:
        chain.append(before)
    # what several have made together was made once
    summaries = [folder / "retries" / f"{made}.summary.json" for made in dict.fromkeys(map(strategies.retries, chain))]
    # a further round has the model before it answer all questions
    asked = {strategies[each].asked for each in chain} - {BASE}
    summaries += [folder / "scores" / each / "train.summary.json" for each in sorted(asked)]
    retries = folder / "retries" / f"{strategies.retries(name)}.summary.json"
    return Made(
        solved=_number(retries, "solved"),
        rows=_rows(folder / "sft" / f"{name}.json"),
        prompt_tokens=_sum(_number(path, "prompt_tokens") for path in summaries),
        completion_tokens=_sum(_number(path, "completion_tokens") for path in summaries),
        train_seconds=_sum(_number(folder / "adapter" / each / "all_results.json", "train_runtime") for each in chain),
        steps=_number(folder / "adapter" / name / "trainer_state.json", "global_step"),
    )


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
    for name, comparison in (("base", each.row.to_base if each.row else None), (REFERENCE, each.to_self)):
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
    return int(value) if value is not None and float(value).is_integer() else value


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
    text = ""
    for model, split in dict.fromkeys((each.model, each.split) for each in lines):
        here = [each for each in lines if (each.model, each.split) == (model, split)]
        text += f"{_heading(model, split, here, strategies)}\n\n{markdown(COLUMNS, map(_cells, here))}\n"
    notes = [budget(config)]
    if any(each.strategy and each.strategy.train for each in lines):
        notes.append("Settings of its own stand behind a strategy's method.")
    if any(each.strategy and each.strategy.start_from for each in lines):
        notes.append("What a strategy starts from is in its tokens and its training time; rows and steps are its own.")
    return f"{text}{' '.join([*notes, JUDGED])}\n"


def _heading(model: str, split: str, lines: Sequence[Line], strategies: Strategies) -> str:
    trained_on = [each.name for each in lines if each.row and not each.row.score.held_out]
    if trained_on:
        words = f"split {split}, **not held out** from the training of {', '.join(trained_on)}"
    elif split == "folds":
        words = (
            f"every training question, by a model trained without its fold ({strategies.folds} folds); "
            "of a strategy's trainings the mean is shown"
        )
    else:
        words = f"split {split}, held out from training"
    return f"{model}: {words}."


def _cells(each: Line) -> list[str]:
    made = each.made
    return [
        each.name,
        described(each.strategy) if each.strategy else DASH,
        number(made.solved),
        number(made.rows),
        number(made.completion_tokens),
        number(made.prompt_tokens),
        DASH if made.train_seconds is None else duration(made.train_seconds),
        number(made.steps),
        accuracy(each.row.score) if each.row else "nothing to train on",
        difference(each.row.to_base if each.row else None),
        difference(each.to_self),
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
