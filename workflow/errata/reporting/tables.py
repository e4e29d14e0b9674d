"""What the tables of target `ablation` and of target `baselines` have in common."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from errata.core.errors import UserError
from errata.core.files import atomic_file
from errata.core.wording import p_value
from errata.reporting.leaderboard import LEVEL, Comparison
from errata.scoring.score import Score

DASH = "–"
"""Of what is not known, or does not apply."""


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration, YAML or JSON.

    Raises:
        UserError: it cannot be read or is no mapping.
    """
    import yaml

    try:
        config = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"--config {path}: cannot read ({error}). Give a YAML or JSON file.") from error
    if not isinstance(config, dict):
        raise UserError(f"--config {path}: no mapping. Give a YAML or JSON file.")
    return config


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of the same columns; what is not known is empty, fractions have six digits."""
    with atomic_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow([round(cell, 6) if isinstance(cell, float) else cell for cell in row.values()])


def markdown(columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> str:
    """A table for a README.

    Args:
        columns: titles, each with "left" or "right".
    """
    marks = ["---:" if side == "right" else "---" for side in columns.values()]
    lines = [list(columns), marks, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def number(value: float | None, digits: int = 0) -> str:
    """ "1,234" """
    return DASH if value is None else f"{value:,.{digits}f}"


def accuracy(score: Score | None) -> str:
    """ "48.0 % (41.2 to 54.9), 96 of 200" """
    if score is None or score.accuracy is None or score.ci_low is None or score.ci_high is None:
        return DASH
    interval = f"({100 * score.ci_low:.1f} to {100 * score.ci_high:.1f})"
    return f"{100 * score.accuracy:.1f} % {interval}, {score.correct} of {score.questions}"


def difference(comparison: Comparison | None) -> str:
    """ "+3.0 points (+12 −6), p = 0.24"; in bold where it is significant."""
    if comparison is None:
        return DASH
    test = comparison.test
    points = f"{comparison.points:+.1f}".replace("-", "−")
    text = f"{points} points (+{test.first_only} −{test.second_only}), {p_value(test.p)}"
    return f"**{text}**" if comparison.significant else text


JUDGED = (
    "Intervals are Wilson 95 % intervals. Differences are of the same questions: right only in this row (+), right "
    f"only in the other (−), with the exact McNemar test, two-sided; bold ones have p below {LEVEL}. Each comparison "
    "is judged by itself: of 20 between equals, one is expected to be bold."
)
