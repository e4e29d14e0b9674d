"""Step baselines: the base models side by side on both splits, as CSV and as a table for a README."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from errata.config.variants import BASE
from errata.core.errors import UserError
from errata.core.files import write_text
from errata.core.wording import duration
from errata.data.records import SPLITS
from errata.reporting.leaderboard import Comparison, Row, compare, read_rows
from errata.reporting.tables import DASH, JUDGED, accuracy, difference, markdown, number, read_config, write_csv

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
        rows: its scores by split.
        best: on the deciding split; several may be, but none that was trained on its questions.
        to_best: against the first of these; None for that itself, where there is none, and of a model that was trained
            on the questions.
    """

    model: str
    rows: dict[str, Row]
    best: bool = False
    to_best: Comparison | None = None

    def row(self, split: str) -> Row | None:
        return self.rows.get(split)

    def total(self, name: str) -> float | None:
        """A figure of all its splits together; None where one of them does not have it."""
        values = [getattr(row.score, name) for row in self.rows.values()]
        return None if None in values else sum(values)

    @property
    def tokens(self) -> float | None:
        """Of prompts and completions."""
        prompts, completions = self.total("prompt_tokens"), self.total("completion_tokens")
        return None if prompts is None or completions is None else prompts + completions

    @property
    def tokens_per_question(self) -> float | None:
        """Of completions."""
        asked = sum(row.score.questions + row.score.unlabelled for row in self.rows.values())
        tokens = self.total("completion_tokens")
        return tokens / asked if tokens is not None and asked else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scores",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="results/{model}/scores/base/{split}.json, answers beside; the table is in the order of the models here",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration")
    parser.add_argument("--output", type=Path, required=True, metavar="CSV", help="the table with every figure")
    parser.add_argument("--markdown", type=Path, required=True, metavar="FILE", help="the table for people")


def run(arguments: argparse.Namespace) -> None:
    """Write both tables.

    Raises:
        UserError: a file cannot be read, or is not the score of a base model.
    """
    rows = read_rows(arguments.scores, [])
    other = [f"{row.score.model}, {row.score.variant}" for row in rows if row.score.variant != BASE]
    if other:
        raise UserError(f"--scores: {'; '.join(other)}: not a base model. Give results/{{model}}/scores/base/*.json.")
    split, models = side_by_side(rows)
    write_csv(arguments.output, [_figures(model) for model in models])
    write_text(arguments.markdown, page(models, split, read_config(arguments.config)))


def side_by_side(rows: Sequence[Row]) -> tuple[str | None, list[Baseline]]:
    """The models in their order, compared with the best, and the split that decides: test, or train where it has no
    labels.

    A model that was trained on the questions of that split knows answers by heart: it is neither the best nor compared.
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
        against = None if row is best else compare(row.answers, best.answers, best.score.model)
        models[name] = models[name]._replace(best=row.score.accuracy == best.score.accuracy, to_best=against)
    return split, list(models.values())


def _figures(model: Baseline) -> dict[str, Any]:
    """A row of the CSV file."""
    any_row = next(iter(model.rows.values()))
    figures: dict[str, Any] = {
        "model": model.model,
        "weights_gib": any_row.score.weights_gib,
        "served": any_row.score.served,
    }
    names = ("questions", "correct", "unreadable", "accuracy", "ci_low", "ci_high", "held_out", "seconds")
    for split in SPLITS:
        row = model.row(split)
        for name in (*names, "prompt_tokens", "completion_tokens"):
            figures[f"{split}_{name}"] = getattr(row.score, name) if row else None
    test = model.to_best.test if model.to_best else None
    return {
        **figures,
        "tokens_per_question": model.tokens_per_question,
        "seconds": model.total("seconds"),
        "tokens": model.tokens,
        "best": model.to_best.against if model.to_best else None,
        "right_only_here": test.first_only if test else None,
        "right_only_best": test.second_only if test else None,
        "p": test.p if test else None,
    }


def page(models: Sequence[Baseline], split: str | None, config: Mapping[str, Any]) -> str:
    """The table in Markdown, with what it says and what it does not."""
    notes = [
        _how(config),
        "Tokens a question are those of completions; tokens and time are of both splits together.",
        _says(models, split) if split else "No split has labels.",
        JUDGED,
    ]
    seen = {row.score.split for model in models for row in model.rows.values() if not row.score.held_out}
    if seen:
        compared = f"; on {split} such a one is neither called best nor compared" if split in seen else ""
        notes.append(f"† The model was trained on questions of this split{compared}.")
    text = markdown(COLUMNS, [_cells(model, split) for model in models])
    return f"{text}\n{' '.join(note for note in notes if note)}\n"


def _cells(model: Baseline, split: str | None) -> list[str]:
    def scored(name: str) -> str:
        row = model.row(name)
        if row is None:
            return DASH
        text = f"**{accuracy(row.score)}**" if model.best and name == split else accuracy(row.score)
        return text if row.score.held_out else f"{text} †"

    score = next(iter(model.rows.values())).score
    seconds = model.total("seconds")
    return [
        f"{model.model} ({score.served})",
        DASH if score.weights_gib is None else f"{score.weights_gib:.3g}",
        scored("train"),
        scored("test"),
        "is the best" if model.best and not model.to_best else difference(model.to_best),
        number(model.tokens_per_question),
        number(model.tokens),
        DASH if seconds is None else duration(seconds),
    ]


def _how(config: Mapping[str, Any]) -> str:
    generate = config.get("generate") or {}
    if "max_tokens" not in generate or "temperature" not in generate:
        return ""
    return (
        f"One completion a question, of at most {generate['max_tokens']} tokens, at temperature "
        f"{generate['temperature']:g}."
    )


def _says(models: Sequence[Baseline], split: str) -> str:
    """Which differences to the best there are, and that it was picked by the same questions."""
    if not any(model.best for model in models):
        return f"No row of {split} is held out, so none is called best."
    compared = [model for model in models if model.to_best]
    if not compared or compared[0].to_best is None:
        return ""
    best = compared[0].to_best.against
    differ = [model.model for model in compared if model.to_best and model.to_best.significant]
    alike = [model.model for model in compared if model.to_best and not model.to_best.significant]
    text = f"Best on {split}: {best}."
    text += f" Significantly different from it: {', '.join(differ)}." if differ else ""
    text += f" Not told apart from it by these questions: {', '.join(alike)}." if alike else ""
    return f"{text} It was picked by the very figure that stands here, which flatters it."
