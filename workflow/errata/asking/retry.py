"""Step retry: ask every first-wrong question again until right, by one of several methods; keep every attempt."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from errata.asking.cases import Case
from errata.asking.methods import Method
from errata.asking.until_right import UntilRight
from errata.config.methods import ASKING_METHODS, METHODS
from errata.core.errors import UserError
from errata.core.files import write_json, write_jsonl
from errata.data.parts import ALL_PROBLEMS, Part, add_part_argument, read_questions
from errata.data.records import ABOUT
from errata.data.rows import GIVES_AWAY, INCONCLUSIVE, NO_SOLUTION, RetryRow, read_answers
from errata.data.summaries import RetrySummary
from errata.inference.dispatch import Utilization
from errata.inference.journal import Journal
from errata.inference.requests import Completion, Request
from errata.inference.session import Session, add_serving_arguments
from errata.inference.totals import Totals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="results/data/{split}.jsonl")
    parser.add_argument("--answers", type=Path, required=True, help="first answers of the same split")
    parser.add_argument(
        "--method",
        choices=ASKING_METHODS,
        default="self",
        help="self: asked as before; distill: told the right answer; reflect: shown its own mistake, then verified",
    )
    parser.add_argument(
        "--about", choices=ABOUT, default="wrong", help="which labelled questions, by their first answer"
    )
    parser.add_argument("--prompt", type=Path, help="template of distill or reflect, config/prompts/*/")
    parser.add_argument("--conclude", type=Path, help="template of what verifies a reflection, config/prompts/*/")
    parser.add_argument("--attempts", type=int, default=6, help="how often a question is asked again at most")
    parser.add_argument("--keep", type=int, default=1, help="different accepted completions wanted of a question")
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
    parser.add_argument("--output", type=Path, required=True, help="one line a question")
    parser.add_argument("--summary", type=Path, required=True, help="JSON: outcomes, tokens, seconds")
    add_serving_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write every question that is asked again with all its attempts and its outcome, in the order of the answers.

    The summary's tokens are of what came to its end, in this run and in earlier ones. `cancelled_tokens` are those of
    attempts side by side that were cancelled: beside `completion_tokens`, estimated, and of this run alone.

    Raises:
        UserError: the flags do not go together, or a template will not do; the server cannot be started or reached,
            stopped answering, or gave no completion at all.
    """
    session = Session.from_arguments(arguments)
    attempts, keep = arguments.attempts, arguments.keep
    part: Part = arguments.part
    method = Method.read(arguments.method, session.sampling, arguments.prompt, arguments.conclude)
    if method.spec.shows_mistake and arguments.about == "all":
        others = " and ".join(name for name in ASKING_METHODS if not METHODS[name].shows_mistake)
        raise UserError(f"--about all goes with {others}: there is no mistake in a right answer to reflect on.")
    cases = asked_about(arguments.about, method, arguments.data, arguments.answers, part)
    with session.open_journal() as journal:
        reused = take_known(cases, journal.get, method, attempts)
        going = [case for case in cases if not case.over(attempts, keep)]
        work = UntilRight(
            going,
            method,
            attempts=attempts,
            keep=keep,
            hedging=arguments.hedging,
            max_tokens=arguments.max_tokens,
            budget=None if arguments.token_budget is None else part.share(arguments.token_budget),
            spent=sum(case.tokens for case in cases),
            rounds=arguments.time_budget is not None,
            finished=len(cases) - len(going),
        )
        time_left = None if arguments.time_budget is None else 60 * arguments.time_budget - journal.seconds
        utilization = Utilization()
        # the last completion came a moment before its time was up
        if going and (time_left is None or time_left > 1.0) and work.affordable:
            utilization = session.ask(journal, work, part.label("retry"), len(cases), time_left=time_left)
        # of a part that is for step gather to say: the others may have gone well
        if cases and all(case.outcome == "failed" for case in cases) and part == ALL_PROBLEMS:
            failure = next(attempt.failure for attempt in cases[0].attempts.values())
            raise UserError(
                f"{arguments.model}: the server gave no completion for any question ({failure and failure.error}). "
                "Look at its log, mend it and run again."
            )
        totals = Totals()
        write_jsonl(arguments.output, (row.to_record() for row in _rows(cases, journal, method, totals)))
        costs = totals.costs(journal, utilization, part)
    outcomes = Counter(case.outcome for case in cases)
    solved_by = Counter(min(case.accepted()) for case in cases if case.accepted())
    finished = [attempt for case in cases for attempt in case.attempts.values()]
    rejected = Counter(attempt.rejected for attempt in finished)
    solved = outcomes["solved"]
    summary = RetrySummary(
        method=method.name,
        # self asks with the prompts of the answers
        template=method.template.digest if method.template else next((case.template for case in cases), None),
        conclude_template=method.conclude.digest if method.conclude else None,
        questions=len(cases),
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
        cancelled_tokens=round(work.cancelled_tokens),
        costs=costs,
    )
    write_json(arguments.summary, summary.to_record())
    if not cases and part == ALL_PROBLEMS:
        print("every question was answered right at first: there is nothing to learn from.", file=sys.stderr)


def asked_about(about: str, method: Method, data: Path, answers: Path, part: Part = ALL_PROBLEMS) -> list[Case]:
    """The labelled questions of a part of the data: all, or those whose first answer was wrong or could not be read."""
    by_key = {problem.key(question): (problem, question) for problem, question in read_questions(data, part)}
    return [
        method.case(*by_key[row.key], row)
        for row in read_answers(answers)
        if row.correct in ABOUT[about] and row.key in by_key
    ]


def take_known(cases: list[Case], known: Callable[[Request], Completion | None], method: Method, attempts: int) -> int:
    """Give the cases their attempts that earlier runs finished, and return how many these are.

    Args:
        known: gives the completion of a request that was finished.
    """
    for case in cases:
        for number in range(1, attempts + 1):
            first = known(method.request(case, number))
            if first is None:
                continue
            second = None
            if verification := method.verification(case, number, first):
                case.halfway[number] = first
                second = known(verification)
            if second is not None or verification is None:
                case.attempts[number] = method.attempt(case.question, first, second)
    return sum(len(case.attempts) for case in cases)


def _rows(cases: list[Case], journal: Journal, method: Method, totals: Totals) -> Iterator[RetryRow]:
    for case in cases:
        rows = []
        for number in sorted(case.attempts.keys() | case.halfway.keys()):
            attempt = case.attempts.get(number)
            first = journal.get(method.request(case, number)) or (attempt.failure if attempt else None)
            assert first is not None, "an attempt is in the journal or it failed"
            totals.add(first)
            if attempt is None:
                # it was never verified, but it has its cost
                continue
            verification = method.verification(case, number, first)
            second = (journal.get(verification) or attempt.failure) if verification else None
            if second is not None:
                totals.add(second)
            rows.append(method.row(case, number, first, second, attempt))
        yield RetryRow(
            id=case.key.id,
            question=case.key.question,
            expected=case.question.answer,
            first=case.first,
            outcome=case.outcome,
            template=case.template,
            attempts=tuple(rows),
        )
