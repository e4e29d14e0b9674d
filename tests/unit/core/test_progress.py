"""Progress: one line that is redrawn on a terminal, plain lines in a log."""

import io
import re

import pytest

from errata.core.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set by the test."""
    now = [0.0]
    monkeypatch.setattr("errata.core.progress.time.monotonic", lambda: now[0])
    return now


def test_a_log_gets_plain_lines_at_intervals(clock: list[float]) -> None:
    log = io.StringIO()
    progress = Progress("answer m", 100, remark=lambda: "7 failed", stream=log)
    for _ in range(100):
        clock[0] += 1
        progress.step()
    progress.close()
    lines = log.getvalue().splitlines()
    assert lines[0] == "answer m: 0/100, starting"
    assert lines[1] == "answer m: 30/100, 1.0/s, 1 min 10 s left, 7 failed"
    assert lines[-1] == "answer m: 100/100, 1.0/s, in 1 min 40 s, 7 failed"
    assert len(lines) == 5
    assert "\r" not in log.getvalue()
    assert "\x1b" not in log.getvalue()


def test_a_terminal_gets_one_line_that_is_redrawn(clock: list[float]) -> None:
    terminal = Terminal()
    progress = Progress("answer m", 10, stream=terminal)
    for _ in range(10):
        clock[0] += 0.5
        progress.step()
    progress.close()
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().endswith("\n")
    shown = re.split(r"\r\x1b\[K", terminal.getvalue())
    assert len(shown) == 13
    assert shown[-1] == "answer m: 10/10, 2.0/s, in 5 s\n"


def test_what_an_earlier_run_had_done_does_not_count_for_the_rate(clock: list[float]) -> None:
    log = io.StringIO()
    progress = Progress("answer m", 1000, 900, every=1, stream=log)
    clock[0] += 60
    progress.update(910)
    lines = log.getvalue().splitlines()
    assert lines == ["answer m: 900/1000, 900 done before", "answer m: 910/1000, 10.0/min, 9 min 00 s left"]


def test_long_work_is_counted_in_hours(clock: list[float]) -> None:
    log = io.StringIO()
    progress = Progress("answer m", 1001, every=1, stream=log)
    clock[0] += 60
    progress.step()
    assert log.getvalue().splitlines()[-1] == "answer m: 1/1001, 1.0/min, 16 h 40 min left"


def test_nothing_to_do_divides_by_nothing(clock: list[float]) -> None:
    log = io.StringIO()
    progress = Progress("retry m", 0, remark=lambda: "0 solved", stream=log)
    clock[0] += 1
    progress.close()
    assert log.getvalue().splitlines()[-1] == "retry m: 0/0, 0 solved"
