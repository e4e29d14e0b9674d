"""The journal: every finished completion, kept outside the declared outputs so that a killed run loses nothing."""

import hashlib
import json
import os
import re
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from errata.core.errors import UserError
from errata.core.files import cannot_write
from errata.core.locks import LockTaken, exclusive
from errata.inference.journal_format import Entry, Index, open_to_read
from errata.inference.requests import Completion, Request
from errata.inference.run_times import RunTimes

# a.jsonl, or a.2-of-4.jsonl for a part
_NAME = re.compile(r"(?P<stem>.+?)(?:\.\d+-of-\d+)?(?P<suffix>\.[^.]+)")
# Steps whose jobs may send identical requests: their strategies may share a model and a prompt.
_SHARING_STEP = re.compile(r"(retry|sample)-")


class Journal:
    """An append-only file of finished completions. It also finds those that its siblings had when it was opened.

    Texts stay in the files. A last line that a crash cut off is removed when the journal is opened. Only one process
    writes a journal at a time. Siblings are journals that may contain the same requests; they are only read,
    even while others write them.

    Args:
        path: the file; its folder is made.
        model: identity of the model, see `errata.inference.session`; completions of other models are never returned.
        name: of the model, for people.
        context: limit of prompt and completion together, in tokens; None if it is not known. A completion that was cut
            off by the context, and not by its own limit, is only returned for the same context.

    Raises:
        UserError: another run has it open, it cannot be written, or a line in its middle is broken.
    """

    def __init__(self, path: Path, model: str, name: str = "", context: int | None = None) -> None:
        self.path = path
        self._model, self._model_and_context = model, f"{model} context {context}"
        self._label = f"{name}@{hashlib.sha256(model.encode()).hexdigest()[:8]}"
        self._started = time.time()
        # of the runs whose completions `get` returned
        self.runs = RunTimes()
        with ExitStack() as opened:
            advice = "let no two runs write the same journal at once"
            try:
                # unbuffered: bytes that a full disk refuses must not stay in a buffer that is written later
                self._file = opened.enter_context(exclusive(path, advice=advice))
            except LockTaken as error:
                raise UserError(f"{path}: another run writes this journal. Wait for it or stop it.") from error
            self._own = Index(path, self._file)
            if not self._own.load():
                self._cut()
            # The files stay open: positions stay right even if a sibling is compacted meanwhile.
            self._indexes = [self._own]
            label = json.dumps(self._label, ensure_ascii=False).encode()
            for sibling in siblings(path):
                with ExitStack() as reading:
                    index = Index(sibling, reading.enter_context(open_to_read(sibling)))
                    index.load(label)
                    if index.positions:
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
        """The number of completions in its own file, those of other models and settings included."""
        return len(self._own.positions)

    def __contains__(self, request: Request) -> bool:
        return self._find(request) is not None

    def get(self, request: Request) -> Completion | None:
        """The completion of exactly this request, if there is one."""
        found = self._find(request)
        if found is None:
            return None
        index, position = found
        entry = index.entry(position)
        self.runs.add(entry.started, entry.at)
        return entry.completion

    def begin(self) -> None:
        """Start the clock of this run, when the server is ready; see `seconds`."""
        self._started = time.time()

    def add(self, request: Request, completion: Completion) -> None:
        """Write a completion. The operating system has it when this returns, so that it survives a killed process.

        Raises:
            UserError: it cannot be written, e.g. because the disk is full; earlier completions are kept.
        """
        cut_by_context = completion.truncated and completion.completion_tokens < request.sampling.max_tokens
        digest = request.digest(self._model_and_context if cut_by_context else self._model)
        key = (*request.key, request.attempt)
        entry = Entry(digest.hex(), key, self._label, self._started, time.time(), completion)
        position = self._own.end
        # half a character of a model's text is written as its escape
        self._append(entry.line().encode("utf-8", "backslashreplace"))
        self._own.positions[digest] = position

    @property
    def seconds(self) -> float:
        """The time in which the runs asked whose completions `get` returned, this run included."""
        return self.runs.seconds

    def _find(self, request: Request) -> tuple[Index, int] | None:
        for model in (self._model, self._model_and_context):
            digest = request.digest(model)
            for index in self._indexes:
                position = index.positions.get(digest)
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
        """Cut off a half-written line, so that the next line starts at the beginning of a line."""
        try:
            os.ftruncate(self._file.fileno(), self._own.end)
        except OSError as error:
            raise cannot_write(self.path, error) from error


def siblings(path: Path) -> list[Path]:
    """The journals in the same folder that may contain the same requests.

    These are the journals of the whole and of all parts (`a.jsonl`, `a.2-of-4.jsonl`, `a.1-of-2.jsonl`). For the steps
    retry and sample, they are those of all strategies.
    """
    own = _family(path.name)
    if own is None or not path.parent.is_dir():
        return []
    return [other for other in sorted(path.parent.iterdir()) if other.name != path.name and _family(other.name) == own]


def _family(name: str) -> tuple[str, str] | None:
    """The part of a journal's name that its siblings share; None if it is not the name of a journal."""
    found = _NAME.fullmatch(name)
    if found is None or name.startswith("."):
        return None
    sharing = _SHARING_STEP.match(found["stem"])
    return (sharing[1] if sharing else found["stem"]), found["suffix"]
