"""Writing folders as files.py writes files: whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from errata.files import cannot_write


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `path` only when the block ends without an error.

    Raises:
        UserError: the folder cannot be written to or the disk is full; `path` is then what it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=f".{path.name}.", ignore_cleanup_errors=True
        ) as scratch:
            fresh = Path(scratch) / path.name
            fresh.mkdir()
            yield fresh
            _let_read(fresh)
            remove(path)
            fresh.rename(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all in it; nothing there is fine."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _let_read(folder: Path) -> None:
    """Give files the rights that the user's umask says: safetensors writes its files for the owner only."""
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o666 & ~umask))
