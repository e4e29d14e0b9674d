"""The journal: every finished completion, kept outside the declared outputs so that a killed run loses nothing.

One JSON object a line: `{"digest", "key": [problem id, question index, attempt], "model", "started", "at", ...}`,
where `started` and `at` are Unix times of the beginning of the asking and of this completion.
"""

import hashlib
import json
import os
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from errata.core.errors import UserError
from errata.core.files import cannot_read, cannot_write
from errata.core.locks import LockTaken, exclusive
from errata.data.records import Key

# A completion's line starts like this and its digest follows, so that opening a journal parses no JSON.
_HEAD = b'{"digest": "'
_DIGEST = slice(len(_HEAD), len(_HEAD) + 32)


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
    """One completion to ask for. `attempt` counts from 0, so that equal requests of one question stay apart.

    Attributes:
        history: the turns before the prompt, of the user and of the model alternately; the first is the user's.
    """

    key: Key
    attempt: int
    prompt: str
    sampling: Sampling
    history: tuple[str, ...] = ()

    def digest(self, model: str) -> bytes:
        """What the completion of this request is filed under, 16 bytes; `model` identifies the weights."""
        parts = [model, *self.key, self.attempt, self.prompt, vars(self.sampling)]
        if self.history:
            parts.append(self.history)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()[:16]

    @property
    def messages(self) -> list[dict[str, str]]:
        """What the server is sent: the history's turns, then the prompt."""
        turns = (*self.history, self.prompt)
        return [{"role": ("user", "assistant")[place % 2], "content": turn} for place, turn in enumerate(turns)]


@dataclass(frozen=True)
class Completion:
    """What the server answered.

    Attributes:
        finish_reason: the server's; "error" where it gave no completion, with the message in `error`.
        cached_tokens: prompt tokens that the server still had from earlier requests; None where it does not say.
        seconds: from sending the request to the end of the answer.
        refused: the server will never answer this request (too long, say): asking again is of no use.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cached_tokens: int | None = None
    error: str = ""
    refused: bool = False

    @property
    def failed(self) -> bool:
        return self.finish_reason == "error"

    @property
    def truncated(self) -> bool:
        """The completion was cut off by its limit of tokens: what stands in it is no answer of the model."""
        return self.finish_reason == "length"


@dataclass(frozen=True)
class Entry:
    """A line of a journal: a completion, what it is filed under, and when it came.

    Attributes:
        digest: of the request, 32 hexadecimal digits.
        key: problem id, question index, attempt.
        model: name and short hash of the identity of the model, for people.
        started: Unix time at which the run that asked began to ask.
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
            ValueError: it is none of a journal.
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


@dataclass
class Runs:
    """How long the runs asked that some entries came of."""

    # by the beginning of a run, the time of its last completion
    _until: dict[float, float] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        self.span(entry.started, entry.at)

    def span(self, started: float, until: float) -> None:
        """A run that began at one Unix time and had its last completion at the other."""
        self._until[started] = max(until, self._until.get(started, until))

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Beginning and last completion of each, in order."""
        return sorted(self._until.items())

    @property
    def seconds(self) -> float:
        """The time in which at least one of them asked: those of several parts run side by side."""
        seconds, reached = 0.0, 0.0
        for started, until in self.spans:
            seconds += max(0.0, until - max(started, reached))
            reached = max(reached, until)
        return seconds

    @property
    def last(self) -> float:
        """Unix time of the last completion of all."""
        return max(self._until.values())


class _Index:
    """Where the completions of an open journal stand: digests and positions, about 200 bytes a completion."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        self.where: dict[bytes, int] = {}
        # of the last whole line
        self.end = 0

    def load(self, label: bytes = b"") -> bool:
        """Read the digests; whether the last line is whole. One that is torn off was never reported as finished.

        Args:
            label: stands in the lines that are wanted.

        Raises:
            UserError: a line is none of a journal.
        """
        position = 0
        with os.fdopen(os.dup(self._file.fileno()), "rb", 1 << 20) as file:
            file.seek(0)
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return False
                try:
                    if not (line.startswith(_HEAD) and line.endswith(b"}\n")):
                        raise ValueError("no completion")
                    if label in line:
                        self.where.setdefault(bytes.fromhex(line[_DIGEST].decode()), position)
                except ValueError as error:
                    raise broken_line(self.path, number, error) from error
                self.end = position = position + len(line)
        return True

    def entry(self, position: int) -> Entry:
        """The line that starts there."""
        line = b""
        while not line.endswith(b"\n"):
            piece = os.pread(self._file.fileno(), 4096, position + len(line))
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


