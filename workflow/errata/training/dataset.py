"""Step training-set: what a strategy trains on, in the format of LLaMA-Factory."""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from errata.config.methods import METHODS
from errata.core.errors import UserError
from errata.core.files import write_json
from errata.data.held_out import add_held_out_arguments
from errata.data.records import Key
from errata.reading.letters import likeness
from errata.training.alpaca import PreferenceRow, SftRow, read_keys
from errata.training.completions import Completions, RetriedQuestion
from errata.training.pairs import Pair, balanced_pairs, candidate_pairs, closest_pairs, mean_log_ratio

# Ends messages: what may give a strategy something to train on.
_REMEDY = "Raise generate.attempts or generate.retry_temperature, or bring more questions."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", choices=METHODS, default="self", help="dpo makes pairs, the others completions")
    add_held_out_arguments(parser)
    parser.add_argument("--answers", type=Path, required=True, help="first answers of the training split")
    parser.add_argument("--retries", type=Path, required=True, help="results/{model}/retries/{strategy}.jsonl")
    parser.add_argument("--keep", type=int, default=1, help="at most so many different right completions of a question")
    parser.add_argument("--pairs", type=int, default=1, help="at most so many pairs of a question, for dpo")
    parser.add_argument(
        "--replay",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the first-right questions that is trained on too, each with its own first completion",
    )
    parser.add_argument("--seed", type=int, default=1, help="chooses the questions to replay")
    parser.add_argument(
        "--before",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="training sets of earlier rounds: a round that adds no question to them has nothing to train on",
    )
    parser.add_argument(
        "--or-nothing", action="store_true", help="if there is nothing to train on, write an empty set instead"
    )
    parser.add_argument("--output", type=Path, required=True, help="results/{model}/sft/{strategy}.json")


def run(arguments: argparse.Namespace) -> None:
    """Write a row for each completion, or for each pair of completions, that is trained on.

    Raises:
        UserError: there is nothing to train on; a completion is not as right or wrong as its file says; the files do
            not belong together.
    """
    _check(arguments)
    rows: Sequence[SftRow | PreferenceRow]
    try:
        rows = make_rows(arguments)
    except NothingToTrainOn as nothing:
        if not arguments.or_nothing:
            raise
        print(f"{nothing}\n{arguments.output}: empty, so there is no training", file=sys.stderr)
        rows = []
    write_json(arguments.output, [row.to_record() for row in rows])


class NothingToTrainOn(UserError):
    """There is nothing to train on."""


def _check(arguments: argparse.Namespace) -> None:
    if not 0 <= arguments.replay <= 1:
        raise UserError(f"--replay {arguments.replay:g}: a share is a number from 0 to 1.")
    if arguments.replay and "replay" not in METHODS[arguments.method].options:
        raise UserError("--replay: dpo trains on pairs, and a first-right question has no wrong completion.")
    for name, number in (("keep", arguments.keep), ("pairs", arguments.pairs)):
        if number < 1:
            raise UserError(f"--{name} {number}: at least 1.")


def make_rows(arguments: argparse.Namespace) -> Sequence[SftRow | PreferenceRow]:
    """The rows of the training set.

    Raises:
        NothingToTrainOn: there are none, or none that is new in this round.
        UserError: as `run`.
    """
    completions = Completions.read(arguments.data, arguments.answers, arguments.retries, arguments.held_out)
    if completions.held_out:
        print(f"{len(completions.held_out)} problems are held out", file=sys.stderr)
    if METHODS[arguments.method].stage == "dpo":
        pairs = preference_rows(completions, arguments.keep, arguments.pairs)
        _check_new(pairs, arguments)
        return pairs
    rows = right_rows(completions, arguments.keep, arguments.method)
    which = " of first-wrong questions" if METHODS[arguments.method].first_wrong_only else ""
    print(f"{arguments.output}: {len(rows)} right completions{which}", file=sys.stderr)
    _check_new(rows, arguments)
    if arguments.replay:
        replayed = replay_rows(completions, arguments.replay, arguments.seed, rows)
        print(f"{len(replayed)} questions that were right at first are added", file=sys.stderr)
        rows += replayed
    return rows


