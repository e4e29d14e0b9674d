"""Asking an OpenAI-compatible server many questions at once, each completion journaled as it comes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

import openai

from errata.errors import UserError
from errata.journal import Completion, Journal, Request
from errata.server import Server

Item = TypeVar("Item")
# The openai client waits longer after each retry, up to 8 s.
_CONNECTION_RETRIES = 4
# Bad request, content too large, unprocessable: about this very question, not about the server.
_REFUSALS = {400, 413, 422}


class Client:
    """Completions of one server, taken from the journal where it has them.

    Args:
        server: a server that is ready.
        journal: open; every new completion is filed there before it is given back.
        timeout: seconds for one request.
    """

    def __init__(self, server: Server, journal: Journal, timeout: float) -> None:
        self._server = server
        self._journal = journal
        self._openai = openai.AsyncOpenAI(
            base_url=server.base_url, api_key=server.api_key, max_retries=_CONNECTION_RETRIES, timeout=timeout
        )

    async def close(self) -> None:
        await self._openai.close()

    async def complete(self, request: Request) -> Completion:
        """The completion of a request.

        A request that the server refuses (too long, say) or answers with nonsense gives a completion that `failed`; it
        is not journaled, so that the next run asks again.

        Raises:
            UserError: the server does not answer any more, or refuses the key.
        """
        known = self._journal.get(request)
        if known is not None:
            return known
        completion = await self._ask(request)
        if not completion.failed:
            self._journal.add(request, completion)
        return completion

    async def _ask(self, request: Request) -> Completion:
        sampling = request.sampling
        start = time.monotonic()
        try:
            response = await self._openai.chat.completions.create(
                model=self._server.model,
                messages=[{"role": "user", "content": request.prompt}],
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=sampling.seed,
            )
        except openai.OpenAIError as error:
            if isinstance(error, openai.APIStatusError) and error.status_code in _REFUSALS:
                return _failed(start, error.message)
            raise UserError(
                f"{self._server.base_url}: the server of {self._server.model} stopped answering ({error}). "
                "What it had answered is kept; run again to go on."
            ) from error
        except ValueError as error:
            return _failed(start, f"the server's answer is no JSON ({error})")
        # the openai client checks no types: what came may be any JSON, or even text
        try:
            choice = response.choices[0]
            # a model may stop within a character; half a surrogate pair could not be written to any file
            text = (choice.message.content or "").encode("utf-8", "replace").decode()
            usage = (response.usage.prompt_tokens, response.usage.completion_tokens) if response.usage else (0, 0)
        except (AttributeError, TypeError, IndexError, KeyError):
            return _failed(start, "the server's answer is no completion")
        return Completion(
            text=text,
            finish_reason=choice.finish_reason or "unknown",
            prompt_tokens=usage[0] or 0,
            completion_tokens=usage[1] or 0,
            seconds=round(time.monotonic() - start, 3),
        )


def _failed(start: float, message: str) -> Completion:
    return Completion("", "error", 0, 0, round(time.monotonic() - start, 3), message)


@asynccontextmanager
async def connected(server: Server, journal: Journal, timeout: float) -> AsyncIterator[Client]:
    """A client that is closed at the end."""
    client = Client(server, journal, timeout)
    try:
        yield client
    finally:
        await client.close()


async def for_each(
    items: Iterable[Item], work: Callable[[Item], Awaitable[None]], concurrency: int, server: Server
) -> None:
    """Run `work` on every item, at most `concurrency` at a time; stop at the first error.

    Raises:
        UserError: what `work` raised, or the server's process ended.
    """
    queue = iter(items)

    async def worker() -> None:
        for item in queue:
            await work(item)

    async def workers_at_once() -> None:
        await asyncio.gather(*(worker() for _ in range(concurrency)))

    workers = asyncio.create_task(workers_at_once())
    died = asyncio.create_task(server.died())
    try:
        await asyncio.wait({workers, died}, return_when=asyncio.FIRST_COMPLETED)
        if not workers.done():
            raise server.obituary()
        try:
            await workers
        except UserError:
            # a connection that breaks is most often the first sign of a server's end
            await asyncio.wait({died}, timeout=1.0)
            if died.done():
                raise server.obituary() from None
            raise
    finally:
        for task in (workers, died):
            task.cancel()
        await asyncio.gather(workers, died, return_exceptions=True)
