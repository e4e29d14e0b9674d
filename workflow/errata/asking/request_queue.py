"""Every request of a step once: where its question is in the data file, and the order in which the requests go out."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

from errata.core.errors import UserError
from errata.core.files import cannot_read, read_jsonl_places
from errata.data.records import Problem, Question
from errata.inference.dispatch import ByProblem, PendingRequest
from errata.inference.requests import Completion, Request


class Location(NamedTuple):
    """Where the question of a request is in a data file. Nothing else is kept of a request that has not gone out.

    Attributes:
        problem: id of the problem.
        offset: byte at which the problem's line starts.
        position: of the question among those of the problem.
        sample: which of several requests for the same question, from 1; 0 where there is one.
    """

    problem: str
    offset: int
    position: int
    sample: int = 0


class DataFile:
    """A data file whose problems are read when they are needed: the texts of all would take most of the memory.

    Raises:
        UserError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # requests for the questions of one problem follow each other
        self._problem = lru_cache(maxsize=4096)(self._read)

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("rb")
        except OSError as error:
            raise cannot_read(self._path, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def problems(self) -> Iterator[tuple[int, Problem]]:
        """Every problem, with the byte at which its line starts."""
        return ((offset, Problem.from_record(record)) for offset, record in read_jsonl_places(self._path))

    def question(self, location: Location) -> tuple[Problem, Question]:
        """The question at a location, with its problem."""
        problem = self._problem(location.offset)
        return problem, problem.questions[location.position]

    def _read(self, offset: int) -> Problem:
        self._file.seek(offset)
        return Problem.from_record(json.loads(self._file.readline()))


@dataclass(eq=False, slots=True)
class LocatedRequest(PendingRequest):
    """A request in flight, with the location from which it can be made again."""

    location: Location


class RequestQueue:
    """Scheduler for `errata.inference.dispatch.dispatch`: every request once, those of one problem after each other.

    Args:
        request: makes the request of a location; called when the request goes out.
        missing: the locations of the requests to send.
        finished: how many requests need not be sent, since the journal has their completions.

    Attributes:
        failures: the requests for which the server gave no completion.
    """

    def __init__(self, request: Callable[[Location], Request], missing: list[Location], finished: int) -> None:
        self._request = request
        self._queue = ByProblem((location.problem, location) for location in missing)
        self._may_succeed: list[Location] = []
        self.failures: dict[Request, Completion] = {}
        self.finished, self.truncated = finished, 0
        self.tokens = 0.0

    def remark(self) -> str:
        return f"{self.truncated} truncated, {len(self.failures)} failed"

    def next(self) -> LocatedRequest | None:
        location = self._queue.take()
        return LocatedRequest(self._request(location), location) if location else None

    def finish(self, pending: LocatedRequest, completion: Completion) -> list[LocatedRequest]:
        self._queue.release(pending.location.problem)
        self.tokens += completion.completion_tokens
        self.truncated += completion.truncated
        if completion.failed:
            self.failures[pending.request] = completion
            if not completion.refused:
                self._may_succeed.append(pending.location)
        self.finished += 1
        return []

    def drop(self, pending: LocatedRequest) -> None:
        self._queue.put_back(pending.location.problem, pending.location)

    def ask_failures_again(self) -> None:
        for location in self._may_succeed:
            self._queue.add(location.problem, location)
        self.failures = {request: failure for request, failure in self.failures.items() if failure.refused}
        self.finished -= len(self._may_succeed)
        self._may_succeed.clear()

    def refused_all(self, model: str) -> UserError:
        """The error for a server that gave no completion at all."""
        message = next(iter(self.failures.values())).error
        return UserError(
            f"{model}: the server refused every question ({message}). "
            "Most often generate.max_tokens leaves no room for the prompt within the model's context length."
        )
