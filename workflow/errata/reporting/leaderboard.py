"""The leaderboard: its rows, their order, and paired comparisons."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from errata.config.variants import BASE, Variant
from errata.core.errors import Faults
from errata.data.records import Key
from errata.data.rows import AnswerRow
from errata.scoring.answers import read_answers_by_key
from errata.scoring.score import Score
from errata.scoring.stats import McNemar, mcnemar

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05
"""A difference is significant where p is below this."""

COLUMNS = [
    "model",
    "variant",
    "split",
    "questions",
    "correct",
    "unreadable",
    "accuracy",
    "ci_low",
    "ci_high",
    "weights_gib",
    "seconds",
    "completion_tokens",
    "served",
    "held_out",
    "sampled_accuracy",
]
# Splits that are held out from training come first.
SPLIT_ORDER = ["test", "folds", "others", "train"]


class Comparison(NamedTuple):
    """A variant compared with another one of the same model, on the labelled questions that both answered.

    Attributes:
        against: name of the other variant.
        test: the variant is the first, `against` the second.
    """

    against: str
    test: McNemar

    @property
    def significant(self) -> bool:
        return self.test.p < LEVEL

    @property
    def points(self) -> float:
        """Difference of the two accuracies on the common questions, in percentage points."""
        return 100 * (self.test.first_only - self.test.second_only) / self.test.pairs


class Row(NamedTuple):
    """A row of the leaderboard.

    Attributes:
        answers: empty where the answers file is missing.
        to_base: None for the base itself, and where there are no common questions.
        to_origin: comparison with the variant's origin, see `origin_of`; None where that is the base.
        origin: score of the origin.
    """

    score: Score
    answers: dict[Key, AnswerRow]
    to_base: Comparison | None = None
    to_origin: Comparison | None = None
    origin: Score | None = None

    @property
    def variant(self) -> Variant:
        return Variant.parse(self.score.variant)

    @property
    def failed(self) -> int:
        """Labelled questions for which the server gave no completion: they count as unreadable, so as wrong."""
        return sum(each.failed and each.expected is not None for each in self.answers.values())


def origin_of(variant: Variant) -> Variant | None:
    """The variant that another one is made from: the single completion for a majority, the unquantized weights for
    quantized ones; None for others."""
    if variant.votes is not None:
        return variant.greedy
    return variant._replace(bits=None) if variant.bits is not None else None


def compare(variant: dict[Key, AnswerRow], against: dict[Key, AnswerRow], name: str) -> Comparison | None:
    """Compare two variants on the questions that both answered under the same label; None where there are none."""
    outcomes = [
        (answer.correct is True, against[key].correct is True)
        for key, answer in variant.items()
        if answer.expected is not None and key in against and against[key].expected == answer.expected
    ]
    return Comparison(name, mcnemar(outcomes)) if outcomes else None


def read_rows(paths: Iterable[Path], strategies: Sequence[str]) -> list[Row]:
    """Read scores with the answers beside them, and compare and order them.

    Args:
        paths: score files; the answers of `test.json` are in `test.jsonl`.
        strategies: in the configuration's order, which the rows follow.

    Returns:
        Rows by model (in the order of `paths`), split, then base, tuned and quantized variants, each before its votes.

    Raises:
        Faults: two files score the same variant on the same split.
        UserError: a file cannot be read.
    """
    found: dict[tuple[str, str, str], tuple[Path, Score]] = {}
    faults = []
    for path in dict.fromkeys(paths):
        score = Score.read(path)
        key = (score.model, score.split, score.variant)
        if key in found:
            faults.append(f"{path}: {score.model}, {score.variant}, {score.split} is also in {found[key][0]}")
        found[key] = (path, score)
    if faults:
        raise Faults("scores", faults, "name each score once; delete files left from a renamed model.")
    answers = {}
    for key, (path, _) in found.items():
        beside = path.with_suffix(".jsonl")
        answers[key] = read_answers_by_key(beside) if beside.exists() else {}
    models = list(dict.fromkeys(model for model, _, _ in found))
    order = [BASE, *strategies]

    def rank(key: tuple[str, str, str]) -> tuple[int | str, ...]:
        model, split, text = key
        variant = Variant.parse(text)
        place = order.index(variant.strategy) if variant.strategy in order else len(order)
        splits = SPLIT_ORDER.index(split if split in SPLIT_ORDER else "others")
        return models.index(model), splits, split, place, variant.strategy, -(variant.bits or 1000), variant.votes or 0

    rows = []
    for key in sorted(found, key=rank):
        model, split, text = key
        origin = origin_of(Variant.parse(text))
        source = (model, split, str(origin)) if origin else None
        base = answers.get((model, split, BASE), {}) if text != BASE else {}
        rows.append(
            Row(
                found[key][1],
                answers[key],
                compare(answers[key], base, BASE),
                compare(answers[key], answers[source], str(origin))
                if source in answers and str(origin) != BASE
                else None,
                found[source][1] if source in found else None,
            )
        )
    return rows


def to_table(rows: Iterable[Row]) -> "pd.DataFrame":
    """The leaderboard as in leaderboard.csv; unknown figures are empty."""
    import pandas as pd

    frame = pd.DataFrame([{name: getattr(row.score, name) for name in COLUMNS} for row in rows], columns=COLUMNS)
    # nullable integers: otherwise a missing count turns its column into floats
    for name in ("questions", "correct", "unreadable", "completion_tokens"):
        frame[name] = frame[name].astype("Int64")
    return frame.round(
        {"accuracy": 6, "ci_low": 6, "ci_high": 6, "weights_gib": 4, "seconds": 1, "sampled_accuracy": 6}
    )
