"""Asks an OpenAI-compatible server for completions and writes each to the journal as it arrives."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from errata.core.errors import UserError
from errata.data.rows import ERROR
from errata.inference.http import Connection, NoReply, Reply
from errata.inference.journal import Journal
from errata.inference.requests import Completion, Request
from errata.inference.server import Server, ServerTrouble

# A request is sent at most this many times. The pause between two tries doubles up to a limit. Pauses are jittered:
# requests that failed together are not sent again together.
_TRIES = 5
_PAUSE, _LONGEST_PAUSE = 0.5, 8.0
# At most this many tries may run into the timeout: one question must not hold up the run for five timeouts.
_TIMEOUTS = 3
# A server may ask for a pause of at most this many seconds (Retry-After); a longer one is ignored.
_LONGEST_RETRY_AFTER = 60.0
# Bad request, content too large, unprocessable: the server objects to this question, not to any question.
_REFUSALS = {400, 413, 422}
_KEY_REFUSED = {401, 403}
# Request timeout, conflict, too many requests: like 5xx, they may pass.
_PASSING = {408, 409, 429}
# If this many requests in a row failed or timed out, with no completion in between, the server is at fault.
_HOPELESS = 16
# Seconds for the list of models, which a working server sends at once, even under load.
_ALIVE_SECONDS = 10.0


class Client:
    """Asks one server for completions and writes each to the journal.

    Args:
        connection: to the server.
        server: a server that is ready.
        journal: open; a completion is in it before `complete` returns it.
        timeout: seconds for one try of a request.
    """

    def __init__(self, connection: Connection, server: Server, journal: Journal, timeout: float) -> None:
        self._connection = connection
        self._server = server
        self._journal = journal
        self._timeout = timeout
        # requests that failed or timed out since the last completion, and completions so far
        self._failures = self._completions = 0

    async def complete(self, request: Request) -> Completion:
        """Ask for a completion, several times if the error may pass: no connection, 408, 409, 429, 5xx, invalid reply.

        If all tries fail, the completion returned is `failed`. It is not in the journal, so that the next run asks
        again.

        Raises:
            UserError: the server refuses the key, or another model answers.
            ServerTrouble: the server can no longer be reached, or only failures come back.
        """
        question = {"model": self._server.model, "messages": request.messages, **vars(request.sampling)}
        body = json.dumps(question).encode()
        start, completions, timeouts = time.monotonic(), self._completions, 0
        for number in range(1, _TRIES + 1):
            pause = random.uniform(0.5, 1.0) * min(_LONGEST_PAUSE, _PAUSE * 2**number)
            try:
                reply = await self._connection.post("chat/completions", body, self._timeout)
            except TimeoutError:
                # the timeout was pause enough
                message, pause = f"no answer within {self._timeout:g} s", 0.0
                timeouts += 1
                self._count_failure(message)
                if timeouts == _TIMEOUTS:
                    return _failed(start, message)
            except NoReply as error:
                message = str(error)
                if number == _TRIES and self._completions == completions and not await self._is_alive():
                    raise self._trouble(message) from error
            else:
                if (wanted := _retry_after(reply.headers)) is not None:
                    pause = wanted
                if reply.status in _REFUSALS:
                    return _failed(start, reply.error, refused=True)
                if reply.status in _KEY_REFUSED:
                    raise UserError(
                        f"{self._server.base_url}: the key was refused ({reply.error}). "
                        "The answers so far are kept; run again with the right key."
                    )
                if reply.status == 200:
                    completion = self._read(reply, start)
                    if not completion.failed:
                        self._failures, self._completions = 0, self._completions + 1
                        self._journal.add(request, completion)
                        return completion
                    message = completion.error
                else:
                    message = reply.error
                    if reply.status < 500 and reply.status not in _PASSING:
                        break
            if number < _TRIES:
                await asyncio.sleep(pause)
        self._count_failure(message)
        return _failed(start, message)

    def _count_failure(self, message: str) -> None:
        self._failures += 1
        if self._failures >= _HOPELESS:
            raise self._trouble(message)

    async def _is_alive(self) -> bool:
        """Whether the server answers at all; if so, only this question fails."""
        try:
            return (await self._connection.get("models", _ALIVE_SECONDS)).status == 200
        except (TimeoutError, NoReply):
            return False

    def _read(self, reply: Reply, start: float) -> Completion:
        """The completion in a reply; a failed one if the reply is something else: any JSON, or a web page."""
        seconds = _seconds_since(start)
        try:
            answer = json.loads(reply.content)
        except ValueError as error:
            return _failed(start, f"the server's answer is no JSON ({error})")
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"] or ""
            # A model may stop in the middle of a character; half a surrogate pair cannot be written to a file.
            text = text.encode("utf-8", "replace").decode()
            usage = answer.get("usage") or {}
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
            completion = Completion(
                text=text,
                finish_reason=str(choice.get("finish_reason") or "unknown"),
                prompt_tokens=int(usage.get("prompt_tokens") or 0),
                completion_tokens=int(usage.get("completion_tokens") or 0),
                seconds=seconds,
                cached_tokens=None if cached is None else int(cached),
            )
        except (AttributeError, TypeError, IndexError, KeyError, ValueError):
            return _failed(start, "the server's answer is no completion")
        name = answer.get("model")
        if self._server.answers_as and name and name != self._server.answers_as:
            raise UserError(
                f"{self._server.base_url}: {name} answers there now, not {self._server.answers_as}. "
                "Its completion was discarded, the earlier ones are kept. Ask a server that keeps its model."
            )
        return completion

    def _trouble(self, message: str) -> ServerTrouble:
        return ServerTrouble(
            f"{self._server.base_url}: the server of {self._server.model} stopped answering ({message}). "
            "Its answers so far are kept; run again to go on."
        )


@asynccontextmanager
async def open_client(server: Server, journal: Journal, timeout: float) -> AsyncIterator[Client]:
    """A client whose connection is closed at the end of the block."""
    async with server.connect() as connection:
        yield Client(connection, server, journal, timeout)


def _failed(start: float, message: str, *, refused: bool = False) -> Completion:
    return Completion("", ERROR, 0, 0, _seconds_since(start), error=message, refused=refused)


def _seconds_since(start: float) -> float:
    return round(time.monotonic() - start, 3)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The pause that the server asks for, in seconds."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds <= _LONGEST_RETRY_AFTER:
            return seconds
    return None
