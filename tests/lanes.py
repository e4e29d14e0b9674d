"""Runs the checks and tests of `make check` and `make test` in lanes, several side by side.

`python tests/lanes.py check|test [LANE ...]`; with names, only these lanes run.
A lane is a list of commands with a log of its own in .lanes/. It starts when the lanes that it needs have passed and a
place is free; of several that could, the first in the list. The whole log is shown of a lane that failed, and the
slowest tests of one that passed. A table of all lanes and a closing line such as pytest's come last.
"""

import argparse
import asyncio
import os
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LOGS = REPOSITORY / ".lanes"
# Lanes that compute run two at a time, for two cores. Those that mostly wait run beside them.
PLACES = 2
# Threads of one process that wait for each other by spinning lose most of a core that they share with other lanes: a
# training took six times as long with two threads as with one.
THREADS = {"OMP_THREAD_LIMIT": "1"}
# Lanes that mostly wait go first when they have something to do: they are the longest.
BEHIND = ("nice", "-n", "10")
# A lane that takes longer hangs. It is interrupted, so that its tests stop what they have started, and then killed.
LIMIT_SECONDS = 40 * 60
INTERRUPT_SECONDS = 60
# What is shown of the log of a lane that passed, from this line on.
SLOWEST = re.compile(r"^=+ slowest", re.MULTILINE)


@dataclass(frozen=True)
class Lane:
    """Commands that run one after the other: all of them, even after one has failed.

    Args:
        needs: lanes that must have passed before this one starts.
        waits: it mostly waits, for downloads or for Slurm, and takes no place.
    """

    name: str
    commands: Sequence[Sequence[str]]
    needs: Sequence[str] = ()
    waits: bool = False

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name.replace(' ', '-')}.log"


@dataclass(frozen=True)
class Result:
    """How a lane ended. `status` is None for one that did not start."""

    lane: Lane
    status: int | None = None
    seconds: float = 0.0
    log: str = ""

    @property
    def passed(self) -> bool:
        return self.status == 0

    @property
    def tests(self) -> dict[str, int]:
        """The numbers of pytest's closing lines, by word: passed, failed, skipped, error."""
        counts: dict[str, int] = {}
        for line in re.findall(r"^=*\s*((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s", self.log, re.MULTILINE):
            for number, word in re.findall(r"(\d+) ([a-z]+)", line):
                word = "error" if word == "errors" else word
                counts[word] = counts.get(word, 0) + int(number)
        return counts

    @property
    def failed(self) -> int:
        """Tests that failed; 1 for a lane that failed without any."""
        tests = self.tests
        return 0 if self.passed else max(1, tests.get("failed", 0) + tests.get("error", 0))

    @property
    def cpu_seconds(self) -> float:
        """Of all its processes, as the shell's `times` printed them."""
        times = re.findall(r"(\d+)m([\d.]+)s", self.log.rpartition("\nCPU:\n")[2])
        return sum(60 * int(minutes) + float(seconds) for minutes, seconds in times)

    def row(self) -> str:
        how = "not run" if self.status is None else "passed" if self.passed else "FAILED"
        tests = ", ".join(f"{count} {word}" for word, count in self.tests.items() if word != "deselected")
        return f"{self.lane.name:28}{how:8}{self.seconds:6.0f} s {self.cpu_seconds:6.0f} s of CPU  {tests}"


def tool(name: str, *words: str) -> list[str]:
    return [str(BIN / name), *words]


def pytest(*words: str) -> list[str]:
    return tool("python", "-m", "pytest", "--durations=12", *words)


def environment(name: str, *, after: str = "") -> Lane:
    """Build a locked environment where the workflow has it. Nothing is done if it is there."""
    built = f".envs/{name.removeprefix('environment ')}"
    flags = ["--lock", f"{built.replace('.envs', 'envs')}.txt", "--prefix", built, "--flag", f"{built}.ok"]
    command = tool("python", "-m", "errata", "environment", *flags)
    return Lane(name, [command], [after] if after else [], waits=True)


def slow(name: str, *files: str, needs: Sequence[str], waits: bool = False) -> Lane:
    return Lane(name, [pytest("-m", "slow", *files)], needs, waits)


LINT = Lane(
    "lint",
    [
        tool("ruff", "format", "--check", "."),
        tool("ruff", "check", "."),
        tool("snakefmt", "--check", "--compact-diff", "Snakefile", "workflow"),
        tool("lint-imports", "--no-cache"),
        tool(
            "shellcheck", ".ci/run", "envs/lock.sh", "envs/unpack.sh", "tests/slurm/quantizer.sh", "workflow/prefix.sh"
        ),
        tool("mypy"),
    ],
)
FAST = Lane("fast", [pytest("-n", "2", "--dist", "loadfile", "-m", "not slow")])
SERVE, TRAIN, QUANTIZE, WORKFLOW, VLLM = (
    f"environment {name}" for name in ("serve-cpu", "train-cpu", "quantize-cpu", "workflow", "serve-vllm-cpu")
)
LANES = {
    "check": [FAST, LINT],
    # in the order in which they start where they can
    "test": [
        FAST,
        LINT,
        environment(SERVE),
        environment(QUANTIZE, after=SERVE),
        environment(TRAIN, after=QUANTIZE),
        environment(WORKFLOW, after=TRAIN),
        environment(VLLM, after=WORKFLOW),
        slow("slurm", "tests/slurm", needs=[SERVE, TRAIN, QUANTIZE], waits=True),
        slow("pipeline", "tests/slow/test_pipeline.py", needs=[SERVE, TRAIN, QUANTIZE]),
        slow("strategies", "tests/slow/test_strategies_for_real.py", needs=["pipeline"]),
        slow("training", "tests/slow/test_training.py", "tests/slow/test_stack.py", needs=[TRAIN]),
        slow("installed", "tests/slow/test_installed.py", needs=["pipeline"]),
        slow(
            "serving",
            "tests/slow/test_kills.py",
            "tests/slow/test_generation.py",
            "tests/slow/test_shards_for_real.py",
            "tests/slow/test_hub.py",
            needs=[SERVE],
        ),
        slow(
            "quantizing",
            "tests/slow/test_quantize_for_real.py",
            "tests/slow/test_bundle_for_real.py",
            "tests/slow/test_vllm.py",
            needs=[VLLM],
        ),
    ],
}


