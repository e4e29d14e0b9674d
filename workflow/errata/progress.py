"""Progress of long work: one line that renews itself on a terminal, plain lines now and then in a log."""

import sys
import time
from typing import IO


class Progress:
    """Counts finished items and shows count, rate, time left and what the caller adds.

    Args:
        what: heads every line, e.g. "answer train".
        total: how many items there are in all.
        done: how many of them were finished by an earlier run; they do not count for the rate.
        every: seconds between two lines in a log.
    """

    def __init__(
        self, what: str, total: int, done: int = 0, *, every: float = 30.0, stream: IO[str] | None = None
    ) -> None:
        self._what, self._total, self._done, self._before = what, total, done, done
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._every = 0.2 if self._terminal else every
        self._start = time.monotonic()
        self._shown = self._start
        self._line(f"{done} done before" if done else "starting")

    def step(self, remark: str = "", count: int = 1) -> None:
        """`count` more items are finished; `remark` stands at the end of the line."""
        self._done += count
        now = time.monotonic()
        if now - self._shown >= self._every:
            self._shown = now
            self._line(remark)

    def close(self, remark: str = "") -> None:
        """Show the last state."""
        self._line(remark, end="\n")

    def _line(self, remark: str, end: str = "") -> None:
        elapsed = time.monotonic() - self._start
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
