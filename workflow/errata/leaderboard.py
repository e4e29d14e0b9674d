"""The scores side by side: the leaderboard's rows, paired comparisons, and what they say in plain words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from errata.errors import Faults
from errata.files import read_jsonl
from errata.records import Key
from errata.score import Answer, Score, read_answers
from errata.stats import McNemar, mcnemar

if TYPE_CHECKING:
    import pandas as pd

BASE = "base"
LEVEL = 0.05
"""A difference is called significant when p is below this."""
MANY = 4
"""Quantized variants that the summary tells one by one; more are told together."""

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
]


class Comparison(NamedTuple):
    """A variant against another one of the same model, on the labelled questions that both answered.

    In `test` the first is the variant, the second is `against`.
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

    `answers` is empty where the answers file is missing. `to_base` is None for the base itself and where there
    is nothing to compare; `to_tuned` compares a quantized variant with the checkpoint it was made of.
    """

    score: Score
    answers: dict[Key, Answer]
    to_base: Comparison | None = None
    to_tuned: Comparison | None = None

    @property
    def failed(self) -> int:
        """Requests for labelled questions that the server refused: they count as unreadable, so as wrong."""
        return sum(each.finish_reason == "error" and each.expected is not None for each in self.answers.values())


def parts(variant: str) -> tuple[str, int | None]:
    """Split a variant into its strategy and its bits: "self-4bit" into ("self", 4), "self" into ("self", None)."""
    found = re.fullmatch(r"(.+)-(\d+)bit", variant)
    return (found[1], int(found[2])) if found else (variant, None)


def compare(variant: dict[Key, Answer], against: dict[Key, Answer], name: str) -> Comparison | None:
    """Compare two variants on the questions that both answered under the same label; None if there is none."""
    outcomes = [
        (answer.correct, against[key].correct)
        for key, answer in variant.items()
        if answer.expected is not None and key in against and against[key].expected == answer.expected
    ]
    return Comparison(name, mcnemar(outcomes)) if outcomes else None


def collect(paths: Iterable[Path], strategies: Sequence[str]) -> list[Row]:
    """Read scores and the answers beside them, order them and compare them.

    Args:
        paths: score files; the answers of `test.json` are `test.jsonl`.
        strategies: the order of the configuration, which the rows follow.

    Returns:
        Rows by model (as they come), split, then base, tuned and quantized variants.

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
        answers[key] = read_answers(beside) if beside.exists() else {}
    models = list(dict.fromkeys(model for model, _, _ in found))
    order = [BASE, *strategies]

    def rank(key: tuple[str, str, str]) -> tuple[int, bool, str, int, str, int]:
        model, split, variant = key
        strategy, bits = parts(variant)
        place = order.index(strategy) if strategy in order else len(order)
        # the held-out split first: it is what counts
        return (models.index(model), split == "train", split, place, strategy, -(bits or 1000))

    rows = []
    for key in sorted(found, key=rank):
        model, split, variant = key
        strategy, bits = parts(variant)
        base = answers.get((model, split, BASE), {}) if variant != BASE else {}
        tuned = answers.get((model, split, strategy), {}) if bits is not None else {}
        rows.append(
            Row(
                found[key][1],
                answers[key],
                compare(answers[key], base, BASE),
                compare(answers[key], tuned, strategy) if strategy != BASE else None,
            )
        )
    return rows


def table(rows: Iterable[Row]) -> "pd.DataFrame":
    """The leaderboard as it stands in leaderboard.csv; what is not known is empty."""
    import pandas as pd

    frame = pd.DataFrame([{name: getattr(row.score, name) for name in COLUMNS} for row in rows], columns=COLUMNS)
    # Nullable integers: a missing count would otherwise turn its column into floats.
    for name in ("questions", "correct", "unreadable", "completion_tokens"):
        frame[name] = frame[name].astype("Int64")
    return frame.round({"accuracy": 6, "ci_low": 6, "ci_high": 6, "weights_gib": 4, "seconds": 1})


def p_value(p: float) -> str:
    """A p value for people: "p < 0.0001", "p = 0.0003", "p = 0.27"."""
    if p < 0.0001:
        return "p < 0.0001"
    return f"p = {p:.4f}" if p < 0.1 else f"p = {p:.2f}"


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def counted(score: Score) -> str:
    """ "96 of 200 right (48.0 %, 95 % interval 41.2 to 54.9 %)" """
    if score.accuracy is None or score.ci_low is None or score.ci_high is None:
        return f"{score.unlabelled} questions without a label, so nothing could be scored"
    return (
        f"{score.correct} of {score.questions} right ({percent(score.accuracy)}, "
        f"95 % interval {100 * score.ci_low:.1f} to {percent(score.ci_high)})"
    )