def _check_new(rows: Sequence[SftRow | PreferenceRow], arguments: argparse.Namespace) -> None:
    """Check that a round adds at least one question to the training sets of earlier rounds."""
    if not arguments.before:
        return
    earlier = {key for path in arguments.before for key in read_keys(path)}
    new = {row.key for row in rows} - earlier
    print(f"{len(new)} of these questions are in no earlier round's training set", file=sys.stderr)
    if not new:
        raise NothingToTrainOn(f"{arguments.retries}: no question is solved that no earlier round has trained on.")


def right_rows(completions: Completions, keep: int, method: str) -> list[SftRow]:
    """The first `keep` right completions of each question.

    Raises:
        NothingToTrainOn: there is none at all.
    """
    rows = [
        SftRow(question.key, question.prompt, text.text, question.template)
        for question in completions.retried_questions(with_wrong=False)
        for text in question.right[:keep]
    ]
    if not rows:
        none = "no first-wrong question was solved" if METHODS[method].first_wrong_only else "no question was solved"
        raise NothingToTrainOn(
            f"{completions.retries}: {none}, so there is nothing to train on{_held_out(completions)}. {_REMEDY}"
        )
    return rows


def replay_rows(completions: Completions, share: float, seed: int, right: Sequence[SftRow]) -> list[SftRow]:
    """Choose a share of the first-right questions, each with its own first completion.

    Args:
        share: from 0 to 1; at least one question is chosen.
        seed: of the choice.
        right: rows that are trained on anyway; a completion like one of them is left out.

    Raises:
        UserError: a chosen completion is not right.
    """
    candidates = completions.first_right()
    number = max(1, round(share * len(candidates))) if candidates else 0
    chosen = set(random.Random(seed).sample(candidates, number))
    present = {(row.key, likeness(row.completion)) for row in right}
    rows = []
    for key, first in completions.first_answers.items():
        if key in chosen:
            completions.verify_first(key, first)
            row = first.row
            if (key, likeness(row.completion)) not in present:
                rows.append(SftRow(key, row.prompt, row.completion, row.template))
    return rows


def preference_rows(completions: Completions, keep: int, limit: int) -> list[PreferenceRow]:
    """Pairs of completions, chosen as errata.training.pairs describes.

    Args:
        keep: at most so many right completions of a question.
        limit: at most so many pairs of a question.

    Raises:
        NothingToTrainOn: no pair remains.
    """
    questions: dict[Key, RetriedQuestion] = {}
    total, chosen = 0, list[Pair]()
    for question in completions.retried_questions(with_wrong=True):
        candidates = candidate_pairs(question.key, question.right[:keep], question.wrong)
        if candidates:
            questions[question.key] = question
            total += len(candidates)
            chosen += closest_pairs(candidates, limit)
    kept = balanced_pairs(chosen)
    counts = f"{total} candidates of {len(questions)} questions"
    if not kept:
        unbalanced = f", and the {len(chosen)} that are most equal in length cannot be balanced" if chosen else ""
        raise NothingToTrainOn(
            f"{completions.retries}: no pair of a right and a wrong completion to train on: {counts}{unbalanced}"
            f"{_held_out(completions)}. Raise generate.attempts and `keep` of the strategy, or bring more questions."
        )
    print(
        f"{len(kept)} pairs out of {counts}; log ratio of right to wrong lengths {mean_log_ratio(chosen):+.3f} on "
        f"average, {mean_log_ratio(kept):+.3f} after dropping {len(chosen) - len(kept)} of {len(chosen)}",
        file=sys.stderr,
    )
    return [
        PreferenceRow(pair.key, question.prompt, pair.chosen.text, pair.rejected.text, question.template)
        for pair in kept
        for question in [questions[pair.key]]
    ]


def _held_out(completions: Completions) -> str:
    """The number of held-out problems, for a message; empty if there are none."""
    return f" ({len(completions.held_out)} problems are held out)" if completions.held_out else ""
