"""Step training-set: what a strategy trains on, as LLaMA-Factory reads it."""

import argparse
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from errata.config.strategies import METHODS
from errata.core.errors import UserError
from errata.core.files import read_json, read_jsonl, write_json
from errata.data.held_out import add_held_out_arguments, left_out
from errata.data.parts import questions
from errata.data.records import Key, Question, usable
from errata.reading.answers import read_answer
from errata.reading.letters import likeness
from errata.training.pairs import Pair, Text, balanced, candidates, closest, mean_log_ratio

# What may bring something to train on where there is nothing.
_REMEDY = "Raise generate.attempts or generate.retry_temperature, or bring more questions."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", choices=METHODS, default="self", help="dpo makes pairs, the others completions")
    add_held_out_arguments(parser)
    parser.add_argument("--answers", type=Path, required=True, help="first answers of the training split")
    parser.add_argument("--retries", type=Path, required=True, help="results/{model}/retries/{strategy}.jsonl")
    parser.add_argument("--keep", type=int, default=1, help="different right completions of a question, at most")
    parser.add_argument("--pairs", type=int, default=1, help="pairs of a question for dpo, at most")
    parser.add_argument(
        "--replay",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the first-right questions that is trained on too, each with its own first completion",
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
        "--or-nothing", action="store_true", help="where there is nothing to train on, write an empty set instead"
    )
    parser.add_argument("--output", type=Path, required=True, help="results/{model}/sft/{strategy}.json")


def run(arguments: argparse.Namespace) -> None:
    """Write one row for each completion, or for each pair of them, that is trained on.

    Raises:
        UserError: there is nothing to train on; a completion is not what its file says of it; the files do not belong
            together.
    """
    _check(arguments)
    try:
        rows = _rows(arguments)
    except Nothing as nothing:
        if not arguments.or_nothing:
            raise
        print(f"{nothing}\n{arguments.output}: empty, so there is no training", file=sys.stderr)
        rows = []
    write_json(arguments.output, rows)


class Nothing(UserError):
    """There is nothing to train on."""


