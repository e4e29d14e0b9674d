"""Locks on files: one process at a time writes, downloads or uses something.

The kernel releases a lock when its process ends, even if it is killed.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from errata.core.errors import UserError
from errata.core.files import cannot_read, cannot_write

# Errors of file systems without locks. Some clusters have them.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
# Errors if another process has the lock. File systems that emulate locks use the second one.
_TAKEN = frozenset({errno.EWOULDBLOCK, errno.EACCES})
# Attempts to lock a file that other processes replace or remove.
_ATTEMPTS = 10


class LockTaken(Exception):
    """Another process has the lock."""


@contextmanager
def exclusive(
    path: Path,
    *,
    advice: str,
    subject: Path | None = None,
    waiting: str = "",
    create: bool = True,
    shared_with_children: bool = False,
) -> Iterator[FileIO]:
    """Open a file, unbuffered, and lock it for this process until the block ends.

    Where the file system has no locks, a warning is printed and the block runs without a lock.

    Args:
        path: the file; its folder is made if necessary.
        advice: the end of the warning: how the user can do without locks.
        subject: the file or folder that the lock protects, for messages; None for `path`.
        waiting: the message before this process waits for another one. If empty, it does not wait.
        create: whether a missing file is created, and opened for appending. Otherwise it is opened for reading and
            writing, since NFS locks only files that are open for writing.
        shared_with_children: whether child processes that inherit the descriptor keep the lock after the block.

    Raises:
        LockTaken: another process has the lock, and `waiting` is empty.
        UserError: the file cannot be opened or locked.
    """
    file = _open_locked(path, create, _Messages(subject or path, advice, waiting))
    try:
        yield file
    finally:
        if not shared_with_children:
            # Closing is not enough: a process that another thread starts right now has a copy of the descriptor.
            with suppress(OSError, ValueError):
                fcntl.flock(file, fcntl.LOCK_UN)
        file.close()


@dataclass(frozen=True)
class _Messages:
    subject: Path
    advice: str
    waiting: str

    def wait(self) -> None:
        print(f"{self.subject}: {self.waiting}", flush=True)

    def no_locks(self) -> None:
        print(f"{self.subject}: this file system has no locks: {self.advice}", flush=True)


def _open_locked(path: Path, create: bool, messages: _Messages) -> FileIO:
    for _ in range(_ATTEMPTS):
        try:
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab+" if create else "rb+", buffering=0)
        except OSError as error:
            if create and isinstance(error, FileNotFoundError):
                continue  # another process removed the folder at this very moment
            raise cannot_write(path, error) if create else cannot_read(path, error) from error
        try:
            _lock(file, messages)
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        except FileNotFoundError:
            pass
        except OSError as error:
            file.close()
            raise cannot_write(path, error) from error
        except BaseException:
            file.close()
            raise
        file.close()  # another process replaced or removed the file before it was locked
    raise UserError(
        f"{path}: it is made and removed all the time. Stop the other processes that use it, then run again."
    )


def _lock(file: FileIO, messages: _Messages) -> None:
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            if not messages.waiting:
                raise LockTaken from error
            messages.wait()
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        messages.no_locks()
