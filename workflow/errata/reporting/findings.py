"""The findings of a run in sentences, computed from the figures alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from errata.config.variants import BASE, Variant
from errata.core.files import read_jsonl
from errata.core.wording import p_value, percent
from errata.reporting.leaderboard import Comparison, Row
from errata.scoring.score import Score

MANY = 4
"""At most so many quantized variants get a sentence each; more share one."""


def describe_score(score: Score) -> str:
    """ "96 of 200 right (48.0 %, 95 % interval 41.2 to 54.9 %)" """
    if score.accuracy is None or score.ci_low is None or score.ci_high is None:
        return f"{score.unlabelled} questions without a label, so nothing could be scored"
    return (
        f"{score.correct} of {score.questions} right ({percent(score.accuracy)}, "
        f"95 % interval {100 * score.ci_low:.1f} to {percent(score.ci_high)})"
    )


def describe_comparison(row: Row, comparison: Comparison) -> str:
    """A comparison and its significance in one clause."""
    test = comparison.test
    if not test.first_only + test.second_only:
        return f"no question distinguishes it from {comparison.against} (p = 1)"
    side = "more" if comparison.points >= 0 else "less"
    subset = "" if test.pairs == row.score.questions else f" on the {test.pairs} questions that both answered"
    return (
        f"{abs(comparison.points):.1f} points {side} than {comparison.against}{subset}: "
        f"{'significant' if comparison.significant else 'not significant'}, exact McNemar {p_value(test.p)} "
        f"({test.first_only} questions right only here, {test.second_only} only there)"
    )


def chance_accuracy(data: Path) -> float | None:
    """The mean accuracy of random guesses on the labelled questions; None where there are none.

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


def describe_readable(score: Score) -> str:
    """The accuracy of the readable answers: it shows whether a variant knows more, or only answers more readably."""
    if not score.unreadable or score.questions == score.unreadable:
        return "; no answer can be read" if score.unreadable else ""
    right = percent(score.correct / (score.questions - score.unreadable))
    return f"; {score.unreadable} answers cannot be read, of the others {right} are right"


def summarize_model(
    rows: Sequence[Row], model: str, budgets: dict[int, float], chance: Mapping[str, float | None]
) -> list[str]:
    """The findings about one model, one or two sentences a variant.

    Args:
        rows: all rows; those of `train` are used only where no other split has labels.
        budgets: limit of the weights in GiB, by number of bits.
        chance: accuracy of random guesses by split, see `chance_accuracy`.
    """
    mine = [row for row in rows if row.score.model == model]
    shown = [row for row in mine if row.score.split != "train"]
    if not any(row.score.questions for row in shown):
        shown = mine
    sentences = []
    for split in dict.fromkeys(row.score.split for row in shown):
        here = [row for row in shown if row.score.split == split]
        if not any(row.score.questions for row in here):
            unlabelled = max(row.score.unlabelled for row in here)
            sentences.append(
                f"Split {split} has no labelled question: its {unlabelled} questions were answered, none was scored."
            )
            continue
        if not all(row.score.held_out for row in here):
            sentences.append(
                f"The figures of {split} say nothing about new questions: the models were trained on this split."
            )
        guessed = chance.get(split)
        if guessed is not None:
            sentences.append(f"Random guesses get {percent(guessed)} of {split} right on average.")
        quantized = [row for row in here if row.variant.bits is not None]
        one_by_one = len(quantized) <= MANY
        for row in here:
            if one_by_one or row not in quantized:
                sentence = (
                    f"On {split}, {row.score.variant} answers {describe_score(row.score)}{describe_readable(row.score)}"
                )
                sentences.append(sentence + _describe_rest(row, budgets))
        if not one_by_one:
            sentences.append(_summarize_quantized(quantized, split, budgets))
        if not any(row.score.variant == BASE for row in here):
            sentences.append(f"The base model was not scored on {split}, so there is nothing to compare with.")
    return sentences


