"""Step retry: ask every first-wrong question again until right; keep every attempt."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from errata.answer import questions
from errata.cases import OUTCOMES, Case
from errata.dispatch import Load
from errata.errors import UserError
from errata.files import read_jsonl, write_json, write_jsonl
from errata.generation import Generation, Tally, add_serving_arguments
from errata.journal import Journal, Request
from errata.parts import WHOLE, Part, add_part_argument, named
from errata.records import Key
from errata.until_right import UntilRight

# The request for an attempt at a case.
Ask = Callable[[Case, int], Request]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="results/data/{split}.jsonl")
    parser.add_argument("--answers", type=Path, required=True, help="first answers of the same split")
    parser.add_argument("--attempts", type=int, default=6, help="how often a question is asked again at most")
    parser.add_argument("--keep", type=int, default=1, help="different right completions that are wanted of a question")
    parser.add_argument(
        "--hedging",
        type=float,
        default=0.1,
        help="share of tokens that attempts side by side may waste where the server would idle; 0: never side by side",
    )
    parser.add_argument("--token-budget", type=int, help="tokens of completions that may be spent by all parts")
    parser.add_argument(
        "--time-budget", type=float, help="minutes of asking in all; then what is under way is cancelled"
    )
    add_part_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="one line a first-wrong question")
    parser.add_argument("--summary", type=Path, required=True, help="JSON: outcomes, tokens, seconds")
    add_serving_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write every first-wrong question with all its attempts and its outcome, in the order of the answers.

    Raises:
        UserError: the server cannot be started or reached, stopped answering, or gave no completion at all.
    """
    generation = Generation.from_arguments(arguments)
    attempts, keep = arguments.attempts, arguments.keep
    part: Part = arguments.part
    cases = first_wrong(arguments.data, arguments.answers, part)

    def request(case: Case, number: int) -> Request:
        return Request(case.key, number, case.prompt, generation.sampling(case.key, number))

    with generation.journal() as journal:
        reused = _take_known(cases, journal, request, attempts)
        going = [case for case in cases if not case.over(attempts, keep)]
        work = UntilRight(
            going,
            request,
            attempts=attempts,
            keep=keep,
            hedging=arguments.hedging,
            max_tokens=arguments.max_tokens,
            budget=None if arguments.token_budget is None else part.share(arguments.token_budget),
            spent=sum(attempt.tokens for case in cases for attempt in case.attempts.values()),
            rounds=arguments.time_budget is not None,
            finished=len(cases) - len(going),
        )
        time_left = None if arguments.time_budget is None else 60 * arguments.time_budget - journal.seconds
        load = Load()
        # the last completion came a moment before its time was up
        if going and (time_left is None or time_left > 1.0) and work.affordable:
            load = generation.ask(journal, work, named("retry", part), len(cases), time_left=time_left)
        # of a part that is for step gather to say: the others may have gone well
        if cases and all(case.outcome == "failed" for case in cases) and part == WHOLE:
            failure = next(attempt.failure for attempt in cases[0].attempts.values())
            raise UserError(
                f"{arguments.model}: the server gave no completion for any question ({failure and failure.error}). "
                "Look at its log, mend it and run again."
            )
        tally = Tally()
        write_jsonl(arguments.output, _rows(cases, journal, request, tally))
        counts = _summary(cases, attempts, reused)
        costs = tally.summary(journal, load, part)
        solved = counts["solved"]
        per_solved = round(tally.completion_tokens / solved, 1) if solved else None
    write_json(arguments.summary, {**counts, "tokens_per_solved": per_solved, **costs})
    if not cases and part == WHOLE:
        print("every question was answered right at first: there is nothing to learn from.", file=sys.stderr)


def first_wrong(data: Path, answers: Path, part: Part = WHOLE) -> list[Case]:
    """The labelled questions of a part of the data whose first answer was wrong or could not be read."""
    by_key = {problem.key(question): question for problem, question in questions(data, part)}
    return [
        Case(key, by_key[key], row["prompt"], row["answer"])
        for row in read_jsonl(answers)
        if row["correct"] is False and (key := Key(row["id"], row["question"])) in by_key
    ]


def _take_known(cases: list[Case], journal: Journal, request: Ask, attempts: int) -> int:
    """Give the cases their attempts that earlier runs finished, and return how many these are."""
    for case in cases:
        for number in range(1, attempts + 1):
            known = journal.get(request(case, number))
            if known is not None:
                case.record(number, known)
    return sum(len(case.attempts) for case in cases)


def _rows(cases: list[Case], journal: Journal, request: Ask, tally: Tally) -> Iterator[dict[str, Any]]:
    for case in cases:
        rows = []
        for number, attempt in sorted(case.attempts.items()):
            wanted = request(case, number)
            completion = journal.get(wanted) or attempt.failure
            assert completion is not None, "an attempt is in the journal or it failed"
            tally.add(completion)
            row = {
                "attempt": number,
                "temperature": wanted.sampling.temperature,
                "completion": completion.text,
                "answer": attempt.answer,
                "correct": attempt.right,
                "completion_tokens": completion.completion_tokens,
                "finish_reason": completion.finish_reason,
            }
            rows.append({**row, "error": completion.error} if completion.failed else row)
        yield {
            "id": case.key.id,
            "question": case.key.question,
            "expected": case.question.answer,
            "first": case.first,
            "outcome": case.outcome,
            "attempts": rows,
        }


def _summary(cases: list[Case], attempts: int, reused: int) -> dict[str, Any]:
    outcomes = Counter(case.outcome for case in cases)
    solved_by = Counter(min(case.right()) for case in cases if case.right())
    return {
        "questions": len(cases),
        **{outcome: outcomes[outcome] for outcome in OUTCOMES},
        "solved_by_attempt": [solved_by[number] for number in range(1, attempts + 1)],
        "attempts": sum(len(case.attempts) for case in cases),
        "right": sum(attempt.right for case in cases for attempt in case.attempts.values()),
        "reused": reused,
    }
