"""Attempts of two requests under any course of events: kills, restarts, failures, budgets; no server."""

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
    """Runs of step retry that may be killed at any moment, with a server made up and completions that are kept."""

    def __init__(self, chance: random.Random, cases: int, attempts: int, keep: int, hedging: float) -> None:
        self._chance, self._cases = chance, cases
        self.attempts, self.keep, self._hedging = attempts, keep, hedging
        self.method = Method("reflect", lambda *_: GREEDY, Template("No: {answer}"), Template(CONCLUDE))
        self.journal: dict[Request, Completion] = {}
        self.most_under_way = 0

    def get(self, request: Request) -> Completion | None:
        return self.journal.get(request)

    def cases(self) -> list[Retry]:
        cases = [Retry(Key(f"p{n % 3}", n), QUESTION, "No: A", "B", ("?", "B")) for n in range(self._cases)]
        restore_attempts(cases, self.get, self.method, self.attempts)
        return cases

    def run(self, concurrency: int, *, steps: int, failures: float, budget: int | None = None) -> list[Retry]:
        cases = self.cases()
        going = [case for case in cases if not case.is_over(self.attempts, self.keep)]
        work = UntilRight(
            going,
            self.method,
            attempts=self.attempts,
            keep=self.keep,
            hedging=self._hedging,
            max_tokens=GREEDY.max_tokens,
            budget=budget,
            spent=sum(case.tokens for case in cases),
            finished=len(cases) - len(going),
        )
        under_way: list[AttemptRequest] = []
        halves: list[AttemptRequest] = []
        for _ in range(steps):
            while len(under_way) < concurrency and (job := work.next()) is not None:
                assert job.request not in self.journal, "it was asked before"
                assert job.request not in [other.request for other in under_way]
                assert not job.retry.is_over(self.attempts, self.keep)
                under_way.append(job)
            if not under_way:
                assert budget is not None or all(case.is_over(self.attempts, self.keep) for case in cases)
                assert work.finished == sum(case.is_over(self.attempts, self.keep) for case in cases)
                assert work.solved == sum(
                    bool(case.accepted_attempts()) for case in going if case.is_over(self.attempts, self.keep)
                )
                assert not halves or budget is not None
                return cases
            if self._chance.random() < failures / 3:
                for job in under_way:
                    work.drop(job)
                under_way.clear()
                work.ask_failures_again()
                continue
            job = under_way.pop(self._chance.randrange(len(under_way)))
            if self._chance.random() < failures:
                completion = Completion("", "error", 0, 0, 1.0, error="HTTP 500")
            else:
                tokens = self._chance.randint(1, GREEDY.max_tokens)
                text = self._chance.choice(TEXTS)
                completion = self.journal[job.request] = Completion(text, "stop", 9, tokens, float(tokens))
            for loser in list(work.finish(job, completion)):
                under_way.remove(loser)
                work.drop(loser)
        return cases


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
def test_chains_go_on_over_kills_restarts_and_failures_and_nothing_is_asked_twice(
    chance: random.Random, cases: int, attempts: int, keep: int, hedging: float, failures: float, kills: list[int]
) -> None:
    courses = Courses(chance, cases, attempts, keep, hedging)
    for steps in kills:
        courses.run(4, steps=steps, failures=failures)
    made = courses.run(4, steps=100_000, failures=failures)
    known = courses.cases()
    for case, again in zip(made, known, strict=True):
        # what is told does not depend on the run that tells it
        assert {n: each for n, each in case.attempts.items() if each.failure is None} == again.attempts
        for number, attempt in case.attempts.items():
            first = courses.get(courses.method.request(case, number))
            if attempt.failure or first is None:
                continue
            second = courses.method.verification(case, number, courses.method.read_completion(case.question, first))
            assert (second is not None) is (first.text == VERIFIED)
            concluded = courses.get(second) if second else None
            right = concluded is not None and concluded.text.endswith("answer is A")
            assert attempt.accepted is right
    if not failures:
        assert courses.run(4, steps=1, failures=0.0) is not None
        spent = sum(case.tokens for case in known)
        assert spent == sum(each.completion_tokens for each in courses.journal.values()), "all costs are known again"


@settings(max_examples=60)
@given(st.integers(0, 2**32).map(random.Random), st.integers(1, 8), st.sampled_from([0.0, 0.5]), st.integers(0, 3000))
def test_a_budget_holds_for_both_requests_of_a_chain(
    chance: random.Random, cases: int, hedging: float, budget: int
) -> None:
    courses = Courses(chance, cases, 4, 1, hedging)
    courses.run(3, steps=100_000, failures=0.0, budget=budget)
    spent = sum(each.completion_tokens for each in courses.journal.values())
    assert spent <= budget + 3 * GREEDY.max_tokens
    before = len(courses.journal)
    courses.run(3, steps=100_000, failures=0.0, budget=spent)
    assert len(courses.journal) == before
