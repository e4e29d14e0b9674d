"""Locks on files, with real processes."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from errata.core.errors import UserError
from errata.core.locks import LockTaken, exclusive

# Holds a lock until its input ends.
HOLD = """
import pathlib, sys
from errata.core.locks import exclusive
with exclusive(pathlib.Path(sys.argv[1]), advice=""):
    print("locked", flush=True)
    sys.stdin.read()
"""


def hold(path: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD, str(path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    return holder


def fail(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_lock_belongs_to_one_process_until_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    with hold(path) as holder:
        with pytest.raises(LockTaken), exclusive(path, advice=""):
            pass
        holder.kill()
        holder.wait()
        for _ in range(2):
            with exclusive(path, advice=""):
                pass


def test_a_waiting_process_says_so_once_and_gets_the_lock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, subject = tmp_path / ".model.lock", tmp_path / "model"
    with hold(path) as holder:
        threading.Timer(0.3, holder.kill).start()
        start = time.monotonic()
        with exclusive(path, advice="", subject=subject, waiting="another one makes it"):
            assert time.monotonic() - start > 0.2
    assert capsys.readouterr().out == f"{subject}: another one makes it\n"


@pytest.mark.parametrize("waiting", ["", "waiting"])
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_there_is_a_warning_and_the_block_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, waiting: str
) -> None:
    fail(monkeypatch, code)
    with exclusive(tmp_path / "lock", advice="do it once", waiting=waiting) as file:
        file.write(b"written")
    assert capsys.readouterr().out == f"{tmp_path / 'lock'}: this file system has no locks: do it once\n"
    assert (tmp_path / "lock").read_bytes() == b"written"


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.EACCES])
def test_both_errors_of_a_taken_lock_are_recognized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    fail(monkeypatch, code)
    with pytest.raises(LockTaken), exclusive(tmp_path / "lock", advice=""):
        pass


def test_any_other_error_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, errno.EIO)
    with pytest.raises(UserError, match=r"lock: cannot write \(Input/output error\)"):  # noqa: SIM117
        with exclusive(tmp_path / "lock", advice=""):
            pass


def test_a_file_that_must_exist_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lock: cannot read"):  # noqa: SIM117
        with exclusive(tmp_path / "lock", advice="", create=False):
            pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", ["remove", "replace"])
def test_a_file_that_goes_away_before_it_is_locked_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path, other = tmp_path / "folder" / "lock", tmp_path / "other"
    real, changes = fcntl.flock, [change]

    def flock(file: int, how: int) -> None:
        real(file, how)
        if changes:
            path.unlink()
            if changes.pop() == "replace":
                other.write_text("new")
                other.rename(path)
            else:
                path.parent.rmdir()

    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive(path, advice="") as file:
        assert os.fstat(file.fileno()).st_ino == path.stat().st_ino


@pytest.mark.parametrize("shared", [False, True])
def test_a_child_with_the_descriptor_keeps_the_lock_only_if_it_is_shared(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "lock"
    with exclusive(path, advice="", shared_with_children=shared) as file:
        child = subprocess.Popen(["sleep", "100"], pass_fds=[file.fileno()])
    try:
        if shared:
            with pytest.raises(LockTaken), exclusive(path, advice=""):
                pass
        else:
            with exclusive(path, advice=""):
                pass
    finally:
        child.kill()
        child.wait()
    with exclusive(path, advice=""):
        pass
