"""Step retry: ask every first-wrong question again until right; keep every attempt."""

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from errata.answer import accepted, questions
from errata.client import Client, for_each
from errata.files import read_jsonl, write_json, write_jsonl
from errata.generation import Generation, add_serving_arguments
from errata.journal import Completion, Request
from errata.progress import Progress
from errata.records import Key, Question
from errata.server import Server

OUTCOMES = ("solved", "exhausted", "unreadable", "failed")


@dataclass
class Case:
    """A first-wrong question and what became of asking it again."""

    key: Key
    question: Question
    prompt: str
    first: str | None
    attempts: list[Completion] = field(default_factory=list)

    def answers(self) -> list[str | None]:
        return [accepted(completion, self.question.letters) for completion in self.attempts]

    @property
    def solved(self) -> bool:
        return bool(self.attempts) and self.answers()[-1] == self.question.answer

    @property
    def outcome(self) -> str:
        """`solved`; else `failed` (the server refused every attempt), `unreadable` (no attempt gave an answer that
        could be read) or `exhausted` (answers, but no right one)."""
        if self.solved:
            return "solved"
        if all(completion.failed for completion in self.attempts):
            return "failed"
        return "unreadable" if not any(self.answers()) else "exhausted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="results/data/{split}.jsonl")
    parser.add_argument("--answers", type=Path, required=True, help="first answers of the same split")
    parser.add_argument("--attempts", type=int, default=6, help="how often a question is asked again at most")
    parser.add_argument("--output", type=Path, required=True, help="one line a first-wrong question")
    parser.add_argument("--summary", type=Path, required=True, help="JSON: outcomes, tokens, seconds")
    add_serving_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write every first-wrong question with all its attempts and its outcome, in the order of the answers."""
    generation = Generation.from_arguments(arguments)
    cases = first_wrong(arguments.data, arguments.answers)
    with generation.journal() as journal:

        def request(case: Case) -> Request:
            attempt = len(case.attempts) + 1
            return Request(case.key, attempt, case.prompt, generation.sampling(case.key, attempt))

        def over(case: Case) -> bool:
            return case.solved or len(case.attempts) >= arguments.attempts

        for case in cases:
            while not over(case) and (known := journal.get(request(case))):
                case.attempts.append(known)
        reused = sum(len(case.attempts) for case in cases)
        going = [case for case in cases if not over(case)]
        progress = Progress(f"retry {arguments.model}", len(cases), len(cases) - len(going))

        async def work(client: Client, server: Server) -> None:
            async def one(case: Case) -> None:
                while not over(case):
                    case.attempts.append(await client.complete(request(case)))
                progress.step(f"{sum(each.solved for each in cases)} solved")

            await for_each(going, one, generation.concurrency, server)

        seconds = generation.ask(journal, work) if going else 0.0
        progress.close(f"{sum(case.solved for case in cases)} solved")
    write_jsonl(arguments.output, map(_row, cases))
    write_json(arguments.summary, _summary(cases, reused, seconds))
    if not cases:
        print("every question was answered right at first: there is nothing to learn from.", file=sys.stderr)


def first_wrong(data: Path, answers: Path) -> list[Case]:
    """The labelled questions whose first answer was wrong or could not be read."""
    by_key = {problem.key(question): question for problem, question in questions(data)}
    return [
        Case(key, by_key[key], row["prompt"], row["answer"])
        for row in read_jsonl(answers)
        if row["correct"] is False and (key := Key(row["id"], row["question"])) in by_key
    ]


def _row(case: Case) -> dict[str, Any]:
    return {
        "id": case.key.id,
        "question": case.key.question,
        "expected": case.question.answer,
        "first": case.first,
        "outcome": case.outcome,
        "attempts": [
            {
                "completion": completion.text,
                "answer": answer,
                "correct": answer == case.question.answer,
                "completion_tokens": completion.completion_tokens,
                "finish_reason": completion.finish_reason,
            }
            for completion, answer in zip(case.attempts, case.answers(), strict=True)
        ],
    }


def _summary(cases: list[Case], reused: int, seconds: float) -> dict[str, Any]:
    outcomes = Counter(case.outcome for case in cases)
    return {
        "questions": len(cases),
        **{outcome: outcomes[outcome] for outcome in OUTCOMES},
        "attempts": sum(len(case.attempts) for case in cases),
        "completion_tokens": sum(each.completion_tokens for case in cases for each in case.attempts),
        "reused": reused,
        "wall_seconds": round(seconds, 3) if not reused else None,
    }
