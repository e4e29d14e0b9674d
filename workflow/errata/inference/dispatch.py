"""Keeps a server busy: the next request is sent as soon as another one has ended."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from errata.core.progress import Progress
from errata.inference.client import Client
from errata.inference.requests import Completion, Request
from errata.inference.server import Server, ServerTrouble

Item = TypeVar("Item")

# Seconds between two updates of the line of progress.
_PROGRESS_PAUSE = 0.2
# When a connection breaks, the server's process is given this many seconds to end, so that its log explains the break.
_DEATH_SECONDS = 1.0


@dataclass(eq=False, slots=True)
class PendingRequest:
    """A request that waits to be sent or is in flight.

    Attributes:
        sent: time on the monotonic clock; 0 before it is sent.
    """

    request: Request
    sent: float = field(default=0.0, kw_only=True)


PendingT = TypeVar("PendingT", bound=PendingRequest)


class Scheduler(Protocol[PendingT]):
    """Decides which request is sent next; `dispatch` only limits how many are in flight.

    Attributes:
        finished: questions that need no further request, those of earlier runs included.
    """

    finished: int

    @property
    def tokens(self) -> float:
        """Tokens of all completions so far."""

    def remark(self) -> str:
        """Further words for the line of progress."""

    def next(self) -> PendingT | None:
        """The request to send next; None if there is none at the moment."""

    def finish(self, pending: PendingT, completion: Completion) -> Iterable[PendingT]:
        """Take a completion; return the requests in flight that are no longer needed, to be cancelled."""

    def drop(self, pending: PendingT) -> None:
        """Forget a request that ended without a completion: it was cancelled, or the server broke down."""

    def ask_failures_again(self) -> None:
        """Schedule the failed requests again: the server was restarted and may answer them now."""


@dataclass
class Utilization:
    """How busy the server was during this run, over all its restarts.

    Attributes:
        seconds: time with at least one request in flight.
        saturated: time with as many requests in flight as allowed, in seconds.
        requests: requests that were sent.
        cancelled: requests among them that were cancelled.
        in_flight: requests that are in flight now.
    """

    seconds: float = 0.0
    saturated: float = 0.0
    requests: int = 0
    cancelled: int = 0
    in_flight: int = 0
    _since: float | None = field(default=None, repr=False)
    _full: bool = field(default=False, repr=False)

    def mark(self, in_flight: int, concurrency: int) -> None:
        """Record that from now on so many requests are in flight; 0 stops the clock."""
        now = time.monotonic()
        if self._since is not None:
            self.seconds += now - self._since
            self.saturated += (now - self._since) * self._full
        self._since = now if in_flight else None
        self._full = in_flight >= concurrency
        self.in_flight = in_flight

    @property
    def share(self) -> float | None:
        """The share of the time with as many requests in flight as allowed; None if nothing was asked."""
        return self.saturated / self.seconds if self.seconds else None


async def dispatch(
    scheduler: Scheduler[PendingT],
    client: Client,
    server: Server,
    concurrency: int,
    *,
    utilization: Utilization,
    progress: Progress,
    time_left: float | None = None,
) -> None:
    """Send requests until the scheduler has no more, at most `concurrency` at a time; stop at the first error.

    Args:
        utilization: this run's account, which is updated.
        progress: shows how many questions are finished.
        time_left: seconds after which the requests in flight are cancelled.

    Raises:
        UserError: raised by a request.
        ServerTrouble: the server's process ended.
    """
    loop = asyncio.get_running_loop()
    tasks: dict[PendingT, asyncio.Task[Completion]] = {}
    cancelled: set[asyncio.Task[Completion]] = set()
    ended: deque[tuple[PendingT, asyncio.Task[Completion]]] = deque()
    wake = asyncio.Event()

    def send(pending: PendingT) -> None:
        pending.sent = time.monotonic()
        task = tasks[pending] = loop.create_task(client.complete(pending.request))
        utilization.requests += 1

        def note_end(task: asyncio.Task[Completion]) -> None:
            ended.append((pending, task))
            wake.set()

        task.add_done_callback(note_end)

    def cancel(pending: PendingT) -> None:
        # a request that already has its completion cannot be cancelled; its completion counts
        if tasks[pending].cancel():
            cancelled.add(tasks.pop(pending))
            utilization.cancelled += 1
            scheduler.drop(pending)

    def collect() -> None:
        while ended:
            pending, task = ended.popleft()
            if task in cancelled:
                cancelled.discard(task)
                continue
            completion = task.result()
            del tasks[pending]
            for loser in scheduler.finish(pending, completion):
                cancel(loser)

    async def show_progress() -> None:
        while True:
            await asyncio.sleep(_PROGRESS_PAUSE)
            progress.update(scheduler.finished)

    died = loop.create_task(server.died())
    died.add_done_callback(lambda _: wake.set())
    ticker = loop.create_task(show_progress())
    deadline = None if time_left is None else loop.time() + time_left
    alarm = None if time_left is None else loop.call_later(max(0.0, time_left), wake.set)
    try:
        while True:
            over = deadline is not None and loop.time() >= deadline
            while not over and len(tasks) < concurrency and (pending := scheduler.next()) is not None:
                send(pending)
            utilization.mark(len(tasks), concurrency)
            if not tasks or over:
                return
            await wake.wait()
            wake.clear()
            if died.done():
                raise server.obituary()
            try:
                collect()
            except ServerTrouble:
                # a broken connection is usually the first sign that the server is ending
                if server.process is not None:
                    await asyncio.wait({died}, timeout=_DEATH_SECONDS)
                if died.done():
                    raise server.obituary() from None
                raise
    finally:
        utilization.mark(0, concurrency)
        progress.update(scheduler.finished)
        if alarm:
            alarm.cancel()
        rest = list(tasks.items())
        ending = [died, ticker, *tasks.values(), *cancelled]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        for pending, task in rest:
            # a completion that arrived at this very moment is in the journal, so it counts
            if pending in tasks:
                completion = None
                with suppress(BaseException):
                    completion = task.result()
                if completion is None:
                    scheduler.drop(pending)
                else:
                    scheduler.finish(pending, completion)


class ByProblem(Generic[Item]):
    """A queue in which the items of one problem follow each other, so that the server still has the problem's text in
    its prefix cache. Two items of a problem are in flight at once only when every problem left has one in flight.

    Args:
        items: (problem id, item), in the order in which they should be taken.
    """

    def __init__(self, items: Iterable[tuple[str, Item]]) -> None:
        # items by problem, in reverse order: the next one is last
        self._waiting: dict[str, list[Item]] = {}
        # problems with nothing in flight
        self._free: deque[str] = deque()
        # problems with an item in flight and another one waiting, in the order in which they began
        self._begun: dict[str, None] = {}
        # number of items in flight by problem
        self._in_flight: dict[str, int] = {}
        for id, item in items:
            self._waiting.setdefault(id, []).append(item)
        for waiting in self._waiting.values():
            waiting.reverse()
        self._free.extend(self._waiting)

    def add(self, id: str, item: Item) -> None:
        """Add an item after all others, or after the others of its problem."""
        if id in self._in_flight:
            self._begun[id] = None
        elif id not in self._waiting:
            self._free.append(id)
        self._waiting.setdefault(id, []).insert(0, item)

    def take(self) -> Item | None:
        """Take the next item; call `release` or `put_back` when it is no longer in flight."""
        if self._free:
            id = self._free.popleft()
        elif self._begun:
            id = next(iter(self._begun))
        else:
            return None
        self._in_flight[id] = self._in_flight.get(id, 0) + 1
        item = self._waiting[id].pop()
        if self._waiting[id]:
            self._begun[id] = None
        else:
            del self._waiting[id]
            self._begun.pop(id, None)
        return item

    def release(self, id: str) -> None:
        """Report that an item of this problem is finished: the problem's next item goes before all new problems."""
        self._in_flight[id] -= 1
        if not self._in_flight[id]:
            del self._in_flight[id]
            if id in self._waiting:
                self._begun.pop(id, None)
                self._free.appendleft(id)

    def put_back(self, id: str, item: Item) -> None:
        """Return an item that must be taken again, after all others: it may have brought the server down."""
        self.add(id, item)
        self._in_flight[id] -= 1
        if not self._in_flight[id]:
            del self._in_flight[id]
            self._begun.pop(id, None)
            self._free.append(id)
