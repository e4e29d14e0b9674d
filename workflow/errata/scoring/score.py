"""Step score: count what one variant of a model got right in one split."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from errata.config.variants import Variant
from errata.core.errors import UserError
from errata.core.files import read_json, write_json
from errata.data.rows import AnswerRow
from errata.data.summaries import Summary, read_summary
from errata.models.checkpoints import size_gib
from errata.scoring.answers import read_answers_by_key
from errata.scoring.stats import wilson


@dataclass(frozen=True)
class Score:
    """A score file.

    Attributes:
        questions, correct, unreadable, truncated: counts of labelled questions. An unreadable answer is wrong, so it
            counts in `questions`.
        unlabelled: questions without a label, which count nowhere else.
        accuracy, ci_low, ci_high: share of right answers and its 95 % Wilson interval; None without a label.
        weights_gib: size of the checkpoint's weight files on disk, in GiB (2**30 bytes); None for an endpoint.
        seconds: wall time of the answering, from the summary beside the answers; None if unknown. The seconds in the
            rows cannot replace it: they overlap where questions are asked at once.
        prompt_tokens, completion_tokens: of all answers, labelled or not. None where the server did not report them
            for every completion: a partial sum would look like the whole.
        served: how the variant was served, in words.
        held_out: whether the variant's model was never trained on these questions.
        sampled_accuracy: where a majority of samples counts, the mean accuracy of one sample, unreadable ones counted
            as wrong; None where each question has one completion.
        template: digest of the prompt template; None where the summary does not say.
    """

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
            UserError: the file is missing, is no JSON object, or lacks a key.
        """
        value = read_json(path)
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name not in value] if isinstance(value, dict) else names
        if missing:
            raise UserError(
                f"{path}: not a score file: it has no {', '.join(missing)}. Name files that step score wrote; "
                "delete a file of an earlier version and run again."
            )
        return cls(**{name: value[name] for name in names})


def read_summary_of(answers: Path, summary: Path | None = None) -> Summary | None:
    """The summary of a file of answers; None where there is none.

    Args:
        answers: the answers file. `{split}.summary.json` beside it is read where it exists.
        summary: a summary file to read instead; it must exist.

    Raises:
        UserError: the file cannot be read or is not a summary.
    """
    path = summary or answers.with_suffix(".summary.json")
    return None if summary is None and not path.exists() else read_summary(path)


def is_held_out(variant: str, split: str) -> bool:
    """Whether the trainings behind a variant leave out the questions of a split.

    Training sets are made from `train`, without the problems that are also in test. Each question of split `folds` is
    answered by a model trained without its fold. A single fold is left out by the strategies named after it.
    """
    name = Variant.parse(variant)
    return name.is_base or split in ("test", "folds", f"fold{name.fold}")


def sum_tokens(rows: Iterable[AnswerRow], count: Callable[[AnswerRow], int | None]) -> int | None:
    """The sum of a token count; None where a row with a completion has no count."""
    counts = [count(row) for row in rows if not row.failed]
    return None if None in counts else sum(filter(None, counts))


def score(
    answers: Sequence[AnswerRow],
    *,
    model: str,
    variant: str,
    split: str,
    served: str,
    weights: float | None,
    summary: Summary | None,
    held_out: bool | None = None,
) -> Score:
    """Count the answers; see `Score` for the meaning of its figures.

    Args:
        weights: size of the weights in GiB; None where there are no files.
        summary: the summary of the answers; None where there is none.
        held_out: whether the model was never trained on the questions; None derives it from variant and split.
    """
    labelled = [row for row in answers if row.expected is not None]
    questions = len(labelled)
    correct = sum(row.correct is True for row in labelled)
    interval = wilson(correct, questions) if questions else None
    seconds = summary.costs.wall_seconds if summary else None
    return Score(
        model=model,
        variant=variant,
        split=split,
        questions=questions,
        unlabelled=len(answers) - questions,
        correct=correct,
        unreadable=sum(row.answer is None for row in labelled),
        truncated=sum(row.truncated for row in labelled),
        accuracy=correct / questions if questions else None,
        ci_low=interval.low if interval else None,
        ci_high=interval.high if interval else None,
        weights_gib=weights,
        seconds=None if seconds is None else float(seconds),
        prompt_tokens=sum_tokens(answers, lambda row: row.prompt_tokens),
        completion_tokens=sum_tokens(answers, lambda row: row.completion_tokens),
        served=served,
        held_out=is_held_out(variant, split) if held_out is None else held_out,
        sampled_accuracy=summary.sampled_accuracy if summary else None,
        template=summary.template if summary else None,
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
        help="the variant's own checkpoint folder or .gguf file, whose size counts (not a dequantized copy that "
        "was served); omit it for a model behind an endpoint",
    )
    parser.add_argument("--served", required=True, metavar="TEXT", help="how it was served, shown in the report")
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="summary of the answering (default: beside the answers)"
    )
    parser.add_argument(
        "--held-out",
        choices=["yes", "no"],
        help="whether the model was never trained on these questions (default: derived from variant and split, "
        "which is wrong for a base model that is a tuned checkpoint)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the score file to write")


def run(arguments: argparse.Namespace) -> None:
    """Write the score file.

    Raises:
        UserError: a file cannot be read, the answers have faults, or the checkpoint has no weights.
    """
    result = asdict(
        score(
            list(read_answers_by_key(arguments.answers).values()),
            model=arguments.model,
            variant=arguments.variant,
            split=arguments.split,
            served=arguments.served,
            weights=size_gib(arguments.checkpoint) if arguments.checkpoint else None,
            summary=read_summary_of(arguments.answers, arguments.summary),
            held_out=None if arguments.held_out is None else arguments.held_out == "yes",
        )
    )
    write_json(arguments.output, result)
