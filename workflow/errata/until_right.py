"""The order in which first-wrong questions are asked again: tokens go where they help, and the server never idles."""

import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import count

from errata.cases import Case, Trial
from errata.dispatch import ByProblem
from errata.journal import Completion, Request


class UntilRight:
    """Work for `errata.dispatch.dispatch`: attempts at cases until they are over.

    A question's attempts follow each other, so that none is spent on a question that is solved meanwhile, and at once,
    while its prompt is in the server's cache. When the server would idle, the questions with the most failures get
    further attempts side by side, as long as the tokens that these are expected to waste stay below a share of all;
    when one is right the others are cancelled. Under a budget every question gets its first attempt before any gets its
    second, and so on, so that what stays undone are the hardest.

    Args:
        cases: those that are not over.
        request: of an attempt at a case, by its number from 1.
        attempts: how often a question is asked again at most.
        keep: how many different right completions are wanted of each.
        hedging: the share of tokens that attempts side by side may waste; 0 is strictly one after the other.
        max_tokens: the longest that a completion may be.
        budget: tokens of completions that may be spent, `spent` included; None is no limit.
        spent: tokens that were spent by earlier runs.
        rounds: as under a budget.
        finished: cases that are over, beside `cases`.
    """

    def __init__(
        self,
        cases: Iterable[Case],
        request: Callable[[Case, int], Request],
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
        self._request = request
        self._attempts, self._keep, self._hedging, self._budget = attempts, keep, hedging, budget
        self._rounds = rounds or budget is not None
        self._fresh = ByProblem((case.key.id, case) for case in cases)
        # cases between two attempts, those with the fewest failures first
        self._begun: list[tuple[int, int, Case]] = []
        self._order = count()
        self._open: dict[Case, None] = {}
        self._in_flight = 0
        self.finished = finished
        self.solved = self._asked = self._right = 0
        self._failed: dict[Case, None] = {}
        self.tokens = float(spent)
        self._max_tokens = max_tokens
        self._completions, self._length_sum, self._seconds_sum = 0, 0, 0.0
        # of questions with so many failures: attempts at them, and how many of these were right
        self._chances: dict[int, list[int]] = defaultdict(lambda: [1, 2])
        self._wasted = self._staked = 0.0

    @property
    def affordable(self) -> bool:
        """Whether the budget allows for one more attempt beside those under way."""
        return self._budget is None or self.tokens + (self._in_flight + 1) * self._length <= self._budget

    def remark(self) -> str:
        return f"{self.solved} solved, {self._right} of {self._asked} attempts right"

    def next(self) -> Trial | None:
        if not self.affordable:
            return None
        sources = (self._fresh.take, self._take_begun)
        for take in sources if self._rounds else reversed(sources):
            if case := take():
                return self._send(case)
        return self._side_by_side()

    def done(self, job: Trial, completion: Completion) -> list[Trial]:
        case, number = job.case, job.request.attempt
        self._land(job)
        was_over = self._over(case)
        failures = sum(not each.right for each in case.attempts.values())
        attempt = case.record(number, completion)
        self.tokens += attempt.tokens
        self._right += attempt.right
        if attempt.failure and not attempt.failure.refused:
            self._failed[case] = None
        if attempt.failure is None:
            self._completions += 1
            self._length_sum += attempt.tokens
            self._seconds_sum += completion.seconds
            self._chances[failures][0] += attempt.right
            self._chances[failures][1] += 1
        if was_over:
            self._wasted += attempt.tokens
            return []
        if not self._over(case):
            self._go_on(case)
            return []
        right = case.right()[: self._keep]
        self.solved += bool(right)
        self.finished += 1
        # one after the other, those beyond the last that was needed would not have been asked
        if len(right) == self._keep:
            self._wasted += sum(each.tokens for other, each in case.attempts.items() if other > right[-1])
        self._open.pop(case)
        self._fresh.release(case.key.id)
        return list(case.in_flight.values())

    def dropped(self, job: Trial) -> None:
        self._land(job)
        if not self._over(job.case):
            if not job.case.in_flight:
                self._open.pop(job.case)
                self._fresh.put_back(job.case.key.id, job.case)
            return
        # cancelled: nobody tells what it had cost by then, only how long it ran
        pace = self._seconds_sum / self._completions if self._completions else 0.0
        spent = self._length * min(1.0, (time.monotonic() - job.sent) / pace) if pace else 0.0
        self.tokens += spent
        if job.request.attempt > max(job.case.right(), default=0):
            self._wasted += spent

    def ask_failures_again(self) -> None:
        for case in self._failed:
            was_over = self._over(case)
            for number, attempt in list(case.attempts.items()):
                if attempt.failure and not attempt.failure.refused:
                    del case.attempts[number]
            if was_over and not self._over(case):
                self.finished -= 1
                self.solved -= bool(case.right())
                self._fresh.add(case.key.id, case)
        self._failed.clear()

    @property
    def _length(self) -> float:
        """Tokens that a completion is expected to have."""
        return self._length_sum / self._completions if self._completions else self._max_tokens

    def _over(self, case: Case) -> bool:
        return case.over(self._attempts, self._keep)

    def _take_begun(self) -> Case | None:
        return heapq.heappop(self._begun)[-1] if self._begun else None

    def _go_on(self, case: Case) -> None:
        if not case.in_flight:
            heapq.heappush(self._begun, (len(case.attempts), next(self._order), case))

    def _side_by_side(self) -> Trial | None:
        """A further attempt at a question that has one under way, if the expected waste is within its share."""
        room = self._hedging * self.tokens - self._wasted - self._staked
        # the cheapest first, since this is asked for with every completion
        if room < self._length * min((right / of for right, of in self._chances.values()), default=0.5):
            return None
        possible = [case for case in self._open if case.in_flight and case.next_number(self._attempts)]
        if not possible:
            return None
        case = min(possible, key=lambda case: (len(case.in_flight), -len(case.attempts)))
        right, of = self._chances[len(case.attempts)]
        stake = self._length * (1 - (1 - right / of) ** len(case.in_flight))
        return self._send(case, stake) if stake <= room else None

    def _send(self, case: Case, stake: float = 0.0) -> Trial:
        number = case.next_number(self._attempts)
        assert number is not None, "a case that is over was asked again"
        job = Trial(self._request(case, number), case, stake)
        case.in_flight[number] = job
        self._open[case] = None
        self._in_flight += 1
        self._staked += stake
        self._asked += 1
        return job

    def _land(self, job: Trial) -> None:
        del job.case.in_flight[job.request.attempt]
        self._in_flight -= 1
        self._staked -= job.stake
