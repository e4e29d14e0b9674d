"""What the steps that ask a model have in common: their flags, and a server that is started only when needed."""

import argparse
import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errata.client import Client, connected
from errata.journal import Journal, Sampling
from errata.records import Key
from errata.server import Server, ServerSpec, serving
from errata.weights import fingerprint

# Engine options that change what is computed, not just how fast.
_NUMERIC_OPTIONS = ("dtype", "quantization", "kv_cache_dtype", "load_format", "hf_overrides")


def add_serving_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a model server, of the sampling and of the journal."""
    server = parser.add_argument_group("server")
    server.add_argument("--model", required=True, help="name that the server gives the model")
    server.add_argument("--engine", choices=["llamacpp", "vllm", "endpoint"], default="llamacpp")
    server.add_argument("--weights", type=Path, help="GGUF file (llamacpp) or checkpoint folder (vllm)")
    server.add_argument("--server-options", type=json.loads, default={}, help="JSON object of engine options")
    server.add_argument("--port", type=int, help="a fixed port instead of a free one")
    server.add_argument("--base-url", help="of a server that already runs (endpoint)")
    server.add_argument("--api-key-env", default="OPENAI_API_KEY", help="variable with the endpoint's key")
    server.add_argument("--ready-timeout", type=float, default=1800.0, help="seconds until the first completion")
    server.add_argument("--trust-remote-code", action="store_true", help="let vLLM run code that the model brings")
    server.add_argument("--server-log", type=Path, required=True)
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--max-tokens", type=int, default=1024)
    sampling.add_argument("--temperature", type=float, default=0.0)
    sampling.add_argument("--top-p", type=float, default=1.0)
    sampling.add_argument("--seed", type=int, default=1)
    sampling.add_argument("--concurrency", type=int, default=16, help="requests under way at once")
    sampling.add_argument("--request-timeout", type=float, default=600.0, help="seconds for one request")
    parser.add_argument("--journal", type=Path, required=True, help="finished completions, kept over crashes")


@dataclass(frozen=True)
class Generation:
    """One step's way of asking: server, sampling and journal."""

    server: ServerSpec
    server_log: Path
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    concurrency: int
    request_timeout: float
    journal_path: Path

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> "Generation":
        options: dict[str, Any] = dict(arguments.server_options)
        if arguments.engine == "llamacpp":
            options.setdefault("parallel", arguments.concurrency)
        spec = ServerSpec(
            engine=arguments.engine,
            model=arguments.model,
            weights=arguments.weights,
            options=options,
            port=arguments.port,
            base_url=arguments.base_url,
            api_key_env=arguments.api_key_env,
            ready_timeout=arguments.ready_timeout,
            trust_remote_code=arguments.trust_remote_code,
        )
        return cls(
            spec,
            arguments.server_log,
            arguments.max_tokens,
            arguments.temperature,
            arguments.top_p,
            arguments.seed,
            arguments.concurrency,
            arguments.request_timeout,
            arguments.journal,
        )

    def journal(self) -> Journal:
        """Open the journal for this very model: name, weights and the options that change its numbers."""
        spec = self.server
        numeric = {name: spec.options[name] for name in _NUMERIC_OPTIONS if name in spec.options}
        weights = fingerprint(spec.weights) if spec.weights else spec.base_url
        return Journal(self.journal_path, json.dumps([spec.engine, spec.model, weights, numeric], sort_keys=True))

    def sampling(self, key: Key, attempt: int) -> Sampling:
        """Sampling of one attempt, with a seed of its own that does not depend on the order of asking."""
        digest = hashlib.sha256(json.dumps([self.seed, *key, attempt]).encode()).digest()
        return Sampling(self.max_tokens, self.temperature, self.top_p, int.from_bytes(digest[:4]) >> 1)

    def ask(self, journal: Journal, work: Callable[[Client, Server], Awaitable[None]]) -> float:
        """Start the server, do the work, stop the server; give the seconds that the work took."""

        async def session(server: Server) -> None:
            async with connected(server, journal, self.request_timeout) as client:
                await work(client, server)

        with serving(self.server, self.server_log) as server:
            start = time.monotonic()
            asyncio.run(session(server))
            return time.monotonic() - start
