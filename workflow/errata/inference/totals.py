"""Totals over the completions that a step uses."""

from dataclasses import dataclass

from errata.data.parts import ALL_PROBLEMS, Part
from errata.data.summaries import Costs, PartRuns
from errata.inference.dispatch import Utilization
from errata.inference.journal import Journal
from errata.inference.requests import Completion


@dataclass
class Totals:
    """Tokens and outcomes of completions, those of earlier runs and of this one together.

    Attributes:
        truncated: completions that were cut off.
        failed: requests for which the server gave no completion.
        cached: prompt tokens that the server's prefix cache had.
        cache_known: whether the server says how many these are.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    truncated: int = 0
    failed: int = 0
    cached: int = 0
    cache_known: bool = False

    def add(self, completion: Completion) -> None:
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens
        self.truncated += completion.truncated
        self.failed += completion.failed
        self.cached += completion.cached_tokens or 0
        self.cache_known |= completion.cached_tokens is not None

    def costs(self, journal: Journal, utilization: Utilization, part: Part = ALL_PROBLEMS) -> Costs:
        """The costs of asking. Those of a part contain the times of its runs, so that step gather can add the parts.

        Args:
            journal: of this run; it knows the times of earlier runs.
            utilization: of this run's server.
        """
        runs = None
        if part != ALL_PROBLEMS:
            runs = PartRuns(str(part), round(utilization.seconds, 3), tuple(journal.runs.spans))
        return Costs(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached if self.cache_known else None,
            completion_tokens=self.completion_tokens,
            wall_seconds=round(journal.seconds, 3),
            requests=utilization.requests,
            cancelled=utilization.cancelled,
            saturated=None if utilization.share is None else round(utilization.share, 3),
            runs=runs,
        )