class Journal:
    """An append-only file of finished completions, and a look at those that its siblings held when it was opened.

    Texts stay in the files. A line that a crash tore off is removed when the journal is opened. One process writes it
    at a time; siblings (journals that may hold the same requests) are only read, also while others
    write them.

    Args:
        path: the file; its folder is made.
        model: identity of the model, see `errata.inference.session`; completions of another one are never given.
        name: of the model, for people.
        context: tokens that prompt and completion may have together, None where it is not known. A completion that was
            cut off by it, not by its own limit, is only given for the same context.

    Raises:
        UserError: another run has it open, it cannot be written, or a line in its middle is broken.
    """

    def __init__(self, path: Path, model: str, name: str = "", context: int | None = None) -> None:
        self.path = path
        self._model, self._model_and_context = model, f"{model} context {context}"
        self._label = f"{name}@{hashlib.sha256(model.encode()).hexdigest()[:8]}"
        self._started = time.time()
        # of the completions that `get` gave
        self.runs = Runs()
        with ExitStack() as opened:
            advice = "let no two runs write the same journal at once"
            try:
                # unbuffered: what a full disk refuses must not stay in a buffer that is written later
                self._file = opened.enter_context(exclusive(path, advice=advice))
            except LockTaken as error:
                raise UserError(f"{path}: another run writes this journal. Wait for it or stop it.") from error
            self._own = _Index(path, self._file)
            if not self._own.load():
                self._cut()
            # the files stay open: one that is compacted meanwhile is still what it was
            self._indexes = [self._own]
            label = json.dumps(self._label, ensure_ascii=False).encode()
            for sibling in siblings(path):
                with ExitStack() as reading:
                    index = _Index(sibling, reading.enter_context(_readable(sibling)))
                    index.load(label)
                    if index.where:
                        self._indexes.append(index)
                        opened.push(reading.pop_all())
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def __len__(self) -> int:
        """How many completions stand in its own file, those of other models and settings included."""
        return len(self._own.where)

    def __contains__(self, request: Request) -> bool:
        return self._find(request) is not None

    def get(self, request: Request) -> Completion | None:
        """The completion of exactly this request, if it was ever finished."""
        found = self._find(request)
        if found is None:
            return None
        index, position = found
        entry = index.entry(position)
        self.runs.add(entry)
        return entry.completion

    def begin(self) -> None:
        """A server is ready and is asked from now on, see `seconds`."""
        self._started = time.time()

    def add(self, request: Request, completion: Completion) -> None:
        """File a completion; it is with the operating system when this returns, so a killed process keeps it.

        Raises:
            UserError: the disk is full or the like; what was filed before stays.
        """
        cut_by_context = completion.truncated and completion.completion_tokens < request.sampling.max_tokens
        digest = request.digest(self._model_and_context if cut_by_context else self._model)
        key = (*request.key, request.attempt)
        entry = Entry(digest.hex(), key, self._label, self._started, time.time(), completion)
        position = self._own.end
        # half a character of a model's text stands there as its escape
        self._append(entry.line().encode("utf-8", "backslashreplace"))
        self._own.where[digest] = position

    @property
    def seconds(self) -> float:
        """Time spent asking by all the runs, this one included, whose completions `get` gave."""
        return self.runs.seconds

    def _find(self, request: Request) -> tuple[_Index, int] | None:
        for model in (self._model, self._model_and_context):
            digest = request.digest(model)
            for index in self._indexes:
                position = index.where.get(digest)
                if position is not None:
                    return index, position
        return None

    def _append(self, lines: bytes) -> None:
        try:
            written = 0
            while written < len(lines):
                written += self._file.write(lines[written:])
        except OSError as error:
            self._cut()
            raise cannot_write(self.path, error) from error
        self._own.end += len(lines)

    def _cut(self) -> None:
        """Cut a half-written line off, so that the next one starts a line of its own."""
        try:
            os.ftruncate(self._file.fileno(), self._own.end)
        except OSError as error:
            raise cannot_write(self.path, error) from error


def _readable(path: Path) -> IO[bytes]:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise cannot_read(path, error) from error


def broken_line(path: Path, number: int, error: Exception) -> UserError:
    """The message for a line that is none of a journal."""
    return UserError(f"{path}:{number}: broken line ({error}). Remove this line and run again.")


_NAME = re.compile(r"(?P<stem>.+?)(?:\.\d+-of-\d+)?(?P<suffix>\.[^.]+)")


# Steps of which several jobs, of other strategies or of other splits, may ask a model the same.
_ALIKE = re.compile(r"(retry|sample)-")


def siblings(path: Path) -> list[Path]:
    """The files beside the one of a part in which the same requests may stand.

    Those of the other parts and of the whole: `a.2-of-4.jsonl` and `a.jsonl`, of another number of parts too; and all
    of step retry, or of step sample, since strategies ask alike where they share a model and a prompt.
    """
    own = _kin(path.name)
    if own is None or not path.parent.is_dir():
        return []
    return [other for other in sorted(path.parent.iterdir()) if other.name != path.name and _kin(other.name) == own]


def _kin(name: str) -> tuple[str, str] | None:
    """What the names of siblings have in common; None where it is no journal's."""
    found = _NAME.fullmatch(name)
    if found is None or name.startswith("."):
        return None
    alike = _ALIKE.match(found["stem"])
    return (alike[1] if alike else found["stem"]), found["suffix"]
