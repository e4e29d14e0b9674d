"""Attempts side by side: when a further attempt at a question may start before the one in flight has ended.

Without hedging, the last few hard questions would be asked one attempt after the other while the server idles. With it,
an attempt may turn out not to be needed: its tokens are wasted when an earlier attempt is accepted. The waste is kept
below a share of all tokens.
"""

from collections import defaultdict

from errata.asking.attempts import Retry


class Hedging:
    """Decides whether one more attempt beside others is worth the tokens that it may waste.

    Args:
        share: the share of all tokens that may be wasted; 0 never allows attempts side by side.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._wasted = 0.0
        # expected waste of the requests in flight
        self._staked = 0.0
        # by the number of a question's failed attempts so far: accepted attempts and all attempts after them; they
        # begin with one of two, so that the first few attempts do not decide
        self._history: dict[int, list[int]] = defaultdict(lambda: [1, 2])

    def allows_any(self, spent: float, length: float) -> bool:
        """Whether there may be a question whose stake is allowed. Cheap, since it is asked after every completion.

        Args:
            spent: tokens of the run so far.
            length: expected tokens of a completion.
        """
        least = min((accepted / attempts for accepted, attempts in self._history.values()), default=0.5)
        return self._room(spent) >= length * least

    def stake(self, retry: Retry, length: float) -> float:
        """Tokens that one more attempt at a question is expected to waste.

        It is wasted if one of the attempts in flight is accepted.
        """
        accepted, attempts = self._history[len(retry.attempts)]
        return length * (1 - (1 - accepted / attempts) ** len(retry.in_flight))

    def allows(self, stake: float, spent: float) -> bool:
        """Whether this stake, beside those of requests in flight and the waste so far, is within the share."""
        return stake <= self._room(spent)

    def begin(self, stake: float) -> None:
        self._staked += stake

    def end(self, stake: float) -> None:
        self._staked -= stake

    def waste(self, tokens: float) -> None:
        """Tokens were spent on an attempt that was not needed."""
        self._wasted += tokens

    def learn(self, failures: int, *, accepted: bool) -> None:
        """An attempt at a question with so many failed attempts was accepted, or was not."""
        self._history[failures][0] += accepted
        self._history[failures][1] += 1

    def _room(self, spent: float) -> float:
        return self._share * spent - self._wasted - self._staked
