"""When the runs of a step asked their questions."""

from dataclasses import dataclass, field


@dataclass
class RunTimes:
    """The time span of each run: from the beginning of its asking to its last completion, in Unix time."""

    # last completion by beginning
    _ends: dict[float, float] = field(default_factory=dict)

    def add(self, started: float, end: float) -> None:
        """Add a run, or a later completion of one that was added before."""
        self._ends[started] = max(end, self._ends.get(started, end))

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Beginning and last completion of each run, in order."""
        return sorted(self._ends.items())

    @property
    def seconds(self) -> float:
        """The time in which at least one run asked; the runs of several parts overlap."""
        seconds, reached = 0.0, 0.0
        for started, end in self.spans:
            seconds += max(0.0, end - max(started, reached))
            reached = max(reached, end)
        return seconds

    @property
    def last(self) -> float:
        """Unix time of the last completion of all runs."""
        return max(self._ends.values())
