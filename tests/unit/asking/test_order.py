"""The order of requests: properties of the queue and of UntilRight under random events; no server."""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from errata.asking.attempts import AttemptRequest, Retry
from errata.asking.methods import Method
from errata.asking.until_right import UntilRight
from errata.data.records import Key, Question
from errata.inference.dispatch import ByProblem
from errata.inference.requests import Completion, Sampling

Item = tuple[str, int]


class Queue(RuleBasedStateMachine):
    """Items that are taken, finished and put back in any order."""

    @initialize(problems=st.lists(st.sampled_from("abcd"), max_size=12))
    def start(self, problems: list[str]) -> None:
        self.waiting: list[Item] = [(id, number) for number, id in enumerate(problems)]
        self.items = list(self.waiting)
        self.queue = ByProblem((item[0], item) for item in self.items)
        self.in_flight: list[Item] = []
        self.finished: list[Item] = []

    @rule()
    def take(self) -> None:
        item = self.queue.take()
        if item is None:
            assert not self.waiting, "an item waits, but none was returned"
            return
        assert item in self.waiting, "it was returned before"
        begun = {id for id, _ in self.in_flight}
        if item[0] in begun:
            assert {id for id, _ in self.waiting} <= begun, "another problem could have been begun instead"
        self.waiting.remove(item)
        self.in_flight.append(item)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.in_flight))
        self.in_flight.remove(item)
        self.queue.release(item[0])
        self.finished.append(item)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.in_flight))
        self.in_flight.remove(item)
        self.queue.put_back(item[0], item)
        self.waiting.append(item)

    @rule(id=st.sampled_from("abcde"))
    def add(self, id: str) -> None:
        item = (id, len(self.items))
        self.items.append(item)
        self.waiting.append(item)
        self.queue.add(id, item)

    def teardown(self) -> None:
        if not hasattr(self, "queue"):
            return
        while self.waiting or self.in_flight:
            while self.waiting:
                self.take()
            item = self.in_flight.pop(0)
            self.queue.release(item[0])
            self.finished.append(item)
        assert sorted(self.finished) == sorted(self.items), "every item exactly once"
        assert self.queue.take() is None


def test_every_item_is_taken_once_and_two_of_a_problem_only_when_all_problems_are_begun() -> None:
    Queue.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
    Queue.TestCase().runTest()


def test_one_after_the_other_the_items_of_a_problem_follow_each_other() -> None:
    queue = ByProblem((id, f"{id}{number}") for number in range(3) for id in "abc")
    order = []
    while (item := queue.take()) is not None:
        order.append(item)
        queue.release(item[0])
    assert order == ["a0", "a1", "a2", "b0", "b1", "b2", "c0", "c1", "c2"]


# --- until right

SAMPLING = Sampling(max_tokens=200, temperature=0.8, top_p=1.0, seed=0)
METHOD = Method("self", lambda *_: SAMPLING)
RIGHT, WRONG = "The answer is A", "The answer is B"


@dataclass
class World:
    """A simulated server and clock: the completion is drawn when a request is sent, and a token takes a second."""

    chance: random.Random
    problems: int = 4
    questions: int = 8
    attempts: int = 4
    keep: int = 1
    hedging: float = 0.1
    concurrency: int = 6
    breakdowns: float = 0.0
    budget: int | None = None
    rounds: bool = False
    now: float = 0.0
    total: float = 0.0
    sent: list[tuple[Key, int]] = field(default_factory=list)
    finished: dict[Key, dict[int, Completion]] = field(default_factory=lambda: defaultdict(dict))
    cancelled: list[tuple[Key, int, float]] = field(default_factory=list)

    def run(self) -> list[Retry]:
        question = Question(0, "?", ("one", "two"), "A")
        retries = [
            Retry(Key(f"p{self.chance.randrange(self.problems)}", n), question, "?", "B") for n in range(self.questions)
        ]
        self.solvable = {retry.key: self.chance.choice([0.05, 0.3, 0.9]) for retry in retries}
        scheduler = UntilRight(
            retries,
            METHOD,
            attempts=self.attempts,
            keep=self.keep,
            hedging=self.hedging,
            max_tokens=SAMPLING.max_tokens,
            budget=self.budget,
            rounds=self.rounds,
        )
        in_flight: dict[AttemptRequest, tuple[float, Completion]] = {}
        with patch("errata.asking.until_right.time.monotonic", lambda: self.now):
            while True:
                while len(in_flight) < self.concurrency and (pending := scheduler.next()) is not None:
                    self.check(pending, in_flight)
                    pending.sent = self.now
                    completion = self.completion(pending.retry.key)
                    in_flight[pending] = (self.now + completion.seconds, completion)
                if not in_flight:
                    break
                if self.chance.random() < self.breakdowns:
                    for pending in in_flight:
                        scheduler.drop(pending)
                    in_flight.clear()
                    scheduler.ask_failures_again()
                    for attempts in self.finished.values():
                        for number in [n for n, each in attempts.items() if each.failed and not each.refused]:
                            del attempts[number]
                    continue
                pending = min(in_flight, key=lambda each: in_flight[each][0])
                self.now, completion = in_flight.pop(pending)
                self.finish(pending, completion)
                losers = list(scheduler.finish(pending, completion))
                assert set(losers) <= set(in_flight)
                for loser in losers:
                    if self.chance.random() < 0.1:
                        # its completion arrived at the same moment, so it counts
                        _, completion = in_flight.pop(loser)
                        self.finish(loser, completion)
                        assert not list(scheduler.finish(loser, completion))
                        continue
                    del in_flight[loser]
                    self.cancelled.append((loser.retry.key, loser.request.attempt, self.now - loser.sent))
                    scheduler.drop(loser)
        assert scheduler.finished == sum(retry.is_over(self.attempts, self.keep) for retry in retries)
        refused = any(each.refused for attempts in self.finished.values() for each in attempts.values())
        # a refusal ends a question, and a right answer may arrive at the same moment
        if self.budget is None and not self.breakdowns and not refused:
            assert scheduler.solved == sum(any(self.right(each).values()) for each in self.finished.values())
        return retries

    def completion(self, key: Key) -> Completion:
        kind, tokens = self.chance.random(), self.chance.randint(1, SAMPLING.max_tokens)
        if kind < 0.05:
            return Completion("", "error", 0, 0, 1.0, error="HTTP 500", refused=kind < 0.01 and not self.breakdowns)
        if kind < 0.15:
            return Completion(RIGHT, "length", 9, SAMPLING.max_tokens, float(SAMPLING.max_tokens))
        text = WRONG
        if self.chance.random() < self.solvable[key]:
            text = "Look. " * self.chance.randrange(3) + RIGHT
        return Completion(text, "stop", 9, tokens, float(tokens))

    def check(self, pending: AttemptRequest, in_flight: dict[AttemptRequest, tuple[float, Completion]]) -> None:
        key, number = pending.retry.key, pending.request.attempt
        assert 1 <= number <= self.attempts
        assert number not in self.finished[key], "it was finished before"
        assert not self.over(key), "an attempt at a question that is over"
        beside = [other.request.attempt for other in in_flight if other.retry is pending.retry]
        assert number not in beside
        if not self.hedging:
            assert not beside
            # numbers that failed are sent again after a restart
            assert set(range(1, number)) <= self.finished[key].keys(), "one after the other"
        self.sent.append((key, number))

    def finish(self, pending: AttemptRequest, completion: Completion) -> None:
        assert pending.request.attempt not in self.finished[pending.retry.key]
        self.finished[pending.retry.key][pending.request.attempt] = completion

    def right(self, attempts: dict[int, Completion]) -> dict[int, str]:
        """The different right completions, by the number of the first attempt that gave each."""
        found: dict[str, int] = {}
        for number in sorted(attempts):
            if attempts[number].finish_reason == "stop" and attempts[number].text.endswith(RIGHT):
                found.setdefault(attempts[number].text, number)
        return {number: text for text, number in found.items()}

    def over(self, key: Key) -> bool:
        attempts = self.finished[key]
        refused = any(each.refused for each in attempts.values())
        return refused or len(attempts) >= self.attempts or len(self.right(attempts)) >= self.keep

    def needed(self, key: Key) -> float:
        """The number of the last attempt that is made if attempts follow each other."""
        right = sorted(self.right(self.finished[key]))
        return right[self.keep - 1] if len(right) >= self.keep else self.attempts

    def costs(self) -> tuple[float, float]:
        """Tokens in all, and tokens of attempts that are not made if attempts follow each other."""
        spent = [
            (key, number, float(completion.completion_tokens))
            for key, attempts in self.finished.items()
            for number, completion in attempts.items()
        ] + self.cancelled
        total = sum(tokens for _, _, tokens in spent)
        return total, sum(tokens for key, number, tokens in spent if number > self.needed(key))


WORLDS: st.SearchStrategy[World] = st.builds(
    World,
    st.integers(0, 2**32).map(random.Random),
    problems=st.integers(1, 5),
    questions=st.integers(0, 12),
    attempts=st.integers(1, 6),
    keep=st.integers(1, 3),
    hedging=st.sampled_from([0.0, 0.1, 0.5, 10.0]),
    concurrency=st.integers(1, 20),
    breakdowns=st.sampled_from([0.0, 0.1]),
    rounds=st.booleans(),
)


