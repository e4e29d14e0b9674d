"""The questions and verifications that wait to be sent, and the questions that have been begun."""

import heapq
from collections.abc import Iterable, Iterator
from itertools import count

from errata.asking.attempts import AttemptRequest, Retry
from errata.inference.dispatch import ByProblem


class RetryQueues:
    """Three queues: new questions, questions between two attempts, and verifications.

    Args:
        retries: the questions, in the order of the answers.
    """

    def __init__(self, retries: Iterable[Retry]) -> None:
        # what earlier runs left unverified goes first
        order = sorted(retries, key=lambda retry: not retry.candidates)
        self._new = ByProblem((retry.key.id, retry) for retry in order)
        # a heap: fewest finished attempts first, then in the order in which they came
        self._between: list[tuple[int, int, Retry]] = []
        self._arrivals = count()
        self._verifications: dict[AttemptRequest, None] = {}
        # questions begun and not over, in the order in which they were begun
        self._begun: dict[Retry, None] = {}

    def take(self, *, new_first: bool) -> Retry | None:
        """The next question without anything in flight.

        Args:
            new_first: new questions go before those between two attempts, not after them.
        """
        sources = (self._new.take, self._take_between)
        return next((retry for source in (sources if new_first else reversed(sources)) if (retry := source())), None)

    def begin(self, retry: Retry) -> None:
        """A question has a request in flight."""
        self._begun[retry] = None

    def begun(self) -> Iterator[Retry]:
        """The questions begun and not over."""
        return iter(self._begun)

    def wait(self, retry: Retry) -> None:
        """A question is between two attempts."""
        heapq.heappush(self._between, (len(retry.attempts), next(self._arrivals), retry))

    def finish(self, retry: Retry) -> None:
        """A question is over: the next one of its problem may go."""
        del self._begun[retry]
        self._new.release(retry.key.id)

    def put_back(self, retry: Retry) -> None:
        """A question's request was dropped: it is new again, and goes last."""
        del self._begun[retry]
        self._new.put_back(retry.key.id, retry)

    def reopen(self, retry: Retry) -> None:
        """A question that was over is new again."""
        self._new.add(retry.key.id, retry)

    @property
    def has_verification(self) -> bool:
        return bool(self._verifications)

    def add_verification(self, request: AttemptRequest) -> None:
        self._verifications[request] = None

    def take_verification(self) -> AttemptRequest | None:
        request = next(iter(self._verifications), None)
        if request is not None:
            del self._verifications[request]
        return request

    def remove_verifications(self, retry: Retry) -> list[AttemptRequest]:
        """Remove the verifications of a question that were not sent, and return them."""
        unsent = [request for request in retry.in_flight.values() if request in self._verifications]
        for request in unsent:
            del self._verifications[request]
        return unsent

    def _take_between(self) -> Retry | None:
        return heapq.heappop(self._between)[-1] if self._between else None
