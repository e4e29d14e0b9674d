"""Asking an OpenAI-compatible server for completions, each journaled as it comes.

The requests go through aiohttp: on the same work the openai package's client takes several times the CPU, and with a
few hundred requests at once it is then the client that the server waits for (`benchmarks/base_pass.py`).
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from errata.core.errors import UserError
from errata.inference.journal import Completion, Journal, Request
from errata.inference.server import Server, ServerTrouble

# How often a request is sent at most. The pauses between, half a second and then twice as long each time, are jittered,
# so that requests which failed together do not come back together.
_TRIES = 5
# Of them, how many may wait for the whole deadline: one question must not hold the run for ever.
_DEADLINES = 3
_PAUSE, _LONGEST_PAUSE = 0.5, 8.0
# A server that says for how long to stay away is believed up to this many seconds.
_LONGEST_RETRY_AFTER = 60.0
# Bad request, content too large, unprocessable: about this very question, not about the server.
_REFUSALS = {400, 413, 422}
_KEY_REFUSED = {401, 403}
# So many requests in a row that failed or ran into the deadline, with no answer in between, are the server's fault.
_HOPELESS = 16


class Client:
    """Completions of one server, each filed in the journal.

    Args:
        session: of aiohttp; one pool of connections for all requests.
        server: a server that is ready.
        journal: open; every new completion is filed there before it is given back.
        timeout: seconds for one request, after which it is sent anew.
    """

    def __init__(self, session: aiohttp.ClientSession, server: Server, journal: Journal, timeout: float) -> None:
        self._session = session
        self._server = server
        self._journal = journal
        self._timeout = timeout
        self._base_url = server.base_url.rstrip("/")
        self._in_vain = self._answered = 0

    async def complete(self, request: Request) -> Completion:
        """Ask for a completion, again where a passing trouble is likely: no connection, 408, 409, 429, 5xx, nonsense.

        What stays without a completion gives one that `failed`; it is not journaled, so that the next run asks again.

        Raises:
            UserError: the server refuses the key, or another model answers.
            ServerTrouble: there is no connection any more, or nothing but failures come back.
        """
        body = self._body(request)
        start, answered, deadlines = time.monotonic(), self._answered, 0
        for trial in range(1, _TRIES + 1):
            pause = random.uniform(0.5, 1.0) * min(_LONGEST_PAUSE, _PAUSE * 2**trial)
            try:
                status, content, retry_after = await self._post(body)
            except TimeoutError:
                message, pause = f"no answer within {self._timeout:g} s", 0.0  # it waited long enough
                deadlines += 1
                self._count_in_vain(message)
                if deadlines == _DEADLINES:
                    return _failed(start, message)
            except (aiohttp.ClientError, OSError) as error:
                message = str(error) or type(error).__name__
                if trial == _TRIES and self._answered == answered and not await self._alive():
                    raise self._trouble(message) from error
            else:
                pause = pause if retry_after is None else retry_after
                if status in _REFUSALS:
                    return _failed(start, _message(status, content), refused=True)
                if status in _KEY_REFUSED:
                    raise UserError(
                        f"{self._server.base_url}: the key was refused ({_message(status, content)}). "
                        "What was answered before is kept; run again with the right key."
                    )
                if status == 200:
                    completion = self._read(content, start)
                    if not completion.failed:
                        self._in_vain, self._answered = 0, self._answered + 1
                        self._journal.add(request, completion)
                        return completion
                    message = completion.error
                else:
                    message = _message(status, content)
                    if status < 500 and status not in {408, 409, 429}:
                        break
            if trial < _TRIES:
                await asyncio.sleep(pause)
        self._count_in_vain(message)
        return _failed(start, message)

    def _count_in_vain(self, message: str) -> None:
        self._in_vain += 1
        if self._in_vain >= _HOPELESS:
            raise self._trouble(message)

    async def _alive(self) -> bool:
        """Whether the server still answers at all, so that it is one question that it has trouble with."""
        try:
            async with asyncio.timeout(10.0), self._session.get(f"{self._base_url}/models") as response:
                return response.status == 200
        except (TimeoutError, aiohttp.ClientError, OSError):
            return False

    def _body(self, request: Request) -> bytes:
        return json.dumps(
            {
                "model": self._server.model,
                "messages": request.messages,
                **vars(request.sampling),
            }
        ).encode()

    async def _post(self, body: bytes) -> tuple[int, bytes, float | None]:
        """Status, content, and the seconds that the server asks to wait for."""
        async with (
            asyncio.timeout(self._timeout),
            self._session.post(
                f"{self._base_url}/chat/completions", data=body, headers={"Content-Type": "application/json"}
            ) as response,
        ):
            return response.status, await response.read(), _retry_after(response.headers)

    def _read(self, content: bytes, start: float) -> Completion:
        seconds = round(time.monotonic() - start, 3)
        # what came may be any JSON, or even a web page
        try:
            answer = json.loads(content)
        except ValueError as error:
            return _failed(start, f"the server's answer is no JSON ({error})")
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"] or ""
            # a model may stop within a character; half a surrogate pair could not be written to any file
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
        named = answer.get("model")
        if self._server.answers_as and named and named != self._server.answers_as:
            raise UserError(
                f"{self._server.base_url}: {named} answers there now, not {self._server.answers_as}. "
                "Its completion was thrown away, those before it are kept. Ask a server that keeps its model."
            )
        return completion

    def _trouble(self, message: str) -> ServerTrouble:
        return ServerTrouble(
            f"{self._server.base_url}: the server of {self._server.model} stopped answering ({message}). "
            "What it had answered is kept; run again to go on."
        )


@asynccontextmanager
async def connected(server: Server, journal: Journal, timeout: float) -> AsyncIterator[Client]:
    """A client whose connections are closed at the end."""
    async with aiohttp.ClientSession(
        # the caller bounds how many requests are under way; a connection is kept for the next one
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=30.0),
        headers={"Authorization": f"Bearer {server.api_key}"},
        proxy=_proxy(server),
    ) as session:
        yield Client(session, server, journal, timeout)


def _proxy(server: Server) -> str | None:
    """The environment's proxy may be the way to an endpoint, never to a server of our own.

    It is looked up once; aiohttp's own `trust_env` does so for every request, in a thread.
    """
    address = urlsplit(server.base_url)
    if server.process is not None or proxy_bypass(address.hostname or ""):
        return None
    return getproxies().get(address.scheme)


def _failed(start: float, message: str, *, refused: bool = False) -> Completion:
    return Completion("", "error", 0, 0, round(time.monotonic() - start, 3), error=message, refused=refused)


def _message(status: int, content: bytes) -> str:
    """The server's own words where it has any: `{"error": {"message"}}` or `{"message"}`."""
    text = content.decode("utf-8", "replace").strip()
    try:
        value: Any = json.loads(text)
        value = value.get("error", value)
        text = value if isinstance(value, str) else value["message"]
    except (ValueError, AttributeError, KeyError, TypeError):
        pass
    return f"HTTP {status}: {text[:500]}"


def _retry_after(headers: Any) -> float | None:
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds <= _LONGEST_RETRY_AFTER:
            return seconds
    return None