@settings(max_examples=300)
@given(WORLDS)
def test_every_question_ends_over_and_no_attempt_is_made_twice_or_in_vain(world: World) -> None:
    retries = world.run()
    for retry in retries:
        assert world.over(retry.key)
        assert retry.is_over(world.attempts, world.keep)
        assert retry.attempts.keys() == world.finished[retry.key].keys()
        assert not retry.in_flight
        if not world.hedging:
            assert world.breakdowns or sorted(retry.attempts) == list(range(1, len(retry.attempts) + 1))
            assert world.breakdowns or len(retry.attempts) <= world.needed(retry.key)
    total, wasted = world.costs()
    if not world.hedging:
        assert not world.cancelled
        assert world.breakdowns or wasted == 0
    # the share limits the expected waste; the actual waste may be a little above it
    assert wasted <= world.hedging * total + 3 * SAMPLING.max_tokens
    if not world.breakdowns:
        lost = Counter(world.sent) - Counter((key, number) for key, each in world.finished.items() for number in each)
        assert lost == Counter((key, number) for key, number, _ in world.cancelled)


def one_question(keep: int) -> tuple[Retry, UntilRight]:
    retry = Retry(Key("p", 0), Question(0, "?", ("one", "two"), "A"), "?", "B")
    return retry, UntilRight([retry], METHOD, attempts=3, keep=keep, hedging=0.0, max_tokens=SAMPLING.max_tokens)


def give(scheduler: UntilRight, completion: Completion) -> None:
    pending = scheduler.next()
    assert pending is not None
    assert not scheduler.finish(pending, completion)


FAILURE = Completion("", "error", 0, 0, 1.0, error="HTTP 500")


def test_a_question_that_is_reopened_by_a_restart_counts_as_solved_once() -> None:
    retry, scheduler = one_question(keep=2)
    for completion in (Completion(RIGHT, "stop", 9, 5, 1.0), FAILURE, FAILURE):
        give(scheduler, completion)
    assert scheduler.next() is None
    assert (scheduler.finished, scheduler.solved) == (1, 1)
    scheduler.ask_failures_again()
    assert scheduler.finished == 0
    give(scheduler, Completion(f"So: {RIGHT}", "stop", 9, 6, 1.0))
    assert retry.accepted_attempts() == [1, 2]
    assert (scheduler.finished, scheduler.solved) == (1, 1)


def test_a_refused_question_is_not_asked_again_after_a_restart() -> None:
    retry, scheduler = one_question(keep=1)
    give(scheduler, FAILURE)
    give(scheduler, Completion("", "error", 0, 0, 1.0, error="HTTP 400", refused=True))
    assert retry.is_over(3, 1)
    scheduler.ask_failures_again()
    assert scheduler.next() is None
    assert scheduler.finished == 1


@settings(max_examples=200)
@given(WORLDS, st.integers(0, 6000))
def test_a_budget_is_exceeded_at_most_by_requests_in_flight_and_first_attempts_come_first(
    world: World, budget: int
) -> None:
    world.budget, world.breakdowns = budget, 0.0
    world.run()
    total, _ = world.costs()
    assert total <= budget + world.concurrency * SAMPLING.max_tokens
    first = {key for key, _ in world.sent[: world.questions]}
    assert len(first) == min(world.questions, len(world.sent)), "a second attempt before all had their first"


def simulated(seed: int, **settings: object) -> tuple[float, float, float]:
    """Tokens in all, tokens wasted, and the time for 150 questions with 24 requests at once."""
    world = World(random.Random(seed), problems=50, questions=150, concurrency=24, attempts=6, **settings)  # type: ignore[arg-type]
    world.run()
    return *world.costs(), world.now


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("hedging", [0.05, 0.1, 0.3])
def test_hedging_wastes_no_more_than_its_share_and_saves_time(hedging: float, keep: int) -> None:
    runs = [simulated(seed, hedging=hedging, keep=keep) for seed in range(12)]
    assert all(wasted <= hedging * total + SAMPLING.max_tokens for total, wasted, _ in runs), [
        round((wasted - hedging * total) / SAMPLING.max_tokens, 2) for total, wasted, _ in runs
    ]
    one_by_one = [simulated(seed, hedging=0.0, keep=keep) for seed in range(12)]
    assert all(wasted == 0 for _, wasted, _ in one_by_one)
    assert sum(took for _, _, took in runs) < sum(took for _, _, took in one_by_one)
