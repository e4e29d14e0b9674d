"""Step vote: the majority of a question's sampled answers (self-consistency), as one line of answers a question."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from errata.core.errors import UserError
from errata.core.files import read_json, read_jsonl, write_json, write_jsonl


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=Path, required=True, help="results/{model}/samples/{variant}/{split}.jsonl")
    parser.add_argument("--samples-summary", type=Path, required=True, help="what step sample wrote beside it")
    parser.add_argument("--votes", type=int, required=True, help="the first so many samples of a question vote")
    parser.add_argument("--output", type=Path, required=True, help="one line a question, as step answer writes them")
    parser.add_argument("--summary", type=Path, required=True, help="JSON: counts, tokens, seconds")


def run(arguments: argparse.Namespace) -> None:
    """Write one line a question; its tokens and seconds are the sums of all that voted or could have.

    The summary's `labelled_samples` and `right_samples` count single samples of labelled questions: their ratio is what
    one sampled completion gets, unreadable ones taken for wrong. `wall_seconds` is null where more was sampled than
    votes: what the votes alone would have taken was not measured.

    Raises:
        UserError: a question has fewer samples than votes.
    """
    votes: int = arguments.votes
    if votes < 1:
        raise UserError(f"--votes {votes}: at least one sample is to vote (score.majority).")
    sampled = read_json(arguments.samples_summary)
    names = ("questions", "correct", "unreadable", "truncated", "failed")
    sums = ("samples", "labelled_samples", "right_samples", "prompt_tokens", "completion_tokens")
    counts = dict.fromkeys((*names, *sums), 0)
    more = False

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal more
        for number, row in enumerate(read_jsonl(arguments.samples), 1):
            made = row["completions"]
            if len(made) < votes:
                raise UserError(
                    f"{arguments.samples}:{number}: {len(made)} samples are too few for {votes} votes. "
                    f"Set score.samples to {votes} or more and run again: what was sampled is kept."
                )
            more |= len(made) > votes
            voting = made[:votes]
            line = elected(row, voting)
            counts["questions"] += 1
            counts["correct"] += line["correct"] is True
            counts["unreadable"] += line["answer"] is None
            counts["truncated"] += line["finish_reason"] == "length"
            counts["failed"] += line["finish_reason"] == "error"
            counts["samples"] += votes
            if row["expected"] is not None:
                counts["labelled_samples"] += votes
                counts["right_samples"] += sum(each["answer"] == row["expected"] for each in voting)
            for name in ("prompt_tokens", "completion_tokens"):
                counts[name] += line[name]
            yield line

    write_jsonl(arguments.output, rows())
    summary = {"template": sampled.get("template"), **counts}
    write_json(arguments.summary, {**summary, "wall_seconds": None if more else sampled["wall_seconds"]})


def elected(row: dict[str, Any], samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The line of answers of one question.

    Of answers with equally many votes the one that came first is taken; the completion shown is the first that gave it.
    Where no sample can be read, the first complete one is shown, else the first that was cut off, else the failure.

    Args:
        row: of the samples.
        samples: those that vote. Truncated and failed ones have no answer, and with it no vote.
    """
    votes = Counter(sample["answer"] for sample in samples if sample["answer"] is not None)
    # equal counts stay in the order in which they were met first
    answer = votes.most_common(1)[0][0] if votes else None
    ending = {"error": 2, "length": 1}
    shown = min(
        (sample for sample in samples if sample["answer"] == answer),
        key=lambda sample: ending.get(sample["finish_reason"], 0),
    )
    line = {
        "id": row["id"],
        "question": row["question"],
        "template": row["template"],
        "prompt": row["prompt"],
        "completion": shown["completion"],
        "answer": answer,
        "expected": row["expected"],
        "correct": None if row["expected"] is None else answer == row["expected"],
        "votes": dict(sorted(votes.items())),
        "prompt_tokens": sum(sample["prompt_tokens"] for sample in samples),
        "completion_tokens": sum(sample["completion_tokens"] for sample in samples),
        "finish_reason": shown["finish_reason"],
        "seconds": round(sum(sample["seconds"] for sample in samples), 3),
        "model": row["model"],
    }
    return {**line, "error": shown["error"]} if "error" in shown else line
