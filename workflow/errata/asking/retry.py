"""Step retry: ask first-wrong questions again until right, by one of several methods, and keep every attempt."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from errata.asking.attempts import Retry
from errata.asking.methods import Method
from errata.asking.until_right import UntilRight
from errata.config.methods import ASKING_METHODS, METHODS
from errata.core.errors import UserError
from errata.core.files import write_json, write_jsonl
from errata.data.parts import ALL_PROBLEMS, Part, add_part_argument, read_questions
from errata.data.records import ABOUT
from errata.data.rows import GIVES_AWAY, INCONCLUSIVE, NO_SOLUTION, AttemptRow, RetryRow, read_answers
from errata.data.summaries import RetrySummary
from errata.inference.dispatch import Utilization
from errata.inference.journal import Journal
from errata.inference.requests import Completion, Request
from errata.inference.session import Session, add_serving_arguments
from errata.inference.totals import Totals

# A run with less time left sends nothing: the last completion of the run before came a moment before its time was up.
_LEAST_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="results/data/{split}.jsonl")
    parser.add_argument("--answers", type=Path, required=True, help="first answers of the same split")
    parser.add_argument(
        "--method",
        choices=ASKING_METHODS,
        default="self",
        help="self: asked as before; distill: given the right answer; reflect: shown its own mistake, then verified",
    )
    parser.add_argument(
        "--about", choices=ABOUT, default="wrong", help="which labelled questions, by their first answer"
    )
    parser.add_argument("--prompt", type=Path, help="template of distill or reflect, config/prompts/*/")
    parser.add_argument("--conclude", type=Path, help="template that verifies a reflection, config/prompts/*/")
    parser.add_argument("--attempts", type=int, default=6, help="how often a question is asked again at most")
    parser.add_argument("--keep", type=int, default=1, help="different accepted completions wanted of a question")
    parser.add_argument(
        "--hedging",
        type=float,
        default=0.1,
        help="share of tokens that attempts side by side may waste where the server would idle; 0: never side by side",
    )
    parser.add_argument("--token-budget", type=int, help="tokens of completions that all parts may spend together")
    parser.add_argument("--time-budget", type=float, help="minutes of asking in all; then requests in flight end")
    add_part_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="one line a question")
    parser.add_argument("--summary", type=Path, required=True, help="JSON: outcomes, tokens, seconds")
    add_serving_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write every question that is asked again with all its attempts and its outcome, in the order of the answers.

    Raises:
        UserError: the flags do not go together, or a template is not valid; the server cannot be started or reached,
            stopped answering, or gave no completion at all.
    """
    session = Session.from_arguments(arguments)
    part: Part = arguments.part
    method = Method.read(arguments.method, session.sampling, arguments.prompt, arguments.conclude)
    if method.spec.shows_mistake and arguments.about == "all":
        others = [name for name in ASKING_METHODS if not METHODS[name].shows_mistake]
        raise UserError(
            f"--about all goes with {' and '.join(others)}: there is no mistake in a right answer to reflect on."
        )
    retries = select_questions(arguments.about, method, arguments.data, arguments.answers, part)
    with session.open_journal() as journal:
        reused = restore_attempts(retries, journal.get, method, arguments.attempts)
        going_on = [retry for retry in retries if not retry.is_over(arguments.attempts, arguments.keep)]
        scheduler = UntilRight(
            going_on,
            method,
            attempts=arguments.attempts,
            keep=arguments.keep,
            hedging=arguments.hedging,
            max_tokens=arguments.max_tokens,
            budget=None if arguments.token_budget is None else part.share(arguments.token_budget),
            spent=sum(retry.tokens for retry in retries),
            rounds=arguments.time_budget is not None,
            finished=len(retries) - len(going_on),
        )
        time_left = None if arguments.time_budget is None else 60 * arguments.time_budget - journal.seconds
        utilization = Utilization()
        if going_on and (time_left is None or time_left > _LEAST_SECONDS) and scheduler.affordable:
            utilization = session.ask(journal, scheduler, part.label("retry"), len(retries), time_left=time_left)
        # for a part, step gather decides: other parts may have succeeded
        if retries and all(retry.outcome == "failed" for retry in retries) and part == ALL_PROBLEMS:
            failure = next(attempt.failure for attempt in retries[0].attempts.values())
            raise UserError(
                f"{arguments.model}: the server gave no completion for any question ({failure and failure.error}). "
                "Look at its log, fix it and run again."
            )
        totals = Totals()
        write_jsonl(arguments.output, (row.to_record() for row in _rows(retries, journal, method, totals)))
        summary = _summarize(retries, method, arguments.attempts, reused, scheduler, totals, journal, utilization, part)
    write_json(arguments.summary, summary.to_record())
    if not retries and part == ALL_PROBLEMS:
        print("every question was answered right at first: there is nothing to learn from.", file=sys.stderr)


