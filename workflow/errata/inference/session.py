"""The common part of all steps that ask a model: flags, a server that is started when needed, and its restarts."""

import argparse
import asyncio
import gc
import hashlib
import json
import shlex
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from errata.core import gpus
from errata.core.errors import UserError
from errata.core.places import PACKAGE
from errata.core.processes import orderly_end
from errata.core.progress import Progress
from errata.data.records import Key
from errata.inference.client import open_client
from errata.inference.dispatch import PendingT, Scheduler, Utilization, dispatch
from errata.inference.journal import Journal
from errata.inference.requests import Sampling
from errata.inference.server import Server, ServerSpec, ServerTrouble, run_server
from errata.models.checkpoints import weights_digest

# Engine options that change the completions, and not only the speed.
_NUMERIC_OPTIONS = ("dtype", "quantization", "kv_cache_dtype", "load_format", "hf_overrides")


def add_serving_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the server, of the sampling and of the journal."""
    server = parser.add_argument_group("server")
    server.add_argument("--model", required=True, help="the server's name for the model")
    server.add_argument("--engine", choices=["llamacpp", "vllm", "endpoint"], default="llamacpp")
    server.add_argument("--weights", type=Path, help="GGUF file (llamacpp) or checkpoint folder (vllm)")
    server.add_argument("--server-options", type=json.loads, default={}, help="JSON object of engine options")
    server.add_argument("--port", type=int, help="a fixed port instead of a free one")
    server.add_argument("--base-url", help="of a server that already runs (endpoint)")
    server.add_argument("--api-key-env", default="OPENAI_API_KEY", help="variable with the endpoint's key")
    server.add_argument("--ready-timeout", type=float, default=1800.0, help="seconds until the first completion")
    server.add_argument("--restarts", type=int, default=2, help="at most so many restarts of a server that breaks down")
    server.add_argument("--trust-remote-code", action="store_true", help="let vLLM run code that comes with the model")
    server.add_argument("--server-log", type=Path, required=True)
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--max-tokens", type=int, default=1024)
    sampling.add_argument(
        "--temperature",
        type=float,
        nargs="+",
        default=[0.0],
        help="one for all attempts, or one for each; the last one holds for all further attempts",
    )
    sampling.add_argument("--top-p", type=float, default=1.0)
    sampling.add_argument("--seed", type=int, default=1)
    sampling.add_argument("--concurrency", type=int, default=16, help="requests in flight at once")
    sampling.add_argument(
        "--request-timeout", type=float, default=600.0, help="seconds after which a request is sent again"
    )
    parser.add_argument("--journal", type=Path, required=True, help="file of finished completions, kept over crashes")


@dataclass(frozen=True)
class Session:
    """How one run of a step asks its model: server, sampling and journal."""

    step: str
    server: ServerSpec
    server_log: Path
    restarts: int
    max_tokens: int
    temperatures: tuple[float, ...]
    top_p: float
    seed: int
    concurrency: int
    request_timeout: float
    journal_path: Path

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> "Session":
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
            # a parser of one step alone has no name of the step
            step=getattr(arguments, "step", "answer"),
            server=spec,
            server_log=arguments.server_log,
            restarts=arguments.restarts,
            max_tokens=arguments.max_tokens,
            temperatures=tuple(arguments.temperature),
            top_p=arguments.top_p,
            seed=arguments.seed,
            concurrency=arguments.concurrency,
            request_timeout=arguments.request_timeout,
            journal_path=arguments.journal,
        )

    def open_journal(self) -> Journal:
        """Open the journal for exactly this model: name, weights, and the options that change its completions."""
        spec = self.server
        numeric = {name: spec.options[name] for name in _NUMERIC_OPTIONS if name in spec.options}
        weights = weights_digest(spec.weights) if spec.weights else spec.base_url
        identity = json.dumps([spec.engine, spec.model, weights, numeric], sort_keys=True)
        context = spec.options.get("context") if spec.engine == "llamacpp" else spec.options.get("max_model_len")
        return Journal(self.journal_path, identity, spec.model, context)

    def sampling(self, key: Key, attempt: int) -> Sampling:
        """The sampling of one attempt at a question. Its seed does not depend on the order of asking.

        Args:
            attempt: 0 is the first answer, 1 the first retry.
        """
        digest = hashlib.sha256(json.dumps([self.seed, *key, attempt]).encode()).digest()
        temperature = self.temperatures[min(max(attempt, 1), len(self.temperatures)) - 1]
        return Sampling(self.max_tokens, temperature, self.top_p, int.from_bytes(digest[:4]) >> 1)

    def ask(
        self,
        journal: Journal,
        scheduler: Scheduler[PendingT],
        what: str,
        total: int,
        *,
        time_left: float | None = None,
    ) -> Utilization:
        """Start the server, ask until the scheduler has no more requests, and stop the server.

        A server that breaks down is restarted.

        Args:
            what: the words before the model's name in the line of progress, e.g. "answer".
            total: number of questions, those of earlier runs included.
            time_left: seconds of asking after which the requests in flight are cancelled.

        Returns:
            How busy the server was.

        Raises:
            UserError: this Python lacks the client's packages; the server cannot be started, or broke down more often
                than it may be restarted; or the machine has fewer GPUs than the server needs.
        """
        if find_spec("aiohttp") is None:
            raise _wrong_environment(self.step, self.server.engine)
        utilization, tokens = Utilization(), scheduler.tokens

        def remark() -> str:
            rate = (scheduler.tokens - tokens) / progress.elapsed
            return f"{scheduler.remark()}, {utilization.in_flight} in flight, {rate:.0f} tokens/s"

        with gpus.reserve(gpus.count_server_gpus(self.server.engine, self.server.options)) as environment:
            self.server_log.unlink(missing_ok=True)
            for restarts_left in range(self.restarts, -1, -1):
                trouble = None
                with orderly_end(), run_server(self.server, self.server_log, environment) as server:
                    progress = Progress(f"{what} {self.server.model}", total, scheduler.finished, remark=remark)
                    tokens = scheduler.tokens
                    journal.begin()
                    remaining = None if time_left is None else time_left - utilization.seconds
                    try:
                        asyncio.run(self._dispatch(server, journal, scheduler, progress, utilization, remaining))
                    except ServerTrouble as error:
                        if server.process is None or not restarts_left:
                            raise
                        trouble = error
                if trouble is None:
                    progress.close()
                    break
                scheduler.ask_failures_again()
                more = f"It is started again; after that, at most {restarts_left - 1} more times."
                print(f"\n{trouble}\n{more}", file=sys.stderr)
        return utilization

    async def _dispatch(
        self,
        server: Server,
        journal: Journal,
        scheduler: Scheduler[PendingT],
        progress: Progress,
        utilization: Utilization,
        time_left: float | None,
    ) -> None:
        # the collector need not look at the imported modules again while requests are in flight
        gc.freeze()
        async with open_client(server, journal, self.request_timeout) as client:
            await dispatch(
                scheduler,
                client,
                server,
                self.concurrency,
                utilization=utilization,
                progress=progress,
                time_left=time_left,
            )


def _wrong_environment(step: str, engine: str) -> UserError:
    """The error for a Python that lacks the client's packages, such as the Python that runs Snakemake."""
    names = ("serve-cuda", "serve-vllm-cpu") if engine == "vllm" else ("serve-cpu",)
    folders = [Path(".envs", name) for name in names]
    folder = next((each for each in folders if each.is_dir()), folders[0])
    return UserError(
        f"step {step} needs the packages of {folder}, which {sys.executable} lacks: run "
        f"PYTHONPATH={shlex.quote(str(PACKAGE))} {folder}/bin/python -m errata {step} ... "
        f"(`snakemake {folder}.ok` makes this environment)."
    )
