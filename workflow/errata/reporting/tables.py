"""Cells and files of the tables that compare strategies and base models."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from errata.core.files import atomic_file
from errata.core.wording import p_value
from errata.reporting.leaderboard import LEVEL, Comparison
from errata.scoring.score import Score

Cell = str | float | None
"""A cell of a CSV file; None where it is not known."""

DASH = "–"
"""Shown for figures that are not known or do not apply."""

COMPARISON_NOTE = (
    "Intervals are Wilson 95 % intervals. Differences are on the same questions: + right only in this row, − right "
    "only in the other one; p is from the two-sided exact McNemar test, and differences with p below "
    f"{LEVEL} are bold. Each comparison is judged by itself: of 20 between equal models, one is expected to be bold."
)


def write_csv(path: Path, rows: Sequence[Mapping[str, Cell]]) -> None:
    """Write rows with the same columns. Unknown figures are empty, fractions are rounded to six digits."""
    with atomic_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow([round(cell, 6) if isinstance(cell, float) else cell for cell in row.values()])


def to_markdown_table(columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown.

    Args:
        columns: the alignment of each column by its title, "left" or "right".
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
    """ "+3.0 points (+12 −6), p = 0.24", in bold where it is significant."""
    if comparison is None:
        return DASH
    test = comparison.test
    points = f"{comparison.points:+.1f}".replace("-", "−")
    text = f"{points} points (+{test.first_only} −{test.second_only}), {p_value(test.p)}"
    return f"**{text}**" if comparison.significant else text
