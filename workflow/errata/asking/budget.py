"""The tokens of a run: those spent, those expected of requests in flight, and the limit of both."""

from dataclasses import dataclass

from errata.inference.requests import Completion


@dataclass
class _Kind:
    """First requests of attempts, or verifications: verifications have far shorter completions."""

    in_flight: int = 0
    completions: int = 0
    tokens: int = 0


class Budget:
    """Accounts for tokens of completions.

    Args:
        limit: tokens that may be spent; None is no limit.
        spent: tokens that earlier runs spent.
        max_tokens: limit of one completion, which is expected of a kind of request without any completion so far.

    Attributes:
        spent: tokens so far, those of earlier runs included.
        cancelled: tokens among them that requests had cost when they were cancelled, estimated.
    """

    def __init__(self, limit: int | None, spent: int, max_tokens: int) -> None:
        self._limit, self._max_tokens = limit, max_tokens
        self._kinds = {False: _Kind(), True: _Kind()}
        self._seconds = 0.0
        self.spent = float(spent)
        self.cancelled = 0.0

    def expected(self, *, verifies: bool) -> float:
        """Tokens that the completion of one request will have: the mean of its kind so far."""
        kind = self._kinds[verifies]
        return kind.tokens / kind.completions if kind.completions else self._max_tokens

    def affords(self, *, verifies: bool) -> bool:
        """Whether one more request of this kind is within the limit."""
        if self._limit is None:
            return True
        in_flight = sum(self.expected(verifies=each) * kind.in_flight for each, kind in self._kinds.items())
        return self.spent + in_flight + self.expected(verifies=verifies) <= self._limit

    def send(self, *, verifies: bool) -> None:
        """A request is in flight."""
        self._kinds[verifies].in_flight += 1

    def end(self, *, verifies: bool) -> None:
        """A request is no longer in flight, with or without a completion."""
        self._kinds[verifies].in_flight -= 1

    def spend(self, completion: Completion, *, verifies: bool) -> None:
        """A completion arrived."""
        self.spent += completion.completion_tokens
        if not completion.failed:
            kind = self._kinds[verifies]
            kind.completions += 1
            kind.tokens += completion.completion_tokens
            self._seconds += completion.seconds

    def cancel(self, seconds: float, *, verifies: bool) -> float:
        """A request was cancelled: estimate the tokens that it cost.

        No server says how far it was. A completion takes the mean time so far, so the request cost that share of the
        expected tokens.

        Args:
            seconds: since it was sent.
        """
        completions = sum(kind.completions for kind in self._kinds.values())
        usual = self._seconds / completions if completions else 0.0
        cost = self.expected(verifies=verifies) * min(1.0, seconds / usual) if usual else 0.0
        self.spent += cost
        self.cancelled += cost
        return cost
