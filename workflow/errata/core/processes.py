"""Long-running child processes. They and their children end with the step that started them."""

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
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    patience: float = 30.0,
    ignored: Sequence[signal.Signals] = (),
    parent_death_signal: signal.Signals = signal.SIGTERM,
    pass_fds: Sequence[int] = (),
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a command until the block ends for any reason; then stop it and all its descendants.

    SIGTERM (a job that is cancelled or preempted) ends the block like an exception.

    Args:
        command: the program and its arguments.
        log: the file that output and errors of the command are appended to.
        cwd: its working directory; None for that of this process.
        environment: its environment variables; None for those of this process.
        patience: seconds from SIGTERM to SIGKILL.
        ignored: signals that the command and its children ignore, unless they change that themselves.
        parent_death_signal: sent by the kernel to the command if this process is killed and cannot clean up.
        pass_fds: file descriptors that the command inherits.
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
                # in its own session, so that only we send signals to it, and to its children too
                start_new_session=True,
                pass_fds=pass_fds,
                preexec_fn=partial(_prepare_child, os.getpid(), parent_death_signal, ignored),
            )
        try:
            yield process
        finally:
            stop(process, patience)


@contextmanager
def orderly_end() -> Iterator[None]:
    """Let SIGTERM end the block like an exception, so that everything is closed and no process is left."""
    previous = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def stop(process: "subprocess.Popen[bytes]", patience: float) -> None:
    """Stop a process and all its descendants, with SIGTERM and after `patience` seconds with SIGKILL.

    The process group alone is not enough: torchrun starts its workers in separate sessions.
    """
    family = descendants(process.pid)
    for each in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, each)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    for pid in family:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The ids of all descendants of a process; none on systems without /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            # the fields after the command's name, which is in parentheses and may contain anything
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
    """Append to a file everything that this process and its libraries print, until the block ends.

    Yields:
        The real standard error, for messages to the user.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    originals = [os.dup(number) for number in (1, 2)]
    with log.open("ab") as file, os.fdopen(os.dup(2), "w", encoding="utf-8") as terminal:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield terminal
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, original in zip((1, 2), originals, strict=True):
                os.dup2(original, number)
                os.close(original)


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of a log without progress bars, for an error message; empty if the log cannot be read."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # a progress bar redraws its line: the text after the last carriage return stays on the screen
    shown = [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return "\n".join([line for line in shown if line and "it/s]" not in line and "s/it]" not in line][-lines:])


def die_with_parent(parent: int, how: signal.Signals = signal.SIGTERM) -> None:
    """On Linux: let the kernel send this child process a signal when its parent dies without cleaning up.

    Args:
        parent: the id of the parent.
        how: the signal.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the call


def _exit(signum: int, _frame: object) -> None:
    raise SystemExit(128 + signum)


def _prepare_child(parent: int, parent_death_signal: signal.Signals, ignored: Sequence[signal.Signals]) -> None:
    for each in ignored:
        signal.signal(each, signal.SIG_IGN)
    die_with_parent(parent, parent_death_signal)
