"""Read and write the files of the workflow. A file or folder is written completely or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from errata.core.errors import UserError


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[str]]:
    """Open a text file that replaces `path` only when the block ends without an error.

    Raises:
        UserError: the folder cannot be written to or the disk is full; `path` is unchanged.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w",
            encoding="utf-8",
            # a model may return half a character (a lone surrogate); it is written as its JSON escape
            errors="backslashreplace",
            dir=path.parent,
            prefix=f".{path.name}.",
            delete=False,
        ) as file:
            temporary = Path(file.name)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_usual_mode())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that replaces `path` only when the block ends without an error.

    Raises:
        UserError: the folder cannot be written to or the disk is full; `path` is unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=f".{path.name}.", ignore_cleanup_errors=True
        ) as scratch:
            fresh = Path(scratch) / path.name
            fresh.mkdir()
            yield fresh
            _set_usual_modes(fresh)
            remove(path)
            fresh.rename(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with its contents, if it exists."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def cannot_write(path: Path, error: OSError) -> UserError:
    """The error for a full disk, a read-only folder or the like."""
    return UserError(
        f"{path}: cannot write ({error.strerror or error}). "
        "Free space or make the folder writable, then run again: finished work is kept."
    )


def cannot_read(path: Path, error: OSError) -> UserError:
    """The error for a file that does not exist or may not be read."""
    return UserError(f"{path}: cannot read ({error.strerror or error}).")


def write_text(path: Path, text: str) -> None:
    with atomic_file(path) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document that people can read: indented, and without escapes of letters."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line, and return the number of lines."""
    count = 0
    with atomic_file(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def read_json(path: Path) -> Any:
    """Read a JSON document made by an earlier step.

    Raises:
        UserError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise cannot_read(path, error) from error
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}). Delete it and run again: it is then made again.") from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Read the rows of a file made by an earlier step. For the user's own files see errata.data.fix.

    Raises:
        UserError: the file is missing, or a line is not a JSON object.
    """
    return (row for _, row in read_jsonl_places(path))


def read_jsonl_places(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Like `read_jsonl`, with the byte offset of each row's line."""
    place = 0
    try:
        # as bytes, so that a line that is not UTF-8 is also reported by its number
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise UserError(
                        f"{path}:{number}: not valid JSON ({error}). Delete the file and run again."
                    ) from error
                if not isinstance(row, dict):
                    raise UserError(f"{path}:{number}: not a JSON object. Delete the file and run again.")
                yield place, row
                place += len(line)
    except OSError as error:
        raise cannot_read(path, error) from error


def _set_usual_modes(folder: Path) -> None:
    """Give files the usual permissions, since safetensors writes files that only the owner can read."""
    mode = _usual_mode()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode | mode)


def _usual_mode() -> int:
    """The permissions of a new file by the user's umask."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask
