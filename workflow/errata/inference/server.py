"""A model server that lives as long as the step that needs it, and leaves no process behind."""

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from errata.core.errors import UserError
from errata.core.processes import running, tail
from errata.models import checkpoints

# Of this environment, what a server of ours is not given: it may run code that came with its model, and asks nobody.
WITHHELD = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY"}


class ServerTrouble(UserError):
    """A server ended or gives nothing any more; one of our own can be started anew, see `errata.inference.session`."""


@dataclass(frozen=True)
class ServerSpec:
    """What to serve and how.

    Attributes:
        engine: `llamacpp`, `vllm` or `endpoint`.
        model: the name that requests and `/v1/models` use.
        weights: GGUF file (llamacpp) or checkpoint folder (vllm); None for an endpoint.
        options: engine options as the configuration gives them: for vllm its command line flags without dashes
            (`true` is a bare flag), for llamacpp `parallel`, `context` (tokens a slot) and `threads`.
        port: a fixed port, or None for a free one.
        base_url: of an endpoint that already runs, e.g. "http://127.0.0.1:8000/v1".
        api_key_env: environment variable that holds the endpoint's key.
        ready_timeout: seconds until the first completion must have come.
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
    """A server that has answered. `process` is None for an endpoint, which is not ours to stop.

    `answers_as` is how it names the model in its completions, if it does: an endpoint's alias may stand for a version.
    """

    base_url: str
    api_key: str
    model: str
    answers_as: str | None = None
    log: Path | None = None
    process: "subprocess.Popen[bytes] | None" = None

    async def died(self) -> None:
        """Return when the server's process has ended; never for an endpoint."""
        while self.process is None or self.process.poll() is None:
            await asyncio.sleep(0.2)

    def obituary(self) -> ServerTrouble:
        """The error of a dead server: its exit status and the end of its log."""
        status = self.process.poll() if self.process else None
        return ServerTrouble(f"the server of {self.model} ended (exit status {status}).{_tail(self.log)}")


@contextmanager
def serving(spec: ServerSpec, log: Path, extra: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Start a server, wait for a real completion of the right model, and stop it when the block ends.

    Args:
        log: the server's output is appended to it.
        extra: environment variables of the server alone.

    Raises:
        UserError: the engine is not installed, the port is taken, the server died or did not answer in time,
            or another model answered; with the end of the log.
    """
    if spec.engine == "endpoint":
        server = _endpoint(spec)
        yield replace(server, answers_as=_await_ready(server, spec))
        return
    port = _port(spec.port)
    key = secrets.token_urlsafe(24)
    environment = {name: value for name, value in os.environ.items() if name not in WITHHELD}
    environment |= {"VLLM_API_KEY": key, "ERRATA_API_KEY": key, "HF_HUB_OFFLINE": "1", **(extra or {})}
    # llama.cpp's threads spin while they wait for each other; beside another busy process that costs ten times
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    log.parent.mkdir(parents=True, exist_ok=True)
    with running(_command(spec, port), log, environment=environment, patience=10.0) as process:
        server = Server(f"http://127.0.0.1:{port}/v1", key, spec.model, log=log, process=process)
        yield replace(server, answers_as=_await_ready(server, spec))


def _command(spec: ServerSpec, port: int) -> list[str]:
    if spec.weights is None:
        raise UserError(f"models.{spec.model}: engine {spec.engine} needs a source.")
    if spec.engine == "llamacpp":
        arguments = {"model": str(spec.weights), "alias": spec.model, "port": port, **spec.options}
        return [sys.executable, "-m", "errata.inference.llamacpp", json.dumps(arguments)]
    # `vllm serve` asks for a distribution named vllm, which the CPU build is not
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(spec.weights), "--served-model-name", spec.model]
    # the prefix cache's hits are told with each completion
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
    return Server(spec.base_url, os.environ.get(spec.api_key_env, "none"), spec.model)


def _await_ready(server: Server, spec: ServerSpec) -> str | None:
    """Wait until the right model has given one completion, and give the name that it stands under there.

    A health check would not do, see readiness in the README.
    """
    import openai  # half a second, which a step that has nothing to ask does without

    deadline = time.monotonic() + spec.ready_timeout
    reason: Exception
    pause = 0.1
    # a proxy of the environment may be the way to an endpoint, never to a server on this machine
    http = openai.DefaultHttpxClient(trust_env=server.process is None)
    with openai.OpenAI(
        base_url=server.base_url, api_key=server.api_key, max_retries=0, timeout=120.0, http_client=http
    ) as client:
        while True:
            if server.process is not None and server.process.poll() is not None:
                raise server.obituary()
            try:
                served = [model.id for model in client.models.list()]
                if server.model not in served:
                    raise UserError(
                        f"{server.base_url}: serves {', '.join(served) or 'no model'}, not {server.model}. "
                        "Set served_name in the model's configuration, or ask the right server."
                    )
                response = client.chat.completions.create(
                    model=server.model, messages=[{"role": "user", "content": "Hello"}], max_tokens=1
                )
                if response.choices:
                    return response.model or None
                reason = ValueError("its answer holds no choice")
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                # to our own server the key is right: what answers is another one, and ours will end for want of a port
                if server.process is None:
                    raise UserError(
                        f"{server.base_url}: the key was refused. Put the right one into the environment "
                        f"variable {spec.api_key_env}."
                    ) from error
                reason = error
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                raise UserError(
                    f"{server.base_url}: {server.model} refuses a plain question ({error}). "
                    "Most often it is a model without a chat template: take an instruction-tuned one."
                ) from error
            # the openai client checks no types: what came may be a web page
            except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
                reason = error
            answers = isinstance(reason, openai.APIStatusError) and not isinstance(reason, openai.NotFoundError)
            if server.process is None and not answers:
                raise UserError(
                    f"{server.base_url}: no OpenAI-compatible server answers there ({reason}). "
                    "Start it, or mend base_url in the model's configuration."
                )
            if time.monotonic() > deadline:
                raise UserError(
                    f"the server of {server.model} gave no completion within {spec.ready_timeout:.0f} s ({reason}). "
                    f"Raise ready_timeout in the model's configuration.{_tail(server.log)}"
                )
            time.sleep(pause)
            pause = min(1.0, 1.5 * pause)


def _port(wanted: int | None) -> int:
    with socket.socket() as probe:
        # as servers bind it, so that connections of an earlier run that linger do not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError as error:
            raise UserError(
                f"port {wanted} is in use ({error.strerror}). Stop what uses it, or leave `port` out of the model's "
                "configuration to get a free one."
            ) from error
        return int(probe.getsockname()[1])


def _tail(log: Path | None) -> str:
    if log is None:
        return ""
    return "\n".join([f" The end of {log}:", *(f"  | {line}" for line in tail(log).splitlines())])
