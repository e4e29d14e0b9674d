"""Long-running child processes: they end with the step that started them, and take their own children along."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    patience: float = 30.0,
    ignored: Sequence[signal.Signals] = (),
    orphaned: signal.Signals = signal.SIGTERM,
    kept: Sequence[int] = (),
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a command while the block lasts; at its end, however it comes, the whole process group is stopped.

    SIGTERM ends the block as an exception does (a job that is cancelled or preempted).

    Args:
        log: output and errors of the command are appended to it.
        patience: seconds that it has to end by itself once it is told to.
        ignored: signals that the command and its children ignore unless they say otherwise.
        orphaned: what the command gets from the kernel when this process is killed without a chance to clean up.
        kept: file descriptors that the command inherits.
    """
    with orderly_end():
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=environment,
                # a session of its own, so that a signal reaches it through us only, and its children with it
                start_new_session=True,
                pass_fds=kept,
                preexec_fn=partial(_prepare, os.getpid(), orphaned, ignored),
            )
        try:
            yield process
        finally:
            stop(process, patience)


@contextmanager
def orderly_end() -> Iterator[None]:
    """Let SIGTERM end the block as an exception does: what was begun is closed, and nothing is left behind."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def stop(process: "subprocess.Popen[bytes]", patience: float) -> None:
    """End a process and everything that descends from it: politely, and after `patience` seconds not.

    torchrun puts its workers into sessions of their own, so the process group alone would miss them.
    """
    family = descendants(process.pid)
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    for pid in family:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The ids of all processes that descend from `pid`; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            # the fields after the command's name, which may hold anything, in parentheses
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        new = children.get(waiting.pop(), [])
        found += new
        waiting += new
    return found


@contextmanager
def diverted(log: Path) -> Iterator[IO[str]]:
    """Send what this process and its libraries print to a file, while the block lasts.

    Gives the real standard error, for messages that are to be seen.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with log.open("ab") as file, os.fdopen(os.dup(2), "w", encoding="utf-8") as terminal:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield terminal
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, original in zip((1, 2), kept, strict=True):
                os.dup2(original, number)
                os.close(original)


def tail(log: Path, lines: int = 25) -> str:
    """The end of a log without progress bars, to be shown with an error."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # a bar redraws its line; what stays on the screen is what follows the last carriage return
    kept = [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return "\n".join([line for line in kept if line and "it/s]" not in line and "s/it]" not in line][-lines:])


def _terminate(signum: int, _frame: object) -> None:
    raise SystemExit(128 + signum)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _prepare(parent: int, orphaned: signal.Signals, ignored: Sequence[signal.Signals]) -> None:
    for each in ignored:
        signal.signal(each, signal.SIG_IGN)
    die_with_parent(parent, orphaned)


def die_with_parent(parent: int, how: signal.Signals = signal.SIGTERM) -> None:
    """In the child, on Linux: the kernel sends it a signal when its parent is killed without a chance to clean up."""
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:
        os._exit(1)  # the parent was killed before the kernel was told