def _summarize_quantized(quantized: Sequence[Row], split: str, budgets: dict[int, float]) -> str:
    """One or two sentences about quantized variants that are too many for a sentence each."""
    compared = [row for row in quantized if row.to_origin]
    differ = [row.score.variant for row in compared if row.to_origin and row.to_origin.significant]
    over = [row.score.variant for row in quantized if is_within_limit(row.score, budgets) is False]
    text = (
        f"On {split}, of {len(compared)} quantized variants "
        f"{'these differ' if differ else 'none differs'} significantly from the weights they were made from "
        f"(exact McNemar){': ' + ', '.join(differ) if differ else ''}."
    )
    if any(is_within_limit(row.score, budgets) is not None for row in quantized):
        text += f" Over their memory limit: {', '.join(over) or 'none'}."
    return text + " The leaderboard has a row for each."


def is_within_limit(score: Score, budgets: dict[int, float]) -> bool | None:
    """Whether the weights are within the limit for their bits; None without a limit or a size."""
    bits = Variant.parse(score.variant).bits
    if bits not in budgets or score.weights_gib is None:
        return None
    return score.weights_gib <= budgets[bits]


def _describe_rest(row: Row, budgets: dict[int, float]) -> str:
    clauses = [describe_comparison(row, each) for each in (row.to_base, row.to_origin) if each]
    text = "; " + "; ".join(clauses) + "." if clauses else "."
    bits, votes = row.variant.bits, row.variant.votes
    fits = is_within_limit(row.score, budgets)
    if votes is not None:
        text += describe_vote_cost(row, votes)
    elif fits is not None and bits is not None:
        text += (
            f" Its weights take {row.score.weights_gib:.3g} GiB, "
            f"{'within' if fits else 'over'} the {bits}-bit limit of {budgets[bits]:g} GiB."
        )
    return text


def describe_vote_cost(row: Row, votes: int) -> str:
    """The cost of a majority vote in completion tokens, and the accuracy of a single sample, where they are known."""
    before = row.origin.completion_tokens if row.origin else None
    text = f" {votes} sampled completions a question"
    if before and row.origin and row.score.completion_tokens is not None:
        text += f": {row.score.completion_tokens / before:.1f} times the completion tokens of {row.origin.variant}"
    if row.score.sampled_accuracy is not None:
        text += f"; a single sample is right in {percent(row.score.sampled_accuracy)} of cases on average"
    return text + "."


def describe_held_out(rows: Sequence[Row], folds: int | None, leaks: Sequence[str] | None) -> list[str]:
    """Which figures are held out from training, one sentence a split.

    Args:
        folds: number of folds of the training questions; None where it is not known.
        leaks: ids of training problems that occur in test word for word; None where it was not checked.
    """
    sentences = []
    for split in dict.fromkeys(row.score.split for row in rows):
        here = [row for row in rows if row.score.split == split]
        trained = [row.score.variant for row in here if not row.score.held_out]
        if split == "test" and not trained:
            sentences.append("test is held out: no model was trained on questions of this split." + _left_out(leaks))
        elif split == "folds" and not trained:
            sentences.append(
                "folds is held out: every question of train was answered by a model trained without its fold "
                f"({f'{folds} folds' if folds else 'k-fold'}, by problem)."
            )
        elif trained:
            others = any(row.score.held_out for row in here)
            sentences.append(
                f"{split} is not held out: the model was trained on questions of this split"
                + (f" ({', '.join(trained)}; the others were not)." if others else ".")
            )
        else:
            sentences.append(f"{split}: no scored model was trained on its questions.")
    tuned = [row for row in rows if row.variant.strategy != BASE]
    if tuned and not any(row.score.held_out and row.score.questions for row in tuned):
        sentences.append(
            "No tuned model was scored on labelled questions that it was not trained on, so no figure here says how it "
            "answers new ones. `dataset.folds: 5` in the configuration would: every question of train is then scored "
            "by a model trained without its fold."
        )
    return sentences


def _left_out(leaks: Sequence[str] | None) -> str:
    if leaks is None:
        return ""
    if not leaks:
        return " No problem of train occurs in it word for word."
    some = f"{', '.join(leaks[:10])}{', ...' if len(leaks) > 10 else ''}"
    one = len(leaks) == 1
    return (
        f" {len(leaks)} problem{'' if one else 's'} of train occur{'s' if one else ''} in it word for word ({some}); "
        f"{'it is' if one else 'they are'} left out of the training sets and of calibration."
    )
