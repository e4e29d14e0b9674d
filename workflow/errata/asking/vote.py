"""Step vote: the majority of a question's sampled answers (self-consistency), as one line of answers a question."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from errata.core.errors import UserError
from errata.core.files import write_json, write_jsonl
from errata.data.rows import AnswerRow, Sample, SampleRow, read_samples
from errata.data.summaries import Costs, SampleSummary, VoteSummary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=Path, required=True, help="results/{model}/samples/{variant}/{split}.jsonl")
    parser.add_argument("--samples-summary", type=Path, required=True, help="what step sample wrote beside it")
    parser.add_argument("--votes", type=int, required=True, help="the first so many samples of a question vote")
    parser.add_argument("--output", type=Path, required=True, help="one line a question, as step answer writes them")
    parser.add_argument("--summary", type=Path, required=True, help="JSON: counts, tokens, seconds")


def run(arguments: argparse.Namespace) -> None:
    """Write one line a question; its tokens and seconds are the sums over the samples that vote.

    Raises:
        UserError: `--votes` is below 1, or a question has fewer samples than votes.
    """
    votes: int = arguments.votes
    if votes < 1:
        raise UserError(f"--votes {votes}: at least one sample is to vote (score.majority).")
    sampled = SampleSummary.read(arguments.samples_summary)
    counts: Counter[str] = Counter()

    def records() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(read_samples(arguments.samples), 1):
            if len(row.samples) < votes:
                raise UserError(
                    f"{arguments.samples}:{number}: {len(row.samples)} samples are too few for {votes} votes. "
                    f"Set score.samples to {votes} or more and run again: the samples so far are kept."
                )
            counts["without a vote"] += len(row.samples) - votes
            voting = row.samples[:votes]
            answer = majority(row, voting)
            counts["questions"] += 1
            counts["correct"] += answer.correct is True
            counts["unreadable"] += answer.answer is None
            counts["truncated"] += answer.truncated
            counts["failed"] += answer.failed
            counts["samples"] += votes
            if row.expected is not None:
                counts["labelled"] += votes
                counts["right"] += sum(sample.answer == row.expected for sample in voting)
            counts["prompt_tokens"] += sum(sample.prompt_tokens for sample in voting)
            counts["completion_tokens"] += sum(sample.completion_tokens for sample in voting)
            yield answer.to_record()

    write_jsonl(arguments.output, records())
    summary = VoteSummary(
        template=sampled.template,
        questions=counts["questions"],
        correct=counts["correct"],
        unreadable=counts["unreadable"],
        truncated=counts["truncated"],
        failed=counts["failed"],
        samples=counts["samples"],
        labelled_samples=counts["labelled"],
        right_samples=counts["right"],
        costs=Costs(
            prompt_tokens=counts["prompt_tokens"],
            completion_tokens=counts["completion_tokens"],
            wall_seconds=None if counts["without a vote"] else sampled.costs.wall_seconds,
        ),
    )
    write_json(arguments.summary, summary.to_record())


def majority(row: SampleRow, voting: Sequence[Sample]) -> AnswerRow:
    """The answer that most samples of a question give.

    Of answers with equally many votes the one that came first is taken. The completion shown is the first that gave it.
    Where no sample can be read, the first complete one is shown, else the first truncated one, else the first failure.

    Args:
        voting: the samples of the row that vote. Truncated and failed ones have no answer, so they have no vote.
    """
    votes = Counter(sample.answer for sample in voting if sample.answer is not None)
    # equal counts stay in the order in which they came first
    answer = votes.most_common(1)[0][0] if votes else None
    shown = min(
        (sample for sample in voting if sample.answer == answer), key=lambda sample: (sample.failed, sample.truncated)
    )
    return AnswerRow(
        id=row.id,
        question=row.question,
        template=row.template,
        prompt=row.prompt,
        completion=shown.completion,
        answer=answer,
        expected=row.expected,
        correct=None if row.expected is None else answer == row.expected,
        votes=dict(sorted(votes.items())),
        prompt_tokens=sum(sample.prompt_tokens for sample in voting),
        completion_tokens=sum(sample.completion_tokens for sample in voting),
        finish_reason=shown.finish_reason,
        seconds=round(sum(sample.seconds for sample in voting), 3),
        model=row.model,
        error=shown.error,
    )