def verdict(row: Row, comparison: Comparison) -> str:
    """What a comparison says, significant or not, in one clause."""
    test = comparison.test
    if not test.first_only + test.second_only:
        return f"no question tells it from {comparison.against} (p = 1)"
    side = "more" if comparison.points >= 0 else "less"
    subset = "" if test.pairs == row.score.questions else f" on the {test.pairs} questions that both answered"
    return (
        f"{abs(comparison.points):.1f} points {side} than {comparison.against}{subset}: "
        f"{'significant' if comparison.significant else 'not significant'}, exact McNemar {p_value(test.p)} "
        f"({test.first_only} questions right only here, {test.second_only} only there)"
    )


def guessing(data: Path) -> float | None:
    """The share of labelled questions that guessing at random gets right on average; None where there is none.

    Args:
        data: results/data/{split}.jsonl.
    """
    if not data.exists():
        return None
    labelled = [
        1 / len(question["options"])
        for record in read_jsonl(data)
        for question in record["questions"]
        if question.get("answer") is not None
    ]
    return sum(labelled) / len(labelled) if labelled else None


def readable(score: Score) -> str:
    """What is left when unreadable answers are set aside: whether a variant knows more, or only says it readably."""
    if not score.unreadable or score.questions == score.unreadable:
        return "; no answer can be read" if score.unreadable else ""
    right = percent(score.correct / (score.questions - score.unreadable))
    return f"; {score.unreadable} answers cannot be read, of the others {right} are right"


def summary(
    rows: Sequence[Row], model: str, budgets: dict[int, float], chance: Mapping[str, float | None]
) -> list[str]:
    """What the scores of one model say, one sentence or two a variant, computed from the figures alone.

    Args:
        rows: all rows; those of the held-out splits are told, those of `train` only when there is no other.
        budgets: GiB that weights of a number of bits may take.
        chance: what guessing gets right in each split, see `guessing`.
    """
    mine = [row for row in rows if row.score.model == model]
    told = [row for row in mine if row.score.split != "train"] or mine
    sentences = []
    for split in dict.fromkeys(row.score.split for row in told):
        here = [row for row in told if row.score.split == split]
        if not any(row.score.questions for row in here):
            unlabelled = max(row.score.unlabelled for row in here)
            sentences.append(
                f"Split {split} has no labelled question: its {unlabelled} questions were answered, none was scored."
            )
            continue
        if split == "train":
            sentences.append("Only the training split was scored; what follows says nothing of new questions.")
        guessed = chance.get(split)
        if guessed is not None:
            sentences.append(f"Guessing at random gets {percent(guessed)} of {split} right on average.")
        quantized = [row for row in here if parts(row.score.variant)[1] is not None]
        one_by_one = len(quantized) <= MANY
        for row in here:
            if one_by_one or row not in quantized:
                told_so = f"On {split}, {row.score.variant} answers {counted(row.score)}{readable(row.score)}"
                sentences.append(told_so + _rest(row, budgets))
        if not one_by_one:
            sentences.append(_together(quantized, split, budgets))
        if not any(row.score.variant == BASE for row in here):
            sentences.append(f"The base model was not scored on {split}, so there is nothing to compare with.")
    return sentences


def _together(quantized: Sequence[Row], split: str, budgets: dict[int, float]) -> str:
    """One sentence or two for quantized variants that are too many to be told one by one."""
    compared = [row for row in quantized if row.to_tuned]
    differ = [row.score.variant for row in compared if row.to_tuned and row.to_tuned.significant]
    over = [row.score.variant for row in quantized if within(row.score, budgets) is False]
    text = (
        f"On {split}, of {len(compared)} quantized variants "
        f"{'these differ' if differ else 'none differs'} significantly from the checkpoint they were made of "
        f"(exact McNemar){': ' + ', '.join(differ) if differ else ''}."
    )
    if any(within(row.score, budgets) is not None for row in quantized):
        text += f" Over their memory limit: {', '.join(over) or 'none'}."
    return text + " The leaderboard tells them one by one."


def within(score: Score, budgets: dict[int, float]) -> bool | None:
    """Whether the weights keep the limit for their bits; None without a limit or a size."""
    bits = parts(score.variant)[1]
    if bits not in budgets or score.weights_gib is None:
        return None
    return score.weights_gib <= budgets[bits]


def _rest(row: Row, budgets: dict[int, float]) -> str:
    clauses = [verdict(row, each) for each in (row.to_base, row.to_tuned) if each]
    text = "; " + "; ".join(clauses) + "." if clauses else "."
    fits = within(row.score, budgets)
    bits = parts(row.score.variant)[1]
    if fits is not None and bits is not None:
        text += (
            f" Its weights take {row.score.weights_gib:.3g} GiB, "
            f"{'within' if fits else 'over'} the {bits}-bit limit of {budgets[bits]:g} GiB."
        )
    return text