def select_questions(about: str, method: Method, data: Path, answers: Path, part: Part = ALL_PROBLEMS) -> list[Retry]:
    """The labelled questions of a part of the data, in the order of the answers.

    Args:
        about: of `errata.data.records.ABOUT`; "wrong" includes first answers that could not be read.
    """
    by_key = {problem.key(question): (problem, question) for problem, question in read_questions(data, part)}
    return [
        method.begin(*by_key[row.key], row)
        for row in read_answers(answers)
        if row.correct in ABOUT[about] and row.key in by_key
    ]


def restore_attempts(
    retries: Sequence[Retry], find: Callable[[Request], Completion | None], method: Method, attempts: int
) -> int:
    """Give the questions the attempts that earlier runs finished.

    Args:
        find: returns the completion of a request that earlier runs finished, else None.
        attempts: the number of attempts to look for.

    Returns:
        How many attempts were restored.
    """
    for retry in retries:
        for number in range(1, attempts + 1):
            first = find(method.request(retry, number))
            if first is None:
                continue
            reading, second = method.read_completion(retry.question, first), None
            if verification := method.verification(retry, number, reading):
                retry.candidates[number] = reading
                second = find(verification)
            if second is not None or verification is None:
                retry.attempts[number] = method.attempt(retry.question, reading, second)
    return sum(len(retry.attempts) for retry in retries)


def _rows(retries: Sequence[Retry], journal: Journal, method: Method, totals: Totals) -> Iterator[RetryRow]:
    for retry in retries:
        numbers = sorted(retry.attempts.keys() | retry.candidates.keys())
        rows = [_attempt_row(retry, number, journal, method, totals) for number in numbers]
        yield RetryRow(
            id=retry.key.id,
            question=retry.key.question,
            expected=retry.question.answer,
            first=retry.first_answer,
            outcome=retry.outcome,
            template=retry.template,
            attempts=tuple(row for row in rows if row is not None),
        )


def _attempt_row(retry: Retry, number: int, journal: Journal, method: Method, totals: Totals) -> AttemptRow | None:
    """The row of an attempt, whose completions are added to the totals; None for one that was never verified."""
    attempt = retry.attempts.get(number)
    first = journal.get(method.request(retry, number)) or (attempt.failure if attempt else None)
    assert first is not None, "an attempt is in the journal or it failed"
    totals.add(first)
    if attempt is None:
        return None
    reading, second = method.read_completion(retry.question, first), None
    if verification := method.verification(retry, number, reading):
        second = journal.get(verification) or attempt.failure
    if second is not None:
        totals.add(second)
    return method.row(retry, number, reading, second, attempt)


def _summarize(
    retries: Sequence[Retry],
    method: Method,
    attempts: int,
    reused: int,
    scheduler: UntilRight,
    totals: Totals,
    journal: Journal,
    utilization: Utilization,
    part: Part,
) -> RetrySummary:
    outcomes = Counter(retry.outcome for retry in retries)
    solved_by = Counter(min(accepted) for retry in retries if (accepted := retry.accepted_attempts()))
    finished = [attempt for retry in retries for attempt in retry.attempts.values()]
    rejected = Counter(attempt.rejected for attempt in finished)
    solved = outcomes["solved"]
    return RetrySummary(
        method=method.name,
        # without a template of its own, a method asks with the prompts of the answers
        template=method.template.digest if method.template else next((retry.template for retry in retries), None),
        conclude_template=method.conclude.digest if method.conclude else None,
        questions=len(retries),
        solved=solved,
        rejected=outcomes["rejected"],
        exhausted=outcomes["exhausted"],
        unreadable=outcomes["unreadable"],
        truncated=outcomes["truncated"],
        failed=outcomes["failed"],
        skipped=outcomes["skipped"],
        solved_by_attempt=[solved_by[number] for number in range(1, attempts + 1)],
        attempts=len(finished),
        right=sum(attempt.correct for attempt in finished),
        rejected_gives_away=rejected[GIVES_AWAY],
        rejected_inconclusive=rejected[INCONCLUSIVE],
        rejected_no_solution=rejected[NO_SOLUTION],
        reused=reused,
        tokens_per_solved=round(totals.completion_tokens / solved, 1) if solved else None,
        cancelled_tokens=round(scheduler.cancelled_tokens),
        costs=totals.costs(journal, utilization, part),
    )
