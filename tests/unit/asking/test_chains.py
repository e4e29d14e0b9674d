"""Attempts of two requests through kills, restarts, failures and budgets, in random order; no server."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from errata.asking.attempts import AttemptRequest, Retry
from errata.asking.methods import Method
from errata.asking.prompts import Template
from errata.asking.retry import restore_attempts
from errata.asking.until_right import UntilRight
from errata.data.records import Key, Question
from errata.inference.requests import Completion, Request, Sampling

CONCLUDE = "Conclude: The answer is"
QUESTION = Question(0, "?", ("one", "two"), "A")
GREEDY = Sampling(max_tokens=100, temperature=0.0, top_p=1.0, seed=0)
VERIFIED = "Solution: Because. The answer is A"
TEXTS = [
    "The answer is B",
    "The answer is A",
    "Solution: The answer is A",
    "Solution: Because A. The answer is A",
    "Solution: As given, the answer is A",
    *[VERIFIED] * 4,
    "Hm.",
]


class Courses:
    """Runs of step retry that may be killed at any moment, with a simulated server and journal."""

    def __init__(self, chance: random.Random, questions: int, attempts: int, keep: int, hedging: float) -> None:
        self._chance, self._questions = chance, questions
        self.attempts, self.keep, self._hedging = attempts, keep, hedging
        self.method = Method("reflect", lambda *_: GREEDY, Template("No: {answer}"), Template(CONCLUDE))
        self.journal: dict[Request, Completion] = {}

    def get(self, request: Request) -> Completion | None:
        return self.journal.get(request)

    def load(self) -> list[Retry]:
        retries = [Retry(Key(f"p{n % 3}", n), QUESTION, "No: A", "B", ("?", "B")) for n in range(self._questions)]
        restore_attempts(retries, self.get, self.method, self.attempts)
        return retries

    def run(self, concurrency: int, *, steps: int, failures: float, budget: int | None = None) -> list[Retry]:
        retries = self.load()
        going = [retry for retry in retries if not retry.is_over(self.attempts, self.keep)]
        scheduler = UntilRight(
            going,
            self.method,
            attempts=self.attempts,
            keep=self.keep,
            hedging=self._hedging,
            max_tokens=GREEDY.max_tokens,
            budget=budget,
            spent=sum(retry.tokens for retry in retries),
            finished=len(retries) - len(going),
        )
        in_flight: list[AttemptRequest] = []
        for _ in range(steps):
            while len(in_flight) < concurrency and (pending := scheduler.next()) is not None:
                assert pending.request not in self.journal, "it was asked before"
                assert pending.request not in [other.request for other in in_flight]
                assert not pending.retry.is_over(self.attempts, self.keep)
                in_flight.append(pending)
            if not in_flight:
                assert budget is not None or all(retry.is_over(self.attempts, self.keep) for retry in retries)
                assert scheduler.finished == sum(retry.is_over(self.attempts, self.keep) for retry in retries)
                assert scheduler.solved == sum(
                    bool(retry.accepted_attempts()) for retry in going if retry.is_over(self.attempts, self.keep)
                )
                return retries
            if self._chance.random() < failures / 3:
                for pending in in_flight:
                    scheduler.drop(pending)
                in_flight.clear()
                scheduler.ask_failures_again()
                continue
            pending = in_flight.pop(self._chance.randrange(len(in_flight)))
            if self._chance.random() < failures:
                completion = Completion("", "error", 0, 0, 1.0, error="HTTP 500")
            else:
                tokens = self._chance.randint(1, GREEDY.max_tokens)
                text = self._chance.choice(TEXTS)
                completion = self.journal[pending.request] = Completion(text, "stop", 9, tokens, float(tokens))
            for loser in list(scheduler.finish(pending, completion)):
                in_flight.remove(loser)
                scheduler.drop(loser)
        return retries


@settings(max_examples=80)
@given(
    st.integers(0, 2**32).map(random.Random),
    st.integers(0, 8),
    st.integers(1, 4),
    st.integers(1, 2),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0.0, 0.2]),
    st.lists(st.integers(0, 30), max_size=3),
)
def test_attempts_continue_after_kills_restarts_and_failures_and_nothing_is_asked_twice(
    chance: random.Random, questions: int, attempts: int, keep: int, hedging: float, failures: float, kills: list[int]
) -> None:
    courses = Courses(chance, questions, attempts, keep, hedging)
    for steps in kills:
        courses.run(4, steps=steps, failures=failures)
    made = courses.run(4, steps=100_000, failures=failures)
    known = courses.load()
    for retry, again in zip(made, known, strict=True):
        # a later run restores the same attempts
        assert {n: each for n, each in retry.attempts.items() if each.failure is None} == again.attempts
        for number, attempt in retry.attempts.items():
            first = courses.get(courses.method.request(retry, number))
            if attempt.failure or first is None:
                continue
            second = courses.method.verification(retry, number, courses.method.read_completion(retry.question, first))
            assert (second is not None) is (first.text == VERIFIED)
            concluded = courses.get(second) if second else None
            right = concluded is not None and concluded.text.endswith("answer is A")
            assert attempt.accepted is right
    if not failures:
        assert courses.run(4, steps=1, failures=0.0) is not None
        spent = sum(retry.tokens for retry in known)
        assert spent == sum(each.completion_tokens for each in courses.journal.values()), "all costs are restored"


@settings(max_examples=60)
@given(st.integers(0, 2**32).map(random.Random), st.integers(1, 8), st.sampled_from([0.0, 0.5]), st.integers(0, 3000))
def test_a_budget_counts_both_requests_of_an_attempt(
    chance: random.Random, questions: int, hedging: float, budget: int
) -> None:
    courses = Courses(chance, questions, 4, 1, hedging)
    courses.run(3, steps=100_000, failures=0.0, budget=budget)
    spent = sum(each.completion_tokens for each in courses.journal.values())
    assert spent <= budget + 3 * GREEDY.max_tokens
    before = len(courses.journal)
    courses.run(3, steps=100_000, failures=0.0, budget=spent)
    assert len(courses.journal) == before
