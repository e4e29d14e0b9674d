"""Keeping a server busy: the next request goes out the moment that a place is free."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from errata.core.progress import Progress
from errata.inference.client import Client
from errata.inference.journal import Completion, Request
from errata.inference.server import Server, ServerTrouble

Item = TypeVar("Item")


@dataclass(eq=False, slots=True)
class Job:
    """A request under way; `sent` is when it went out, on the monotonic clock."""

    request: Request
    sent: float = field(default=0.0, kw_only=True)


JobT = TypeVar("JobT", bound=Job)


class Work(Protocol[JobT]):
    """What is to be asked; it decides the order, `dispatch` only how many at once.

    Attributes:
        finished: questions that need no more asking, those of earlier runs included.
        tokens: of completions so far.
    """

    finished: int
    tokens: float

    def remark(self) -> str:
        """What else there is to say about the progress, in a few words."""

    def next(self) -> JobT | None:
        """The request to send next; None while there is none."""

    def done(self, job: JobT, completion: Completion) -> Iterable[JobT]:
        """Take a completion; give the jobs that are not needed any more, to be cancelled."""

    def dropped(self, job: JobT) -> None:
        """A job ended without a completion: it was cancelled, or the server broke down."""

    def ask_failures_again(self) -> None:
        """The server was started anew: what it gave no completion for, it may give now."""


@dataclass
class Load:
    """How busy the server was kept, in seconds and requests, all sessions of this run together."""

    seconds: float = 0.0
    saturated: float = 0.0
    requests: int = 0
    cancelled: int = 0
    in_flight: int = 0
    _since: float | None = field(default=None, repr=False)
    _full: bool = field(default=False, repr=False)

    def mark(self, in_flight: int, concurrency: int) -> None:
        """From now on so many are under way; 0 stops the clock."""
        now = time.monotonic()
        if self._since is not None:
            self.seconds += now - self._since
            self.saturated += (now - self._since) * self._full
        self._since = now if in_flight else None
        self._full = in_flight >= concurrency
        self.in_flight = in_flight

    @property
    def share(self) -> float | None:
        """The part of the time in which the server had all the requests it was to have."""
        return self.saturated / self.seconds if self.seconds else None


async def dispatch(
    work: Work[JobT],
    client: Client,
    server: Server,
    concurrency: int,
    *,
    load: Load,
    progress: Progress,
    time_left: float | None = None,
) -> None:
    """Ask until the work has no more requests, at most `concurrency` at a time; stop at the first error.

    Args:
        progress: shows how many questions are finished.
        time_left: seconds after which what is under way is cancelled.

    Raises:
        UserError: what a request raised.
        ServerTrouble: the server's process ended.
    """
    loop = asyncio.get_running_loop()
    tasks: dict[JobT, asyncio.Task[Completion]] = {}
    cancelled: set[asyncio.Task[Completion]] = set()
    finished: deque[tuple[JobT, asyncio.Task[Completion]]] = deque()
    wake = asyncio.Event()

    def send(job: JobT) -> None:
        job.sent = time.monotonic()
        task = tasks[job] = loop.create_task(client.complete(job.request))
        load.requests += 1

        def ended(task: asyncio.Task[Completion]) -> None:
            finished.append((job, task))
            wake.set()

        task.add_done_callback(ended)

    def cancel(job: JobT) -> None:
        # one that has its completion by now is taken all the same
        if tasks[job].cancel():
            cancelled.add(tasks.pop(job))
            load.cancelled += 1
            work.dropped(job)

    def collect() -> None:
        while finished:
            job, task = finished.popleft()
            if task in cancelled:
                cancelled.discard(task)
                continue
            completion = task.result()
            del tasks[job]
            for loser in work.done(job, completion):
                cancel(loser)

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.2)
            progress.update(work.finished)

    died = loop.create_task(server.died())
    died.add_done_callback(lambda _: wake.set())
    ticker = loop.create_task(tick())
    deadline = None if time_left is None else loop.time() + time_left
    alarm = None if time_left is None else loop.call_later(max(0.0, time_left), wake.set)
    try:
        while True:
            over = deadline is not None and loop.time() >= deadline
            while not over and len(tasks) < concurrency and (job := work.next()) is not None:
                send(job)
            load.mark(len(tasks), concurrency)
            if not tasks or over:
                return
            await wake.wait()
            wake.clear()
            if died.done():
                raise server.obituary()
            try:
                collect()
            except ServerTrouble:
                # a connection that breaks is most often the first sign of a server's end
                if server.process is not None:
                    await asyncio.wait({died}, timeout=1.0)
                if died.done():
                    raise server.obituary() from None
                raise
    finally:
        load.mark(0, concurrency)
        progress.update(work.finished)
        if alarm:
            alarm.cancel()
        rest = list(tasks.items())
        ending = [died, ticker, *tasks.values(), *cancelled]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        for job, task in rest:
            # what was finished at the same moment is in the journal: it counts
            if job in tasks:
                completion = None
                with suppress(BaseException):
                    completion = task.result()
                if completion is None:
                    work.dropped(job)
                else:
                    work.done(job, completion)


class ByProblem(Generic[Item]):
    """A queue in which the items of one problem follow each other, so that the server still has the problem's text in
    its prefix cache; only when every problem left has a question under way its others join it.

    Args:
        items: (problem id, item), in the order in which they are to go out.
    """

    def __init__(self, items: Iterable[tuple[str, Item]]) -> None:
        # of each problem the next one last
        self._waiting: dict[str, list[Item]] = {}
        self._free: deque[str] = deque()
        # problems with something under way and something waiting, in the order in which they were begun
        self._begun: dict[str, None] = {}
        self._under_way: dict[str, int] = {}
        for id, item in items:
            self._waiting.setdefault(id, []).append(item)
        for waiting in self._waiting.values():
            waiting.reverse()
        self._free.extend(self._waiting)

    def add(self, id: str, item: Item) -> None:
        """An item goes behind all others, or behind those of its problem."""
        if id in self._under_way:
            self._begun[id] = None
        elif id not in self._waiting:
            self._free.append(id)
        self._waiting.setdefault(id, []).insert(0, item)

    def take(self) -> Item | None:
        """The next item; `release` its problem when it is finished."""
        if self._free:
            id = self._free.popleft()
        elif self._begun:
            id = next(iter(self._begun))
        else:
            return None
        self._under_way[id] = self._under_way.get(id, 0) + 1
        item = self._waiting[id].pop()
        if self._waiting[id]:
            self._begun[id] = None
        else:
            del self._waiting[id]
            self._begun.pop(id, None)
        return item

    def release(self, id: str) -> None:
        """An item of this problem is finished: the next one goes before any new problem."""
        self._under_way[id] -= 1
        if not self._under_way[id]:
            del self._under_way[id]
            if id in self._waiting:
                self._begun.pop(id, None)
                self._free.appendleft(id)

    def put_back(self, id: str, item: Item) -> None:
        """An item is to be taken again, after all others: it may be what brought the server down."""
        self.add(id, item)
        self._under_way[id] -= 1
        if not self._under_way[id]:
            del self._under_way[id]
            self._begun.pop(id, None)
            self._free.append(id)
