"""Step baselines: base models side by side on both splits, as CSV and as a Markdown table."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from errata.config.configuration import Configuration
from errata.config.variants import BASE
from errata.core.errors import UserError
from errata.core.files import write_text
from errata.core.wording import duration
from errata.data.records import SPLITS
from errata.reporting.configuration import read_configuration_file
from errata.reporting.costs import sum_known
from errata.reporting.leaderboard import Comparison, Row, compare, read_rows
from errata.reporting.tables import (
    COMPARISON_NOTE,
    DASH,
    Cell,
    accuracy,
    difference,
    number,
    to_markdown_table,
    write_csv,
)

COLUMNS = {
    "model": "left",
    "GiB": "right",
    "train": "left",
    "test": "left",
    "against the best": "left",
    "tokens a question": "right",
    "tokens": "right",
    "time": "right",
}


class Baseline(NamedTuple):
    """A base model.

    Attributes:
        rows: its rows of the leaderboard by split.
        best: whether its accuracy on the deciding split is the highest. Several models may share it; a model that was
            trained on the questions of that split never has it.
        to_best: comparison with the first of the best; None for that model itself, for models that were trained on the
            questions, and where no model is best.
    """

    model: str
    rows: dict[str, Row]
    best: bool = False
    to_best: Comparison | None = None

    @property
    def seconds(self) -> float | None:
        """Wall time of both splits together; None where it is not known for one of them."""
        return sum_known([row.score.seconds for row in self.rows.values()])

    @property
    def tokens(self) -> float | None:
        """Tokens of prompts and completions of both splits together; None where they are not known for one of them."""
        scores = [row.score for row in self.rows.values()]
        return sum_known([count for score in scores for count in (score.prompt_tokens, score.completion_tokens)])

    @property
    def tokens_per_question(self) -> float | None:
        """Completion tokens, averaged over the questions of both splits."""
        questions = sum(row.score.questions + row.score.unlabelled for row in self.rows.values())
        tokens = sum_known([row.score.completion_tokens for row in self.rows.values()])
        return tokens / questions if tokens is not None and questions else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scores",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="results/{model}/scores/base/{split}.json, with the answers beside them; the table keeps their order",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration, YAML or JSON")
    parser.add_argument("--output", type=Path, required=True, metavar="CSV", help="the table with every figure")
    parser.add_argument("--markdown", type=Path, required=True, metavar="FILE", help="the table for people")


def run(arguments: argparse.Namespace) -> None:
    """Write both tables.

    Raises:
        Faults: the configuration is not valid.
        UserError: a file cannot be read, or is not the score of a base model.
    """
    rows = read_rows(arguments.scores, [])
    others = [f"{row.score.model}, {row.score.variant}" for row in rows if row.score.variant != BASE]
    if others:
        raise UserError(f"--scores: {'; '.join(others)}: not a base model. Give results/{{model}}/scores/base/*.json.")
    split, models = compare_models(rows)
    write_csv(arguments.output, [_to_record(model) for model in models])
    write_text(arguments.markdown, to_markdown(models, split, read_configuration_file(arguments.config)))


def compare_models(rows: Sequence[Row]) -> tuple[str | None, list[Baseline]]:
    """Compare the models with the best of them.

    A model that was trained on questions of the deciding split may remember the answers: it is neither called best nor
    compared.

    Returns:
        The split that decides which model is best: test, or train where test has no labels; None where neither has.
        The models in the order of the rows.
    """
    models = {row.score.model: Baseline(row.score.model, {}) for row in rows}
    for row in rows:
        models[row.score.model].rows[row.score.split] = row
    scored = [row for row in rows if row.score.accuracy is not None and row.score.split in SPLITS]
    split = next((each for each in reversed(SPLITS) if any(row.score.split == each for row in scored)), None)
    deciding = {row.score.model: row for row in scored if row.score.split == split and row.score.held_out}
    if not deciding:
        return split, list(models.values())
    best = max(deciding.values(), key=lambda row: row.score.accuracy or 0.0)
    for name, row in deciding.items():
        to_best = None if row is best else compare(row.answers, best.answers, best.score.model)
        models[name] = models[name]._replace(best=row.score.accuracy == best.score.accuracy, to_best=to_best)
    return split, list(models.values())


def _to_record(model: Baseline) -> dict[str, Cell]:
    """A row of the CSV file."""
    any_score = next(iter(model.rows.values())).score
    record: dict[str, Cell] = {
        "model": model.model,
        "weights_gib": any_score.weights_gib,
        "served": any_score.served,
    }
    figures = ("questions", "correct", "unreadable", "accuracy", "ci_low", "ci_high", "held_out", "seconds")
    for split in SPLITS:
        row = model.rows.get(split)
        for name in (*figures, "prompt_tokens", "completion_tokens"):
            record[f"{split}_{name}"] = getattr(row.score, name) if row else None
    test = model.to_best.test if model.to_best else None
    return {
        **record,
        "tokens_per_question": model.tokens_per_question,
        "seconds": model.seconds,
        "tokens": model.tokens,
        "best": model.to_best.against if model.to_best else None,
        "right_only_here": test.first_only if test else None,
        "right_only_best": test.second_only if test else None,
        "p": test.p if test else None,
    }


def to_markdown(models: Sequence[Baseline], split: str | None, configuration: Configuration) -> str:
    """The table, and a paragraph about it.

    Args:
        split: the split that decided which model is best.
    """
    generate = configuration.generate
    notes = [
        f"One completion a question, of at most {generate.max_tokens} tokens, at temperature {generate.temperature:g}.",
        "Tokens a question are those of completions; tokens and time are of both splits together.",
        _describe_differences(models, split) if split else "No split has labels.",
        COMPARISON_NOTE,
    ]
    trained_on = {row.score.split for model in models for row in model.rows.values() if not row.score.held_out}
    if trained_on:
        compared = f"; on {split} such a model is neither called best nor compared" if split in trained_on else ""
        notes.append(f"† The model was trained on questions of this split{compared}.")
    table = to_markdown_table(COLUMNS, [_to_cells(model, split) for model in models])
    return f"{table}\n{' '.join(note for note in notes if note)}\n"


def _to_cells(model: Baseline, split: str | None) -> list[str]:
    def accuracy_on(name: str) -> str:
        row = model.rows.get(name)
        if row is None:
            return DASH
        text = f"**{accuracy(row.score)}**" if model.best and name == split else accuracy(row.score)
        return text if row.score.held_out else f"{text} †"

    any_score = next(iter(model.rows.values())).score
    return [
        f"{model.model} ({any_score.served})",
        DASH if any_score.weights_gib is None else f"{any_score.weights_gib:.3g}",
        accuracy_on("train"),
        accuracy_on("test"),
        "is the best" if model.best and not model.to_best else difference(model.to_best),
        number(model.tokens_per_question),
        number(model.tokens),
        DASH if model.seconds is None else duration(model.seconds),
    ]


def _describe_differences(models: Sequence[Baseline], split: str) -> str:
    """Which models differ from the best, and that the best was chosen by the same questions."""
    if not any(model.best for model in models):
        return f"No row of {split} is held out, so none is called best."
    compared = [(model.model, model.to_best) for model in models if model.to_best]
    if not compared:
        return ""
    best = compared[0][1].against
    different = [name for name, comparison in compared if comparison.significant]
    similar = [name for name, comparison in compared if not comparison.significant]
    text = f"Best on {split}: {best}."
    text += f" Significantly different from it: {', '.join(different)}." if different else ""
    text += f" Not significantly different from it: {', '.join(similar)}." if similar else ""
    return f"{text} It was chosen by the accuracy that is shown here, which makes that accuracy look too good."
