"""The file format of journals.

One JSON object a line: `{"digest", "key": [problem id, question index, attempt], "model", "started", "at", ...}`,
followed by the fields of `errata.inference.requests.Completion`.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from errata.core.errors import UserError
from errata.core.files import cannot_read
from errata.inference.requests import Completion

# Each line begins with this and its digest, so that a journal can be indexed without parsing JSON.
_HEAD = b'{"digest": "'
_DIGEST = slice(len(_HEAD), len(_HEAD) + 32)
# Bytes that are read at once: a journal may have gigabytes.
_BUFFER = 1 << 20
# Bytes that are read at once from a single line; most lines are shorter.
_PIECE = 4096


@dataclass(frozen=True)
class Entry:
    """A line of a journal: a completion, the request that it belongs to, and its time.

    Attributes:
        digest: of the request, 32 hexadecimal digits.
        key: problem id, question index, attempt.
        model: name and short hash of the identity of the model, for people.
        started: Unix time at which the run began to ask.
        at: Unix time of the completion.
    """

    digest: str
    key: tuple[str, int, int]
    model: str
    started: float
    at: float
    completion: Completion

    @classmethod
    def parse(cls, line: bytes) -> "Entry":
        """Read a line.

        Raises:
            ValueError: it is not a line of a journal.
        """
        row = json.loads(line)
        try:
            if not line.startswith(_HEAD) or len(bytes.fromhex(row["digest"])) != 16:
                raise ValueError("no digest at its beginning")
            id, question, attempt = row.pop("key")
            head = {name: row.pop(name) for name in ("digest", "model", "started", "at")}
            return cls(**head, key=(id, question, attempt), completion=Completion(**row))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no completion: {error}") from error

    def line(self) -> str:
        """The line, with its end."""
        head = {name: value for name, value in vars(self).items() if name != "completion"}
        return json.dumps(head | vars(self.completion), ensure_ascii=False) + "\n"


class Index:
    """The positions of the completions in an open journal, about 200 bytes of memory a completion.

    Attributes:
        positions: byte at which a line begins, by digest; for equal digests, the first line's.
        end: byte after the last whole line.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        self.positions: dict[bytes, int] = {}
        self.end = 0

    def load(self, label: bytes = b"") -> bool:
        """Read the digests; return whether the last line is whole. A completion with a torn line was never used.

        Args:
            label: only lines that contain it are indexed.

        Raises:
            UserError: a line is not a line of a journal.
        """
        position = 0
        with os.fdopen(os.dup(self._file.fileno()), "rb", _BUFFER) as file:
            file.seek(0)
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return False
                try:
                    if not (line.startswith(_HEAD) and line.endswith(b"}\n")):
                        raise ValueError("no completion")
                    if label in line:
                        self.positions.setdefault(bytes.fromhex(line[_DIGEST].decode()), position)
                except ValueError as error:
                    raise broken_line(self.path, number, error) from error
                self.end = position = position + len(line)
        return True

    def entry(self, position: int) -> Entry:
        """Read the line at a position.

        Raises:
            UserError: it is broken after its digest.
        """
        line = b""
        # at a position of its own: `load` and the writer move that of the file
        while not line.endswith(b"\n"):
            piece = os.pread(self._file.fileno(), _PIECE, position + len(line))
            end = piece.find(b"\n")
            line += piece if end < 0 else piece[: end + 1]
            if not piece:
                break
        try:
            return Entry.parse(line)
        except ValueError as error:
            with self.path.open("rb") as file:
                number = file.read(position).count(b"\n") + 1
            raise broken_line(self.path, number, error) from error


def open_to_read(path: Path) -> IO[bytes]:
    """Open a journal that others may be writing.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise cannot_read(path, error) from error


def broken_line(path: Path, number: int, error: Exception) -> UserError:
    """The error for a line that is not a line of a journal."""
    return UserError(f"{path}:{number}: broken line ({error}). Remove this line and run again.")
