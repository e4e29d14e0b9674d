"""The order in which questions are asked again: tokens go where they help, and the server never idles.

The states of a question:

               next                      not accepted, attempts left
      NEW ------------> IN FLIGHT --------------------------------------> BETWEEN
       ^                 |  ^  ^                                          ATTEMPTS
       |     dropped     |  |  |                   next                      |
       +-----------------+  |  +---------------------------------------------+
       |                 |  |
       |                 |  | next
       |                 v  |
       |            UNVERIFIED  (the first completion passed; its verification is not sent yet)
       |
       |                IN FLIGHT ------------------> OVER
       |                           enough accepted,    |
       |                           attempts spent,     |
       |                           or refused          |
       +-----------------------------------------------+
              the server was restarted, and an attempt had failed

A question IN FLIGHT may have several attempts in flight side by side, some of them unverified, see `hedging`.
"""

import time
from collections.abc import Iterable

from errata.asking.attempts import AttemptRequest, Retry
from errata.asking.budget import Budget
from errata.asking.hedging import Hedging
from errata.asking.methods import Method
from errata.asking.retry_queues import RetryQueues
from errata.inference.requests import Completion


class UntilRight:
    """Scheduler for `errata.inference.dispatch.dispatch` that asks questions again until they are over.

    What is sent next, in this order:

    1. A verification that waits.
    2. The next attempt at a question between two attempts: at once, while the server has its prompt in the cache.
    3. The first attempt at a new question.
    4. A further attempt at the question with the fewest requests in flight and the most failures. Other attempts at it
       are still in flight, so it may be wasted; `Hedging` limits that. When one is accepted, the others are cancelled.

    Under a budget, 3 goes before 2, and of 2 those with the fewest attempts: every question gets its first attempt
    before any gets its second, so that the hardest questions are the ones that stay unsolved.

    Args:
        retries: the questions that are not over.
        method: what an attempt asks, and whether its completions are accepted.
        attempts: at most so many attempts at a question.
        keep: so many different accepted completions of a question are enough.
        hedging: share of tokens that attempts side by side may waste; 0 sends strictly one after the other.
        max_tokens: limit of one completion.
        budget: tokens of completions that may be spent, `spent` included; None is no limit.
        spent: tokens that earlier runs spent.
        rounds: the order of a budget without a limit of tokens, as for a limit of time.
        finished: number of questions that are over, beside `retries`.

    Attributes:
        finished: questions that are over.
        solved: those of them, of `retries`, with an accepted attempt.
    """

    def __init__(
        self,
        retries: Iterable[Retry],
        method: Method,
        *,
        attempts: int,
        keep: int,
        hedging: float,
        max_tokens: int,
        budget: int | None = None,
        spent: int = 0,
        rounds: bool = False,
        finished: int = 0,
    ) -> None:
        self._method = method
        self._attempts, self._keep = attempts, keep
        self._rounds = rounds or budget is not None
        self._queues = RetryQueues(retries)
        self._budget = Budget(budget, spent, max_tokens)
        self._hedging = Hedging(hedging)
        # questions with a failure that the server may not repeat
        self._with_failures: dict[Retry, None] = {}
        self._sent = self._accepted = 0
        self.finished, self.solved = finished, 0

    @property
    def tokens(self) -> float:
        return self._budget.spent

    @property
    def cancelled_tokens(self) -> float:
        """Tokens that cancelled requests of this run had cost, estimated by how long they ran.

        They are in no journal, so those of earlier runs are not included. Nor are requests that were in flight when the
        time was up or the server broke down.
        """
        return self._budget.cancelled

    @property
    def affordable(self) -> bool:
        """Whether the budget allows one more request beside those in flight."""
        return self._budget.affords(verifies=self._queues.has_verification)

    def remark(self) -> str:
        return f"{self.solved} solved, {self._accepted} of {self._sent} attempts right"

    def next(self) -> AttemptRequest | None:
        if not self.affordable:
            return None
        if verification := self._queues.take_verification():
            self._budget.send(verifies=True)
            return verification
        if retry := self._queues.take(new_first=self._rounds):
            return self._send(retry)
        return self._send_beside_others()

    def finish(self, pending: AttemptRequest, completion: Completion) -> list[AttemptRequest]:
        retry, number = pending.retry, pending.request.attempt
        self._land(pending)
        self._budget.spend(completion, verifies=pending.verifies)
        was_over = self._is_over(retry)
        if pending.verifies:
            reading, second = retry.candidates[number], completion
        else:
            reading, second = self._method.read_completion(retry.question, completion), None
            if verification := self._method.verification(retry, number, reading):
                retry.candidates[number] = reading
                if was_over:
                    self._hedging.waste(completion.completion_tokens)
                else:
                    request = AttemptRequest(verification, retry, verifies=True, stake=pending.stake)
                    self._begin(request)
                    self._queues.add_verification(request)
                return []
        failures = sum(not attempt.accepted for attempt in retry.attempts.values())
        attempt = retry.attempts[number] = self._method.attempt(retry.question, reading, second)
        self._accepted += attempt.accepted
        if attempt.failure is None:
            self._hedging.learn(failures, accepted=attempt.accepted)
        elif not attempt.failure.refused:
            self._with_failures[retry] = None
        if was_over:
            self._hedging.waste(attempt.tokens)
            return []
        if self._is_over(retry):
            return self._finish(retry)
        if not retry.in_flight:
            self._queues.wait(retry)
        return []

    def drop(self, pending: AttemptRequest) -> None:
        retry = pending.retry
        self._land(pending)
        if self._is_over(retry):
            # cancelled, because it was not needed any more
            cost = self._budget.cancel(time.monotonic() - pending.sent, verifies=pending.verifies)
            if pending.request.attempt > max(retry.accepted_attempts(), default=0):
                self._hedging.waste(cost)
        elif not retry.in_flight:
            self._queues.put_back(retry)

    def ask_failures_again(self) -> None:
        for retry in self._with_failures:
            was_over = self._is_over(retry)
            for number, attempt in list(retry.attempts.items()):
                if attempt.failure and not attempt.failure.refused:
                    del retry.attempts[number]
            if was_over and not self._is_over(retry):
                self.finished -= 1
                self.solved -= bool(retry.accepted_attempts())
                self._queues.reopen(retry)
        self._with_failures.clear()

    def _is_over(self, retry: Retry) -> bool:
        return retry.is_over(self._attempts, self._keep)

    def _finish(self, retry: Retry) -> list[AttemptRequest]:
        """A question is over: return its requests in flight, which are not needed any more."""
        needed = retry.accepted_attempts()[: self._keep]
        self.solved += bool(needed)
        self.finished += 1
        for verification in self._queues.remove_verifications(retry):
            self._end(verification)
        # one after the other, the attempts after the last one needed would not have been made
        if len(needed) == self._keep:
            last = needed[-1]
            self._hedging.waste(sum(attempt.tokens for number, attempt in retry.attempts.items() if number > last))
            unverified = [reading.completion for number, reading in retry.unverified.items() if number > last]
            self._hedging.waste(sum(completion.completion_tokens for completion in unverified))
        self._queues.finish(retry)
        return list(retry.in_flight.values())

    def _send_beside_others(self) -> AttemptRequest | None:
        """A further attempt at a question with others in flight, if its expected waste is allowed."""
        spent, length = self._budget.spent, self._budget.expected(verifies=False)
        if not self._hedging.allows_any(spent, length):
            return None
        possible = [each for each in self._queues.begun() if each.in_flight and each.next_attempt(self._attempts)]
        if not possible:
            return None
        retry = min(possible, key=lambda each: (len(each.in_flight), -len(each.attempts)))
        stake = self._hedging.stake(retry, length)
        return self._send(retry, stake) if self._hedging.allows(stake, spent) else None

    def _send(self, retry: Retry, stake: float = 0.0) -> AttemptRequest:
        number = retry.next_attempt(self._attempts)
        assert number is not None, "a question that is over was asked again"
        reading = retry.candidates.get(number)
        if reading is None:
            request = self._method.request(retry, number)
        else:
            verification = self._method.verification(retry, number, reading)
            assert verification is not None, "an attempt without a verification waited for one"
            request = verification
        pending = AttemptRequest(request, retry, verifies=reading is not None, stake=stake)
        self._begin(pending)
        self._budget.send(verifies=pending.verifies)
        self._sent += 1
        return pending

    def _begin(self, pending: AttemptRequest) -> None:
        pending.retry.in_flight[pending.request.attempt] = pending
        self._queues.begin(pending.retry)
        self._hedging.begin(pending.stake)

    def _end(self, pending: AttemptRequest) -> None:
        del pending.retry.in_flight[pending.request.attempt]
        self._hedging.end(pending.stake)

    def _land(self, pending: AttemptRequest) -> None:
        """A request that was sent has ended."""
        self._budget.end(verifies=pending.verifies)
        self._end(pending)
