"""Step `score`: count what one variant of a model got right in one split.

What the figures of a score mean:

- `questions`, `correct`, `unreadable` and `truncated` count labelled questions only; a question without a
  label counts in `unlabelled` and nowhere else. Unreadable answers are wrong: they stay in `questions`.
- `prompt_tokens` and `completion_tokens` are the cost of the whole file, labelled or not. They are null when
  the server did not tell them for every completion: a sum over some would pass for the whole.
- `seconds` is the wall time of the answering, taken from the summary that step `answer` writes beside its
  answers. The latencies in the lines are no substitute: they overlap when questions are asked at once. Null
  if unknown.
- `held_out` says whether the variant's model was never trained on these questions.
- `sampled_accuracy` is what one sampled completion gets on average where the majority of several counts, unreadable
  ones taken for wrong; null where each question has one completion.
- `template` is the hash of the prompt template that was asked with, null where the summary does not say.
- `weights_gib` is the size on disk of the checkpoint's weight files in GiB (2**30 bytes).
"""

import argparse
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, Self

from errata.config.variants import BASE, Variant
from errata.core.errors import Faults, UserError
from errata.core.files import read_json, read_jsonl, write_json
from errata.data.records import Key
from errata.models.checkpoints import size_gib
from errata.scoring.stats import wilson


class Answer(NamedTuple):
    """What scoring and the report need of a line of answers. `expected` is None where there is no label."""

    prompt: str
    completion: str | None
    answer: str | None
    expected: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None

    @property
    def correct(self) -> bool:
        return self.expected is not None and self.answer == self.expected


@dataclass(frozen=True)
class Score:
    """A score file; the module's docstring says what the figures mean."""

    model: str
    variant: str
    split: str
    questions: int
    unlabelled: int
    correct: int
    unreadable: int
    truncated: int
    accuracy: float | None
    ci_low: float | None
    ci_high: float | None
    weights_gib: float | None
    seconds: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    served: str
    held_out: bool
    sampled_accuracy: float | None
    template: str | None

    @classmethod
    def read(cls, path: Path) -> "Score":
        """Read a score file.

        Raises:
            UserError: the file is missing, no JSON object or lacks a key.
        """
        value = read_json(path)
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name not in value] if isinstance(value, dict) else names
        if missing:
            raise UserError(
                f"{path}: not a score file: it has no {', '.join(missing)}. Name files that step score wrote; "
                "one of an earlier version is to be deleted and made anew."
            )
        return cls(**{name: value[name] for name in names})


def read_answers(path: Path) -> dict[Key, Answer]:
    """Read a file of answers by question key, in file order.

    Raises:
        Faults: a question stands in it twice, a line lacks its key, or its `correct` contradicts its answer.
        UserError: the file is missing or no JSON Lines.
    """
    answers: dict[Key, Answer] = {}
    first_line: dict[Key, int] = {}
    faults = []
    for number, row in enumerate(read_jsonl(path), 1):
        if "id" not in row or not isinstance(row.get("question"), int):
            faults.append(f"{path}:{number}: no id or no question index")
            continue
        key = Key(str(row["id"]), row["question"])
        if key in answers:
            faults.append(f"{path}:{number}: {key.id!r} question {key.question} is already in line {first_line[key]}")
            continue
        answer = Answer(
            prompt=row.get("prompt") or "",
            completion=row.get("completion"),
            answer=row.get("answer"),
            expected=row.get("expected"),
            prompt_tokens=row.get("prompt_tokens"),
            completion_tokens=row.get("completion_tokens"),
            finish_reason=row.get("finish_reason"),
        )
        if row.get("correct") is not None and row["correct"] != answer.correct:
            faults.append(
                f"{path}:{number}: correct is {row['correct']}, "
                f"but the answer is {answer.answer} and {answer.expected} is expected"
            )
        answers[key] = answer
        first_line[key] = number
    if faults:
        raise Faults(str(path), faults, "delete the file and run again to make it anew.")
    return answers


