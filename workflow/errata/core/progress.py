"""Progress of long work: one line that renews itself on a terminal, plain lines now and then in a log."""

import sys
import time
from collections.abc import Callable
from typing import IO


class Progress:
    """Counts finished items and shows count, rate, time left and what the caller adds.

    Args:
        what: heads every line, e.g. "answer train".
        total: how many items there are in all.
        done: how many of them were finished by an earlier run; they do not count for the rate.
        remark: gives the end of a line; it is only called when one is shown.
        every: seconds between two lines in a log.
    """

    def __init__(
        self,
        what: str,
        total: int,
        done: int = 0,
        *,
        remark: Callable[[], str] = str,
        every: float = 30.0,
        stream: IO[str] | None = None,
    ) -> None:
        self._what, self._total, self._done, self._before = what, total, done, done
        self._remark = remark
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._every = 0.2 if self._terminal else every
        self._start = time.monotonic()
        self._shown = self._start
        self._line(f"{done} done before" if done else "starting")

    def step(self) -> None:
        """One more item is finished."""
        self.update(self._done + 1)

    def update(self, done: int) -> None:
        """So many items are finished, those of earlier runs included; it is shown if it is time for that."""
        self._done = done
        now = time.monotonic()
        if now - self._shown >= self._every:
            self._shown = now
            self._line(self._remark())

    def close(self) -> None:
        """Show the last state."""
        self._line(self._remark(), end="\n")

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._start

    def _line(self, remark: str, end: str = "") -> None:
        elapsed = self.elapsed
        fresh = self._done - self._before
        parts = [f"{self._what}: {self._done}/{self._total}"]
        if fresh and elapsed > 0:
            rate = fresh / elapsed
            left = (self._total - self._done) / rate
            parts.append(f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min")
            parts.append(f"{_duration(left)} left" if left else f"in {_duration(elapsed)}")
        if remark:
            parts.append(remark)
        text = ", ".join(parts)
        if self._terminal:
            self._stream.write(f"\r\x1b[K{text}{end}")
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
