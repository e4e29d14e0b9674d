"""A fast OpenAI-compatible server that answers by a script: `python benchmarks/scripted.py --delay 0.2`.

It stands in for a model when the client is measured. It is one asyncio process without a framework, so that it takes
little of the machine's cores. Whether an answer is right depends on the prompt, on the sampling, and on the chance in
the prompt, e.g. "[B 0.35]": the right letter, and the probability that an attempt gives it. The same request always
gets the same answer; at temperature 0 the seed does not matter.

With `--slots N` it has a capacity: N completions at once, each of them `--token-seconds` a token; the others wait. A
request whose connection is closed costs nothing from then on, as with vLLM and llama.cpp. `GET /metrics` returns the
requests and tokens so far; `GET /reset` returns them too and sets them to zero. Requests without a chance in their
prompt (readiness checks of clients) are answered at once and not counted.
"""

import argparse
import asyncio
import json
import random
import re
from collections import deque
from dataclasses import asdict, dataclass, field

_CHANCE = re.compile(r"\[([A-Z]) ([0-9.]+)\]")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass
class Metrics:
    """Requests and tokens since the last reset; of a cancelled request, the tokens until then."""

    requests: int = 0
    answered: int = 0
    cancelled: int = 0
    generated_tokens: float = 0.0
    connections: int = 0
    most_at_once: int = 0
    # arrival of the first request and time of the last answer: the request phase of any client
    first: float = 0.0
    last: float = 0.0


@dataclass
class Model:
    """The model that is served, and its slots."""

    delay: float
    slots: int
    token_seconds: float
    tokens: tuple[int, int]
    running: int = 0
    waiting: "deque[Completion]" = field(default_factory=deque)
    metrics: Metrics = field(default_factory=Metrics)

    def begin(self, completion: "Completion") -> None:
        if self.slots and self.running >= self.slots:
            self.waiting.append(completion)
            return
        self.running += 1
        self.metrics.most_at_once = max(self.metrics.most_at_once, self.running)
        completion.begin()

    def end(self) -> None:
        self.running -= 1
        while self.waiting and self.running < self.slots:
            waiting = self.waiting.popleft()
            if not waiting.closed:
                self.begin(waiting)

    def report(self, path: bytes) -> bytes:
        if path.startswith(b"/v1/models"):
            return b'{"object": "list", "data": [{"id": "scripted", "object": "model"}]}'
        seconds = {"request_seconds": self.metrics.last - self.metrics.first}
        report = json.dumps({**asdict(self.metrics), **seconds}).encode()
        if path.startswith(b"/reset"):
            self.metrics = Metrics()
        return report


class Completion:
    """One request in flight. Its text is known from the start; only the time is simulated."""

    def __init__(self, model: Model, connection: "Connection", body: bytes) -> None:
        self._model, self._connection = model, connection
        request = json.loads(body)
        prompt = request["messages"][-1]["content"]
        if not isinstance(prompt, str):
            prompt = prompt[0]["text"]
        temperature = request.get("temperature") or 0
        chance = random.Random(f"{prompt}{temperature}{request.get('seed') if temperature else ''}")
        wanted = chance.randint(*model.tokens)
        limit = request.get("max_tokens") or request.get("max_completion_tokens") or wanted
        self._tokens = min(wanted, limit)
        question = _CHANCE.search(prompt)
        letter = question[1] if question and chance.random() < float(question[2]) else _wrong(question)
        # a word is a token; a completion that the limit cut off has no answer
        answer = f"The answer is {letter}" if wanted <= limit else ""
        self._reply = {
            "id": "scripted",
            "object": "chat.completion",
            "created": 0,
            "model": "scripted",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop" if answer else "length",
                    "message": {"role": "assistant", "content": "so " * max(0, self._tokens - 4) + answer},
                }
            ],
            "usage": {
                "prompt_tokens": len(prompt) // 4,
                "completion_tokens": self._tokens,
                "total_tokens": len(prompt) // 4 + self._tokens,
            },
        }
        self._timer: asyncio.TimerHandle | None = None
        self._started = 0.0
        self.counted = question is not None
        self.closed = False

    def begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._started = loop.time()
        self._timer = loop.call_later(self._model.delay + self._tokens * self._model.token_seconds, self._finish)

    def cancel(self) -> None:
        """The client has left: a waiting request has cost nothing, a running one the tokens so far."""
        self.closed = True
        self._model.metrics.cancelled += 1
        if self._timer is None:
            return
        self._timer.cancel()
        spent = asyncio.get_running_loop().time() - self._started - self._model.delay
        if spent > 0 and self._model.token_seconds:
            self._model.metrics.generated_tokens += min(self._tokens, spent / self._model.token_seconds)
        self._model.end()

    def _finish(self) -> None:
        self._connection.send(self.reply())
        metrics = self._model.metrics
        metrics.answered += 1
        metrics.generated_tokens += self._tokens
        metrics.last = asyncio.get_running_loop().time()
        self._model.end()

    def reply(self) -> bytes:
        return json.dumps(self._reply).encode()


def _wrong(question: re.Match[str] | None) -> str:
    """A wrong letter that is an option of every question with two options."""
    return "B" if question and question[1] == "A" else "A"


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, one request at a time: as much as the compared clients need."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._under_way: Completion | None = None
        self._last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._model.metrics.connections += 1

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        if self._under_way:
            self._under_way.cancel()
            self._under_way = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return
        self._buffer = rest[size:]
        self._last = _CLOSE.search(head) is not None
        method, path, _ = head.split(b" ", 2)
        if method != b"POST":
            self.send(self._model.report(path))
            return
        completion = Completion(self._model, self, rest[:size])
        if not completion.counted:
            self.send(completion.reply())
            return
        metrics = self._model.metrics
        metrics.requests += 1
        metrics.first = metrics.first or asyncio.get_running_loop().time()
        self._under_way = completion
        self._model.begin(completion)

    def send(self, body: bytes) -> None:
        self._under_way = None
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        if self._last:
            self._transport.close()


async def serve(model: Model, port: int) -> None:
    """Listen on the loopback address, print the port, and run until stopped."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(model), "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.2, help="seconds of every answer")
    parser.add_argument("--slots", type=int, default=0, help="completions at once; 0 is no limit")
    parser.add_argument("--token-seconds", type=float, default=0.0, help="seconds a token, on top of the delay")
    parser.add_argument("--tokens", type=int, nargs=2, default=(40, 40), help="shortest and longest completion")
    arguments = parser.parse_args()
    shortest, longest = arguments.tokens
    model = Model(arguments.delay, arguments.slots, arguments.token_seconds, (shortest, longest))
    asyncio.run(serve(model, arguments.port))


if __name__ == "__main__":
    main()
