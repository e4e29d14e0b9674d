"""Runs a model server for as long as a step needs it, and leaves no process behind."""

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from errata.core.errors import UserError
from errata.core.processes import running, tail
from errata.core.secrets import without_secrets
from errata.inference.http import Connection, NoReply, connect
from errata.models import checkpoints

# Between two checks of a server that is not ready: short at first, since llama.cpp starts in a second.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
# Seconds for one completion of one token. The first one may wait for kernels that are being compiled.
_FIRST_COMPLETION_SECONDS = 120.0
# Seconds that a server may take to end by itself before it is killed; it has nothing to save.
_STOP_SECONDS = 10.0
# Between two looks at whether a server's process has ended, in seconds.
_DEATH_POLL = 0.2


class ServerTrouble(UserError):
    """A server ended or gives no completions any more. If it is our own, `errata.inference.session` restarts it."""


@dataclass(frozen=True)
class ServerSpec:
    """A model to serve, and how.

    Attributes:
        engine: `llamacpp`, `vllm` or `endpoint`.
        model: the name that requests and `/v1/models` use.
        weights: GGUF file (llamacpp) or checkpoint folder (vllm); None for an endpoint.
        options: engine options as in the configuration: for vllm its command line flags without dashes (`true` is a
            bare flag), for llamacpp `parallel`, `context` (tokens a slot) and `threads`.
        port: a fixed port, or None for a free one.
        base_url: of an endpoint that already runs, e.g. "http://127.0.0.1:8000/v1".
        api_key_env: environment variable that holds the endpoint's key.
        ready_timeout: seconds until the first completion.
        trust_remote_code: whether vLLM may run code that comes with the model.
    """

    engine: str
    model: str
    weights: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    port: int | None = None
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    ready_timeout: float = 1800.0
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Server:
    """A server that has given a completion.

    Attributes:
        answers_as: the name of the model in the server's completions, if it sends one. An endpoint's alias may stand
            for a version.
        process: None for an endpoint, which we do not stop.
    """

    base_url: str
    api_key: str
    model: str
    answers_as: str | None = None
    log: Path | None = None
    process: "subprocess.Popen[bytes] | None" = None

    def connect(self) -> AbstractAsyncContextManager[Connection]:
        """Open a connection to the server for the time of a block."""
        return connect(self.base_url, self.api_key, own=self.process is not None)

    async def died(self) -> None:
        """Return when the server's process has ended; never for an endpoint."""
        while self.process is None or self.process.poll() is None:
            await asyncio.sleep(_DEATH_POLL)

    def obituary(self) -> ServerTrouble:
        """The error of a dead server: its exit status and the end of its log."""
        status = self.process.poll() if self.process else None
        return ServerTrouble(f"the server of {self.model} ended (exit status {status}).{_tail(self.log)}")


