"""The journal: every finished completion, kept outside the declared outputs so that a killed run loses nothing."""

import fcntl
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from errata.errors import UserError
from errata.files import cannot_write
from errata.records import Key


@dataclass(frozen=True)
class Sampling:
    """How a completion is sampled; a completion is only ever reused for exactly the same sampling.

    Attributes:
        max_tokens: limit of the completion, in tokens.
        temperature: 0 is greedy.
        top_p: nucleus sampling; 1 is off.
        seed: of this very request.
    """

    max_tokens: int
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True)
class Request:
    """One completion to ask for. `attempt` counts from 0, so that equal requests of one question stay apart."""

    key: Key
    attempt: int
    prompt: str
    sampling: Sampling

    def digest(self, model: str) -> str:
        """What the completion of this request is filed under; `model` identifies the weights."""
        parts = [model, *self.key, self.attempt, self.prompt, asdict(self.sampling)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Completion:
    """What the server answered. `finish_reason` is the server's, or "error" with the message in `error`."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    error: str = ""

    @property
    def failed(self) -> bool:
        return self.finish_reason == "error"


class Journal:
    """An append-only file of finished completions, one JSON object a line.

    A line that a crash tore off is removed when the journal is opened. One process writes it at a time.

    Args:
        path: the file; its folder is made.
        model: identity of the model, see `errata.weights.fingerprint`; completions of another one are never given.

    Raises:
        UserError: another run has it open, it cannot be written, or a line in its middle is broken.
    """

    def __init__(self, path: Path, model: str) -> None:
        self.path = path
        self._model = model
        self._known: dict[str, Completion] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # unbuffered: what a full disk refuses must not stay behind in a buffer that is written later
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise UserError(f"{path}: another run writes this journal. Wait for it or stop it.") from error
        self._load()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        """How many completions it holds, those of other models and settings included."""
        return len(self._known)

    def get(self, request: Request) -> Completion | None:
        """The completion of exactly this request, if it was ever finished."""
        return self._known.get(request.digest(self._model))

    def add(self, request: Request, completion: Completion) -> None:
        """File a completion; it is with the operating system when this returns, so a killed process keeps it.

        Raises:
            UserError: the disk is full or the like; what was filed before stays.
        """
        digest = request.digest(self._model)
        row = {"digest": digest, "key": [*request.key, request.attempt], **asdict(completion)}
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError as error:
            self._heal(end)
            raise cannot_write(self.path, error) from error
        self._known[digest] = completion

    def _load(self) -> None:
        start = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    self._heal(start)  # the last line, torn off by a crash: it was never reported as finished
                    return
                try:
                    row: dict[str, Any] = json.loads(line)
                    digest = row.pop("digest")
                    row.pop("key")
                    completion = Completion(**row)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise UserError(
                        f"{self.path}:{number}: broken line ({error}). Remove this line and run again."
                    ) from error
                self._known.setdefault(digest, completion)
                start += len(line)

    def _heal(self, end: int) -> None:
        """Cut a half-written line off, so that the next one starts a line of its own."""
        try:
            os.ftruncate(self._file.fileno(), end)
        except OSError as error:
            raise cannot_write(self.path, error) from error