class Runner:
    """Runs lanes side by side.

    Args:
        shared: a folder for what pytest sessions that run side by side make once for all of them, see tests/shared.py.
    """

    def __init__(self, lanes: Sequence[Lane], shared: Path) -> None:
        self._lanes, self._shared = lanes, shared
        self._ends: dict[str, asyncio.Future[Result]] = {}
        # lanes that could start, by their place in the list, and how many run
        self._queue: set[int] = set()
        self._running = 0
        self._changed = asyncio.Condition()
        self._started = time.monotonic()

    async def run(self) -> list[Result]:
        """Run all lanes to their ends. If this is cancelled, those that run are interrupted."""
        loop = asyncio.get_running_loop()
        self._ends = {lane.name: loop.create_future() for lane in self._lanes}
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(self._lane(lane))
        return [end.result() for end in self._ends.values()]

    async def _lane(self, lane: Lane) -> None:
        # a lane that was not chosen counts as passed
        needed = [await self._ends[name] for name in lane.needs if name in self._ends]
        if not all(each.passed for each in needed):
            self._end(Result(lane))
            return
        async with nullcontext() if lane.waits else self._place(self._lanes.index(lane)):
            self._say(lane, "started")
            self._end(await self._ended(lane))
            # lanes that needed this one queue before its place is free
            await asyncio.sleep(0)

    def _end(self, result: Result) -> None:
        self._show(result)
        self._ends[result.lane.name].set_result(result)

    @asynccontextmanager
    async def _place(self, number: int) -> AsyncIterator[None]:
        """Wait until a place is free and no lane that is further up in the list waits for one."""
        async with self._changed:
            self._queue.add(number)
            await self._changed.wait_for(lambda: self._running < PLACES and number == min(self._queue))
            self._queue.remove(number)
            self._running += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            self._running -= 1
            async with self._changed:
                self._changed.notify_all()

    async def _ended(self, lane: Lane) -> Result:
        commands = [
            f"echo {shlex.quote('$ ' + shlex.join(words))}\n{shlex.join(words)} || status=1" for words in lane.commands
        ]
        script = "\n".join(["status=0", *commands, "echo; echo CPU:; times", "exit $status"])
        started = time.monotonic()
        with lane.log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(() if lane.waits else BEHIND),
                *("sh", "-c", script),
                cwd=REPOSITORY,
                env={**os.environ, **THREADS, "PYTHONPATH": "workflow", "ERRATA_TEST_SHARED": str(self._shared)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                # a group of its own, which can be interrupted as a whole
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await process.wait()
        except TimeoutError:
            self._say(lane, f"takes more than {LIMIT_SECONDS} s and is interrupted")
        finally:
            await interrupt(process)
        log = lane.log.read_text(encoding="utf-8", errors="replace")
        return Result(lane, process.returncode, time.monotonic() - started, log)

    def _show(self, result: Result) -> None:
        self._say(result.lane, result.row().removeprefix(f"{result.lane.name:28}"))
        slowest = SLOWEST.search(result.log)
        if result.status is not None and not result.passed:
            print(result.log, flush=True)
        elif slowest:
            print(result.log[slowest.start() :].rpartition("\nCPU:\n")[0], flush=True)

    def _say(self, lane: Lane, text: str) -> None:
        print(f"[{time.monotonic() - self._started:5.0f} s] {lane.name}: {text}", flush=True)


async def interrupt(process: asyncio.subprocess.Process) -> None:
    """Interrupt a lane that still runs as Ctrl-C does, and kill it where that does not end it."""
    for how in (signal.SIGINT, signal.SIGKILL):
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, how)
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERRUPT_SECONDS):
                    await process.wait()


async def run(lanes: Sequence[Lane]) -> list[Result]:
    """Run lanes; SIGINT and SIGTERM end them in order."""
    task = asyncio.current_task()
    assert task is not None
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
    LOGS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="errata-tests-", ignore_cleanup_errors=True) as shared:
        return await Runner(lanes, Path(shared)).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=LANES)
    parser.add_argument("names", nargs="*", metavar="LANE", help="only these")
    arguments = parser.parse_args()
    lanes = [lane for lane in LANES[arguments.what] if not arguments.names or lane.name in arguments.names]
    unknown = set(arguments.names) - {lane.name for lane in lanes}
    if unknown:
        parser.error(f"no such lane: {', '.join(sorted(unknown))}")
    started = time.monotonic()
    try:
        results = asyncio.run(run(lanes))
    except asyncio.CancelledError:
        print("interrupted")
        return 130
    print(f"\nAll lanes, {time.monotonic() - started:.0f} s; their output is in {LOGS}:")
    for result in results:
        print(result.row())
    total = {word: sum(result.tests.get(word, 0) for result in results) for word in ("passed", "skipped")}
    failed = sum(result.failed for result in results)
    print(f"{total['passed']} passed, {failed} failed, {total['skipped']} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