@contextmanager
def run_server(spec: ServerSpec, log: Path, extra: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Start a server, wait for a completion of the right model, and stop the server when the block ends.

    Args:
        log: the server's output is appended to it.
        extra: environment variables of the server alone.

    Raises:
        UserError: the engine is not installed, the port is taken, the server died or did not answer in time,
            or another model answered; with the end of the log.
    """
    if spec.engine == "endpoint":
        server = _endpoint(spec)
        yield replace(server, answers_as=asyncio.run(_await_ready(server, spec)))
        return
    port = _port(spec.port)
    key = secrets.token_urlsafe(24)
    # our own server may run code that came with its model, and it needs no key of another service
    environment = without_secrets(os.environ)
    environment |= {"VLLM_API_KEY": key, "ERRATA_API_KEY": key, "HF_HUB_OFFLINE": "1", **(extra or {})}
    # llama.cpp's threads spin while they wait for each other; beside another busy process that takes ten times as long
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    log.parent.mkdir(parents=True, exist_ok=True)
    with running(_command(spec, port), log, environment=environment, patience=_STOP_SECONDS) as process:
        server = Server(f"http://127.0.0.1:{port}/v1", key, spec.model, log=log, process=process)
        yield replace(server, answers_as=asyncio.run(_await_ready(server, spec)))


def _command(spec: ServerSpec, port: int) -> list[str]:
    if spec.weights is None:
        raise UserError(f"models.{spec.model}: engine {spec.engine} needs a source.")
    if spec.engine == "llamacpp":
        arguments = {"model": str(spec.weights), "alias": spec.model, "port": port, **spec.options}
        return [sys.executable, "-m", "errata.inference.llamacpp", json.dumps(arguments)]
    # `vllm serve` looks for a distribution named vllm; the CPU build has another name
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(spec.weights), "--served-model-name", spec.model]
    # each completion then says how many of its prompt tokens were in the prefix cache
    command += ["--host", "127.0.0.1", "--port", str(port), "--enable-prompt-tokens-details"]
    if spec.trust_remote_code:
        command.append("--trust-remote-code")
    # vLLM's own GPTQ kernels are for 4 and 8 bits
    kernels = {} if checkpoints.gptq_bits(spec.weights) in (None, 4, 8) else {"quantization": "humming"}
    for name, value in {**kernels, **spec.options}.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            command.append(flag)
        elif isinstance(value, dict):
            command += [flag, json.dumps(value)]
        elif value is not None and value is not False:
            command += [flag, str(value)]
    return command


def _endpoint(spec: ServerSpec) -> Server:
    if not spec.base_url:
        raise UserError(f"models.{spec.model}: engine endpoint needs base_url.")
    # copied keys often have a line end or a blank around them; a server without keys takes any key
    key = os.environ.get(spec.api_key_env, "").strip() or "none"
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(
            f"the environment variable {spec.api_key_env} contains no key that can be sent: it has a blank or "
            "a line end in it, or a character that is not ASCII. Put the key alone into it."
        )
    return Server(spec.base_url, key, spec.model)


class _NotReady(Exception):
    """The server gave no completion.

    Attributes:
        may_load: it sent an HTTP error, which servers do while they load their model.
    """

    def __init__(self, reason: str, *, may_load: bool = False) -> None:
        super().__init__(reason)
        self.may_load = may_load


async def _await_ready(server: Server, spec: ServerSpec) -> str | None:
    """Wait for a completion of the right model; return the model's name in it.

    A health check is not enough, see "Honest figures" in the README.
    """
    deadline = time.monotonic() + spec.ready_timeout
    pause = _FIRST_PAUSE
    async with server.connect() as connection:
        while True:
            if server.process is not None and server.process.poll() is not None:
                raise server.obituary()
            try:
                return await _try_completion(connection, server, spec)
            except _NotReady as error:
                reason, may_load = str(error), error.may_load
            if server.process is None and not may_load:
                raise UserError(
                    f"{server.base_url}: no OpenAI-compatible server answers there ({reason}){_via(connection)}. "
                    "Start it, or fix base_url in the model's configuration."
                )
            if time.monotonic() > deadline:
                raise UserError(
                    f"the server of {server.model} gave no completion within {spec.ready_timeout:.0f} s ({reason}). "
                    f"Raise ready_timeout in the model's configuration.{_tail(server.log)}"
                )
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, 1.5 * pause)


async def _try_completion(connection: Connection, server: Server, spec: ServerSpec) -> str | None:
    """Check the list of models and ask for one token; return the model's name in the completion.

    Raises:
        _NotReady: no completion came.
        UserError: another model is served, the key was refused, or the model cannot chat.
    """
    models = await _ask(connection, server, spec)
    try:
        served = [str(model["id"]) for model in models["data"]]
    except (KeyError, TypeError) as error:
        raise _NotReady("it sent no list of models") from error
    if server.model not in served:
        raise UserError(
            f"{server.base_url}: serves {', '.join(served) or 'no model'}, not {server.model}. "
            "Set served_name in the model's configuration, or ask the right server."
        )
    question = {"model": server.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    answer = await _ask(connection, server, spec, question)
    try:
        if answer["choices"]:
            return answer.get("model") or None
    except (AttributeError, KeyError, TypeError) as error:
        raise _NotReady("it sent no completion") from error
    raise _NotReady("its answer contains no choice")


async def _ask(connection: Connection, server: Server, spec: ServerSpec, question: object = None) -> Any:
    """The server's JSON: its list of models, or its answer to a question."""
    try:
        if question is None:
            reply = await connection.get("models", _FIRST_COMPLETION_SECONDS)
        else:
            body = json.dumps(question).encode()
            reply = await connection.post("chat/completions", body, _FIRST_COMPLETION_SECONDS)
    except TimeoutError as error:
        raise _NotReady(f"no answer within {_FIRST_COMPLETION_SECONDS:.0f} s") from error
    except NoReply as error:
        raise _NotReady(str(error)) from error
    # The key is right for our own server. Whatever refuses it is another server on our port, and ours will soon end.
    if reply.status in {401, 403} and server.process is None:
        raise UserError(
            f"{server.base_url}: the key was refused{_via(connection)}. Put the right one into the environment "
            f"variable {spec.api_key_env}."
        )
    if reply.status in {400, 422}:
        raise UserError(
            f"{server.base_url}: {server.model} refuses a plain question ({reply.error}). "
            "Most often the model has no chat template: take an instruction-tuned one."
        )
    if reply.status != 200:
        raise _NotReady(reply.error, may_load=reply.status != 404)
    try:
        return json.loads(reply.content)
    except ValueError as error:
        raise _NotReady(f"its answer is no JSON: {error}") from error


def _via(connection: Connection) -> str:
    return f", asked through the proxy {connection.proxy}" if connection.proxy else ""


def _port(wanted: int | None) -> int:
    with socket.socket() as probe:
        # as servers do, so that lingering connections of an earlier run do not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError as error:
            raise UserError(
                f"port {wanted} is in use ({error.strerror}). Stop the program that uses it, or leave `port` out of "
                "the model's configuration to get a free one."
            ) from error
        return int(probe.getsockname()[1])


def _tail(log: Path | None) -> str:
    if log is None:
        return ""
    return "\n".join([f" The end of {log}:", *(f"  | {line}" for line in tail(log).splitlines())])
