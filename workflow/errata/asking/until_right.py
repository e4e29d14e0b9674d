"""The order in which questions are asked again: tokens go where they help, and the server never idles."""

import heapq
import time
from collections import defaultdict
from collections.abc import Iterable
from itertools import count

from errata.asking.cases import Case, Trial
from errata.asking.methods import Method
from errata.inference.dispatch import ByProblem
from errata.inference.requests import Completion


class UntilRight:
    """A scheduler for `errata.inference.dispatch.dispatch`: attempts at cases until they are over.

    A question's attempts follow each other, so that none is spent on a question that is solved meanwhile, and at once,
    while its prompt is in the server's cache. When the server would idle, the questions with the most failures get
    further attempts side by side, as long as the tokens that these are expected to waste stay below a share of all;
    when one is accepted the others are cancelled. An attempt that is to be verified goes on before anything else. Under
    a budget every question gets its first attempt before any gets its second, and so on, so that what stays undone are
    the hardest.

    Args:
        cases: those that are not over.
        method: what an attempt asks, and whether what comes is accepted.
        attempts: how often a question is asked again at most.
        keep: how many different accepted completions are wanted of each.
        hedging: the share of tokens that attempts side by side may waste; 0 is strictly one after the other.
        max_tokens: the longest that a completion may be.
        budget: tokens of completions that may be spent, `spent` included; None is no limit.
        spent: tokens that were spent by earlier runs.
        rounds: as under a budget.
        finished: cases that are over, beside `cases`.

    Attributes:
        cancelled_tokens: what attempts that were not needed any more had cost when they were cancelled, estimated by
            how long they ran. Since they are in no journal, those of earlier runs are not in it; nor is what was under
            way when the time was up or the server broke down.
    """

    def __init__(
        self,
        cases: Iterable[Case],
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
        self._attempts, self._keep, self._hedging, self._budget = attempts, keep, hedging, budget
        self._rounds = rounds or budget is not None
        # what is left of earlier runs is verified first
        self._fresh = ByProblem((case.key.id, case) for case in sorted(cases, key=lambda case: not case.halfway))
        # cases between two attempts, those with the fewest failures first
        self._begun: list[tuple[int, int, Case]] = []
        self._order = count()
        self._open: dict[Case, None] = {}
        # verifying requests that have not gone out; their cases count them as under way
        self._halves: dict[Trial, None] = {}
        # of first and of verifying requests: those under way, completions, and their tokens
        self._in_flight, self._completions, self._length_sum = [0, 0], [0, 0], [0, 0]
        self.finished = finished
        self.solved = self._asked = self._accepted = 0
        self._failed: dict[Case, None] = {}
        self.tokens = float(spent)
        self._max_tokens = max_tokens
        self.cancelled_tokens = self._seconds_sum = 0.0
        # of questions with so many failures: attempts at them, and how many of these were accepted
        self._chances: dict[int, list[int]] = defaultdict(lambda: [1, 2])
        self._wasted = self._staked = 0.0

    @property
    def affordable(self) -> bool:
        """Whether the budget allows for one more request beside those under way."""
        if self._budget is None:
            return True
        under_way = sum(self._length(verifies) * self._in_flight[verifies] for verifies in (False, True))
        return self.tokens + under_way + self._length(bool(self._halves)) <= self._budget

    def remark(self) -> str:
        return f"{self.solved} solved, {self._accepted} of {self._asked} attempts right"

    def next(self) -> Trial | None:
        if not self.affordable:
            return None
        if self._halves:
            job = next(iter(self._halves))
            del self._halves[job]
            self._in_flight[True] += 1
            return job
        sources = (self._fresh.take, self._take_begun)
        for take in sources if self._rounds else reversed(sources):
            if case := take():
                return self._send(case)
        return self._side_by_side()

    def finish(self, job: Trial, completion: Completion) -> list[Trial]:
        case, number = job.case, job.request.attempt
        self._land(job)
        self.tokens += completion.completion_tokens
        if not completion.failed:
            self._completions[job.verifies] += 1
            self._length_sum[job.verifies] += completion.completion_tokens
            self._seconds_sum += completion.seconds
        was_over = self._over(case)
        if not job.verifies and (request := self._method.verification(case, number, completion)):
            case.halfway[number] = completion
            if was_over:
                self._wasted += completion.completion_tokens
            else:
                self._halves[self._begin(Trial(request, case, verifies=True, stake=job.stake))] = None
            return []
        failures = sum(not each.accepted for each in case.attempts.values())
        chain = (case.halfway[number], completion) if job.verifies else (completion,)
        attempt = case.attempts[number] = self._method.attempt(case.question, *chain)
        self._accepted += attempt.accepted
        if attempt.failure and not attempt.failure.refused:
            self._failed[case] = None
        if attempt.failure is None:
            self._chances[failures][0] += attempt.accepted
            self._chances[failures][1] += 1
        if was_over:
            self._wasted += attempt.tokens
            return []
        if not self._over(case):
            self._go_on(case)
            return []
        kept = case.accepted()[: self._keep]
        self.solved += bool(kept)
        self.finished += 1
        for half in [each for each in case.in_flight.values() if each in self._halves]:
            del self._halves[half]
            self._end(half)
        # one after the other, those beyond the last that was needed would not have been asked
        if len(kept) == self._keep:
            self._wasted += sum(each.tokens for other, each in case.attempts.items() if other > kept[-1])
            unfinished = case.halfway.keys() - case.attempts.keys()
            self._wasted += sum(case.halfway[other].completion_tokens for other in unfinished if other > kept[-1])
        self._open.pop(case)
        self._fresh.release(case.key.id)
        return list(case.in_flight.values())

    def drop(self, job: Trial) -> None:
        self._land(job)
        if not self._over(job.case):
            if not job.case.in_flight:
                self._open.pop(job.case)
                self._fresh.put_back(job.case.key.id, job.case)
            return
        # cancelled: nobody tells what it had cost by then, only how long it ran
        completions = sum(self._completions)
        pace = self._seconds_sum / completions if completions else 0.0
        spent = self._length(job.verifies) * min(1.0, (time.monotonic() - job.sent) / pace) if pace else 0.0
        self.tokens += spent
        self.cancelled_tokens += spent
        if job.request.attempt > max(job.case.accepted(), default=0):
            self._wasted += spent

    def ask_failures_again(self) -> None:
        for case in self._failed:
            was_over = self._over(case)
            for number, attempt in list(case.attempts.items()):
                if attempt.failure and not attempt.failure.refused:
                    del case.attempts[number]
            if was_over and not self._over(case):
                self.finished -= 1
                self.solved -= bool(case.accepted())
                self._fresh.add(case.key.id, case)
        self._failed.clear()

    def _length(self, verifies: bool = False) -> float:
        """Tokens that a completion is expected to have, of a first request or of one that verifies."""
        count = self._completions[verifies]
        return self._length_sum[verifies] / count if count else self._max_tokens

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
        if room < self._length() * min((right / of for right, of in self._chances.values()), default=0.5):
            return None
        possible = [case for case in self._open if case.in_flight and case.next_number(self._attempts)]
        if not possible:
            return None
        case = min(possible, key=lambda case: (len(case.in_flight), -len(case.attempts)))
        right, of = self._chances[len(case.attempts)]
        stake = self._length() * (1 - (1 - right / of) ** len(case.in_flight))
        return self._send(case, stake) if stake <= room else None

    def _send(self, case: Case, stake: float = 0.0) -> Trial:
        number = case.next_number(self._attempts)
        assert number is not None, "a case that is over was asked again"
        first = case.halfway.get(number)
        request = (
            self._method.request(case, number) if first is None else self._method.verification(case, number, first)
        )
        assert request is not None, "what needs no verifying waited for it"
        job = self._begin(Trial(request, case, verifies=first is not None, stake=stake))
        self._in_flight[job.verifies] += 1
        self._asked += 1
        return job

    def _land(self, job: Trial) -> None:
        self._in_flight[job.verifies] -= 1
        self._end(job)

    def _begin(self, job: Trial) -> Trial:
        job.case.in_flight[job.request.attempt] = job
        self._open[job.case] = None
        self._staked += job.stake
        return job

    def _end(self, job: Trial) -> None:
        del job.case.in_flight[job.request.attempt]
        self._staked -= job.stake
