"""The runner of `make check` and `make test`: what it starts when, what it counts, and that it leaves out no test."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lanes
from helpers import REPOSITORY
from lanes import Lane, Result


def run(*each: Lane) -> dict[str, Result]:
    return {result.lane.name: result for result in asyncio.run(lanes.run(each))}


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "LOGS", tmp_path / "logs")


def test_every_file_of_slow_tests_is_in_one_lane() -> None:
    words = [word for lane in lanes.LANES["test"] for command in lane.commands for word in command]
    files = [
        path
        for word in words
        if word.startswith("tests/s") and not word.endswith(".sh")
        for path in ([REPOSITORY / word] if word.endswith(".py") else (REPOSITORY / word).glob("test_*.py"))
    ]
    assert sorted(files) == sorted(REPOSITORY.glob("tests/s*/test_*.py"))


def test_a_lane_needs_lanes_that_come_before_it() -> None:
    for each in lanes.LANES.values():
        names = [lane.name for lane in each]
        for lane in each:
            assert all(names.index(needed) < names.index(lane.name) for needed in lane.needs)


def test_a_lane_starts_when_what_it_needs_has_passed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "made"
    results = run(
        Lane("use", [["test", "-e", str(made)]], ["make"]),
        Lane("make", [["sh", "-c", f"sleep 0.2; touch {made}"]]),
        Lane("fail", [["false"], ["echo", "the second command runs too"]]),
        Lane("after", [["true"]], ["fail"]),
        Lane("not chosen", [["true"]], ["no such lane"]),
    )
    assert {name: result.status for name, result in results.items()} == {
        "use": 0,
        "make": 0,
        "fail": 1,
        "after": None,
        "not chosen": 0,
    }
    assert [results[name].failed for name in ("use", "fail", "after")] == [0, 1, 1]
    # the output of a lane that failed is shown
    assert "the second command runs too" in capsys.readouterr().out


def test_places_are_given_in_the_order_of_the_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lanes, "PLACES", 1)
    order = tmp_path / "order"
    # the second is not ready at first
    needs = {"b": ["a"]}
    named = [
        Lane(name, [["sh", "-c", f"echo {name} >> {order}; sleep 0.1"]], needs.get(name, ()))
        for name in ("a", "b", "c", "d")
    ]
    waits = Lane("waits", [["sh", "-c", f"until grep -q d {order}; do sleep 0.05; done"]], waits=True)
    assert all(result.passed for result in run(waits, *named).values())
    assert order.read_text().split() == ["a", "b", "c", "d"]


def test_a_lane_that_takes_too_long_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "LIMIT_SECONDS", 0.2)
    hangs = "import time\ntry: time.sleep(1000)\nexcept KeyboardInterrupt: print('stopped what it had started')"
    result = run(Lane("hangs", [[sys.executable, "-c", hangs]]))["hangs"]
    assert not result.passed
    assert "stopped what it had started" in result.log


def test_what_pytest_counted_is_added_up() -> None:
    log = "....\n3 failed, 1514 passed, 1 skipped, 76 deselected in 508.12s (0:08:28)\n"
    result = Result(
        Lane("x", []), 1, 1.0, f"{log}..\n2 passed, 1 error in 0.10s\n\nCPU:\n0m0.5s 0m0.1s\n1m2.0s 0m3.4s\n"
    )
    assert result.tests == {"failed": 3, "passed": 1516, "skipped": 1, "deselected": 76, "error": 1}
    assert result.failed == 4
    assert result.cpu_seconds == pytest.approx(66.0)
    assert Result(Lane("x", []), 1).failed == 1
    assert Result(Lane("x", []), 0, 1.0, log.replace("3 failed, ", "")).failed == 0


def test_a_signal_ends_all_lanes(tmp_path: Path) -> None:
    script = f"""
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {str(REPOSITORY / "tests")!r})
import lanes
lanes.LOGS = Path({str(tmp_path)!r})
try:
    asyncio.run(lanes.run([lanes.Lane("sleeps", [["sh", "-c", "echo $$ > {tmp_path}/pid; exec sleep 1000"]])]))
except asyncio.CancelledError:
    sys.exit(130)
"""
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