def _rows(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    material = Material.read(arguments.data, arguments.answers, arguments.retries, arguments.held_out)
    if material.left_out:
        print(f"{len(material.left_out)} problems are held out", file=sys.stderr)
    if arguments.method == "dpo":
        rows = _preferences(material, arguments.keep, arguments.pairs)
    else:
        rows = _learned(material, arguments.keep, arguments.method)
        which = "" if arguments.method == "distill" else " of first-wrong questions"
        print(f"{arguments.output}: {len(rows)} right completions{which}", file=sys.stderr)
    if arguments.before:
        known = {(row["id"], row["question"]) for path in arguments.before for row in read_json(path)}
        new = {(row["id"], row["question"]) for row in rows} - known
        print(f"{len(new)} of these questions are in no earlier round's training set", file=sys.stderr)
        if not new:
            raise Nothing(f"{arguments.retries}: nothing is solved that no earlier round has trained on.")
    if arguments.replay:
        replayed = _replayed(material, arguments.replay, arguments.seed, rows)
        print(f"{len(replayed)} questions that were right at first are added", file=sys.stderr)
        rows += replayed
    return rows


def _check(arguments: argparse.Namespace) -> None:
    if not 0 <= arguments.replay <= 1:
        raise UserError(f"--replay {arguments.replay:g}: a share is a number from 0 to 1.")
    if arguments.replay and arguments.method == "dpo":
        raise UserError("--replay: dpo trains on pairs, and a first-right question has no wrong completion.")
    for name, number in (("keep", arguments.keep), ("pairs", arguments.pairs)):
        if number < 1:
            raise UserError(f"--{name} {number}: at least 1.")


class First(NamedTuple):
    """A first answer. `line` is where it stands in its file; `complete`: neither cut off nor failed nor empty."""

    line: int
    prompt: str
    completion: Text
    complete: bool
    correct: bool | None
    template: str | None


class Retried(NamedTuple):
    """A question that was asked again. `template` is that of the prompt which the right completions are of."""

    key: Key
    prompt: str
    template: str | None
    right: list[Text]
    wrong: list[Text]


@dataclass(frozen=True)
class Material:
    """What there is to train on, read and verified.

    Attributes:
        questions: all of the training split.
        firsts: their first answers.
        left_out: ids of problems that are held out.
    """

    answers: Path
    retries: Path
    questions: dict[Key, Question]
    firsts: dict[Key, First]
    left_out: set[str]

    @classmethod
    def read(cls, data: Path, answers: Path, retries: Path, held_out: Sequence[Path]) -> Self:
        """Read all but the retries.

        Raises:
            UserError: a file cannot be read.
        """
        firsts = {
            Key(row["id"], row["question"]): First(
                line, row["prompt"], _text(row), _complete(row), row["correct"], row.get("template")
            )
            for line, row in enumerate(read_jsonl(answers), 1)
        }
        of_data = {problem.key(question): question for problem, question in questions(data)}
        return cls(answers, retries, of_data, firsts, left_out(data, held_out))

    def retried(self, *, wrong: bool) -> Iterator[Retried]:
        """Every question that was asked again and is not held out, with completions of which no two are alike.

        Args:
            wrong: whether its wrong completions are wanted too, the first answer being one of them.

        Raises:
            UserError: a completion is not what the file says of it, or the files do not belong together.
        """
        for line, row in enumerate(read_jsonl(self.retries), 1):
            key = Key(row["id"], row["question"])
            first = self.firsts.get(key)
            if first is None:
                raise UserError(
                    f"{self.retries}:{line}: {_name(key)} is not in {self.answers}. "
                    "Give the answers that these retries were made from."
                )
            if key.id in self.left_out:
                continue
            found: dict[bool, dict[str, Text]] = {True: {}, False: {}}
            if wrong and first.correct is False and first.complete:
                self.verify(key, first.completion, first.complete, False, f"{self.answers}:{first.line}")
                found[False][likeness(first.completion.text)] = first.completion
            for number, attempt in enumerate(row["attempts"], 1):
                text, complete = _text(attempt), _complete(attempt)
                if usable(attempt) or (wrong and complete and not attempt["correct"]):
                    place = f"{self.retries}:{line}: attempt {attempt.get('attempt', number)}"
                    self.verify(key, text, complete, attempt["correct"], place)
                    found[attempt["correct"]].setdefault(likeness(text.text), text)
            yield Retried(
                key, first.prompt, row.get("template"), list(found[True].values()), list(found[False].values())
            )

    def verify(self, key: Key, text: Text, complete: bool, correct: bool, place: str) -> None:
        """Read a completion's answer once more: that a file says it is right is not enough to train on it.

        Raises:
            UserError: it is not as right or wrong as the file says.
        """
        question = self.questions.get(key)
        if question is None or question.answer is None:
            raise UserError(f"{place}: {_name(key)} has no answer in the data. Delete the file and run again.")
        answer = read_answer(text.text, question.letters) if complete else None
        if (answer == question.answer) != correct:
            raise UserError(
                f"{place}: counts as {'right' if correct else 'wrong'} for {_name(key)}, but gives "
                f"{answer or 'no answer'} where {question.answer} is expected. The file was changed by hand or is of "
                "other data: delete it and run again, the journal keeps the completions."
            )


def _learned(material: Material, keep: int, method: str) -> list[dict[str, Any]]:
    """The first usable completions of each question.

    Raises:
        Nothing: there is none at all.
    """
    rows = [
        _row(each.key, each.prompt, each.template, output=text.text)
        for each in material.retried(wrong=False)
        for text in each.right[:keep]
    ]
    if not rows:
        none = "no question was solved" if method == "distill" else "no first-wrong question was solved"
        raise Nothing(f"{material.retries}: {none}, so there is nothing to train on{_told(material)}. {_REMEDY}")
    return rows


def _replayed(material: Material, share: float, seed: int, learned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A share of the first-right questions, each with its own first completion; of those chosen none that is learned.

    Raises:
        UserError: one is not right.
    """
    right = sorted(
        key
        for key, first in material.firsts.items()
        if first.correct and first.complete and key.id not in material.left_out
    )
    number = max(1, round(share * len(right))) if right else 0
    chosen = set(random.Random(seed).sample(right, number))
    known = {(Key(row["id"], row["question"]), likeness(row["output"])) for row in learned}
    rows = []
    for key, first in material.firsts.items():
        if key in chosen:
            material.verify(key, first.completion, first.complete, True, f"{material.answers}:{first.line}")
            if (key, likeness(first.completion.text)) not in known:
                rows.append(_row(key, first.prompt, first.template, output=first.completion.text))
    return rows


def _preferences(material: Material, keep: int, limit: int) -> list[dict[str, Any]]:
    """Pairs of completions, as errata.training.pairs chooses them.

    Raises:
        Nothing: none is left.
    """
    found: dict[Key, Retried] = {}
    total, chosen = 0, list[Pair]()
    for each in material.retried(wrong=True):
        possible = candidates(each.key, each.right[:keep], each.wrong)
        if possible:
            found[each.key] = each
            total += len(possible)
            chosen += closest(possible, limit)
    kept = balanced(chosen)
    counts = f"{total} candidates of {len(found)} questions"
    if not kept:
        lopsided = f", and the {len(chosen)} that are most equal in length cannot be balanced" if chosen else ""
        raise Nothing(
            f"{material.retries}: no pair of a right and a wrong completion to train on: {counts}{lopsided}"
            f"{_told(material)}. Raise generate.attempts and `keep` of the strategy, or bring more questions."
        )
    print(
        f"{len(kept)} pairs out of {counts}; log ratio of right to wrong lengths {mean_log_ratio(chosen):+.3f} on "
        f"average, {mean_log_ratio(kept):+.3f} after dropping {len(chosen) - len(kept)} of {len(chosen)}",
        file=sys.stderr,
    )
    return [
        _row(pair.key, each.prompt, each.template, chosen=pair.chosen.text, rejected=pair.rejected.text)
        for pair in kept
        for each in [found[pair.key]]
    ]


def _row(key: Key, prompt: str, template: str | None, **texts: str) -> dict[str, Any]:
    return {**key._asdict(), "instruction": prompt, "input": "", **texts, "template": template}


def _text(row: Mapping[str, Any]) -> Text:
    return Text(row.get("completion") or "", row.get("completion_tokens") or 0)


def _complete(row: Mapping[str, Any]) -> bool:
    return row.get("finish_reason") not in ("length", "error") and bool((row.get("completion") or "").strip())


def _told(material: Material) -> str:
    return f" ({len(material.left_out)} problems are held out)" if material.left_out else ""


def _name(key: Key) -> str:
    return f"question {key.question} of problem {key.id!r}"
