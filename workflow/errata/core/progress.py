"""Progress of long work: one line that is redrawn on a terminal, a new line at intervals in a log."""

import sys
import time
from collections.abc import Callable
from typing import IO

from errata.core.wording import duration


class Progress:
    """Counts finished items, and shows the count, the rate, the remaining time and a remark.

    Args:
        what: the start of every line, such as "answer train".
        total: the number of items, finished ones included.
        done: the number of items that an earlier run finished; they do not count for the rate.
        remark: returns the end of a line; it is called only when a line is shown.
        every: seconds between two lines in a log.
        stream: the output for the lines; None for standard error.
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
        """Count one more finished item."""
        self.update(self._done + 1)

    def update(self, done: int) -> None:
        """Set the number of finished items, those of earlier runs included, and show it if a line is due."""
        self._done = done
        now = time.monotonic()
        if now - self._shown >= self._every:
            self._shown = now
            self._line(self._remark())

    def close(self) -> None:
        """Show the final state."""
        self._line(self._remark(), end="\n")

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def _line(self, remark: str, end: str = "") -> None:
        elapsed = self.elapsed
        new = self._done - self._before
        parts = [f"{self._what}: {self._done}/{self._total}"]
        if new and elapsed > 0:
            rate = new / elapsed
            left = (self._total - self._done) / rate
            parts.append(f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min")
            parts.append(f"{duration(left)} left" if left else f"in {duration(elapsed)}")
        if remark:
            parts.append(remark)
        text = ", ".join(parts)
        if self._terminal:
            self._stream.write(f"\r\x1b[K{text}{end}")
        else:
            self._stream.write(text + "\n")
        self._stream.flush()
