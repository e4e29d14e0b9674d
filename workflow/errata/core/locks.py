"""Locks on files: one process at a time writes, downloads or uses something."""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

# What file systems without locks say; some clusters mount theirs so.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one process of all workflows at a time make `path`; the others wait and find it made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as file:
        try:
            lock(file, path, "let no two workflows fetch the same model at once")
        except BlockingIOError:
            print(f"{path}: another workflow is fetching it; waiting for that", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lock(file: IO[Any], path: Path, beware: str) -> None:
    """Lock an open file for this process alone; where the file system has no locks, say so and go on without.

    Args:
        path: what the lock is for.
        beware: what the user has to see to instead.

    Raises:
        BlockingIOError: another process has the lock.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print(f"{path}: this file system has no locks: {beware}", flush=True)