class Answering(NamedTuple):
    """What the summary beside a file of answers tells; the module's docstring says what the figures mean."""

    seconds: float | None = None
    sampled_accuracy: float | None = None
    template: str | None = None

    @classmethod
    def read(cls, answers: Path, summary: Path | None) -> Self:
        """Read a summary; nothing is known without one.

        Args:
            answers: the answers file; `{split}.summary.json` beside it is read when it exists and none is named.
            summary: a summary file that must exist.
        """
        path = summary or answers.with_suffix(".summary.json")
        if summary is None and not path.exists():
            return cls()
        value = read_json(path)
        if not isinstance(value, dict):
            return cls()
        seconds, samples = value.get("wall_seconds"), value.get("labelled_samples")
        return cls(
            None if seconds is None else float(seconds),
            value["right_samples"] / samples if samples else None,
            value.get("template"),
        )


def never_trained_on(variant: str, split: str) -> bool:
    """Whether what made a variant leaves the questions of a split out, as the workflow trains.

    Training sets are made of `train`, without the problems that stand in test. What answers split `folds` was trained
    without the fold of the question; a single fold is left out by the strategies named after it.
    """
    made = Variant.parse(variant).made
    if made == BASE or split in ("test", "folds"):
        return True
    return split.startswith("fold") and made.endswith(f".{split}")


def total_tokens(counts: list[tuple[str | None, int | None]]) -> int | None:
    """Add up tokens of (completion, tokens); None when a completion came without its count."""
    if any(tokens is None for completion, tokens in counts if completion is not None):
        return None
    return sum(tokens or 0 for _, tokens in counts)


def score(
    answers: dict[Key, Answer],
    *,
    model: str,
    variant: str,
    split: str,
    served: str,
    weights: float | None,
    answering: Answering,
    held_out: bool | None = None,
) -> Score:
    """Count; the module's docstring says what each figure means.

    Args:
        weights: size of the weights in GiB, or None.
        held_out: whether the model was never trained on the questions; None where variant and split tell it.
    """
    labelled = [answer for answer in answers.values() if answer.expected is not None]
    questions = len(labelled)
    correct = sum(answer.correct for answer in labelled)
    interval = wilson(correct, questions) if questions else None
    return Score(
        model=model,
        variant=variant,
        split=split,
        questions=questions,
        unlabelled=len(answers) - questions,
        correct=correct,
        unreadable=sum(answer.answer is None for answer in labelled),
        truncated=sum(answer.finish_reason == "length" for answer in labelled),
        accuracy=correct / questions if questions else None,
        ci_low=interval.low if interval else None,
        ci_high=interval.high if interval else None,
        weights_gib=weights,
        seconds=answering.seconds,
        prompt_tokens=total_tokens([(each.completion, each.prompt_tokens) for each in answers.values()]),
        completion_tokens=total_tokens([(each.completion, each.completion_tokens) for each in answers.values()]),
        served=served,
        held_out=never_trained_on(variant, split) if held_out is None else held_out,
        sampled_accuracy=answering.sampled_accuracy,
        template=answering.template,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--answers", type=Path, required=True, metavar="FILE", help="the variant's answers")
    parser.add_argument("--model", required=True, help="the model's name in the configuration")
    parser.add_argument("--variant", required=True, help="base, STRATEGY or STRATEGY-BITSbit, each also with +majVOTES")
    parser.add_argument("--split", required=True, help="train, test or folds")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="PATH",
        help="the variant's own checkpoint folder or .gguf file, whose size counts (not the dequantized copy "
        "that may have been served); leave out for a model behind an endpoint",
    )
    parser.add_argument("--served", required=True, metavar="TEXT", help="how it was served, shown in the report")
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="summary of the answering (default: beside the answers)"
    )
    parser.add_argument(
        "--held-out",
        choices=["yes", "no"],
        help="whether the model was never trained on these questions (default: as variant and split tell; a base model "
        "that is a tuned checkpoint does not)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the score file to write")


def run(arguments: argparse.Namespace) -> None:
    counted: dict[str, Any] = asdict(
        score(
            read_answers(arguments.answers),
            model=arguments.model,
            variant=arguments.variant,
            split=arguments.split,
            served=arguments.served,
            weights=size_gib(arguments.checkpoint) if arguments.checkpoint else None,
            answering=Answering.read(arguments.answers, arguments.summary),
            held_out=None if arguments.held_out is None else arguments.held_out == "yes",
        )
    )
    write_json(arguments.output, counted)
