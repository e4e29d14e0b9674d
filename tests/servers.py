"""An OpenAI-compatible server that answers by a script, in a process of its own: `python servers.py SCRIPT.json`.

It also stands in for vLLM's own server, see `stand_in`; the code under test then starts and stops the process.

A script: {"model": name, "key": the only accepted key (null: any), "certificate": PEM file with its key, for HTTPS,
"rules": [{"match": text in the prompt (all its turns, one below the other), "replies": [reply, ...]}]}. The first rule
that matches is used. Its replies are given in turn, also across restarts of the server; the last one is repeated.

A reply: {"content", "finish_reason", "model", "usage" (added to the counts)}, or {"status", "error"}, or {"body",
"type"} as they are, or {"drop": true} (half an answer, then the connection is closed), or {"stall": true} (half an
answer, then nothing), or {"die": exit status} (the process ends). Any reply may have {"delay": seconds, "until": name
of a file in the script's folder that must exist first, "headers"}.

The requests for completions are in `seen.jsonl` beside the script. Those whose connection the client closed before it
had its reply are in `closed.jsonl`. The headers of all requests are in `headers.jsonl`.
"""

import json
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

READY_PROMPT = "Hello"
# Seconds that a test waits for a process on a busy machine before it fails.
PATIENCE = 60.0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    script: ClassVar[dict[str, Any]] = {}
    folder: Path
    lock = threading.Lock()
    given: ClassVar[dict[int, int]] = {}
    in_flight: ClassVar[Counter[str]] = Counter()

    def log_message(self, format: str, *args: Any) -> None:
        print(format % args, flush=True)

    def do_GET(self) -> None:
        self.note_headers()
        if self.refused():
            return
        if "models" in self.script:
            self.reply(self.script["models"], "models")
            return
        self.send(200, json.dumps({"object": "list", "data": [{"id": self.script["model"], "object": "model"}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.note_headers()
        if self.refused():
            return
        # several turns are joined, so that each of them may be matched
        prompt = "\n".join(message["content"] for message in body["messages"])
        with self.lock:
            self.in_flight[prompt] += 1
            reply = self.next_reply(prompt)
            counts = {"under_way": self.in_flight.total(), "of_this_prompt": self.in_flight[prompt]}
            self.note("seen", {**body, "prompt": prompt, **counts, "time": time.monotonic()})
        left = self.left_within(reply.get("delay", 0)) or self.left_before(reply.get("until"))
        with self.lock:
            # before the reply: the client may send its next request at once
            self.in_flight[prompt] -= 1
        if left:
            self.note("closed", {"prompt": prompt, "seed": body["seed"]})
        else:
            self.reply(reply, prompt)

    def note_headers(self) -> None:
        with self.lock:
            self.note("headers", {"path": self.path, **{name.lower(): text for name, text in self.headers.items()}})

    def note(self, name: str, row: dict[str, Any]) -> None:
        with (self.folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def left_within(self, seconds: float) -> bool:
        """Wait so long; return whether the client closed the connection meanwhile."""
        if not seconds:
            return False
        readable, _, _ = select.select([self.connection], [], [], seconds)
        self.close_connection = bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        return self.close_connection

    def left_before(self, name: str | None) -> bool:
        """Wait for a file; return whether the client closed the connection meanwhile."""
        while name and not (self.folder / name).exists():
            if self.left_within(0.01):
                return True
        return False

    @classmethod
    def next_reply(cls, prompt: str) -> dict[str, Any]:
        for number, rule in enumerate(cls.script["rules"]):
            if rule["match"] in prompt:
                turn = cls.given.get(number, 0)
                cls.given[number] = turn + 1
                chosen: dict[str, Any] = rule["replies"][min(turn, len(rule["replies"]) - 1)]
                return chosen
        return {"content": "The answer is A"}

    def reply(self, reply: dict[str, Any], prompt: str) -> None:
        if "die" in reply:
            print("fatal: the engine ran out of memory", flush=True)
            os._exit(reply["die"])
        if reply.get("drop") or reply.get("stall"):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"id": "x", "choices": [')
            if reply.get("stall"):
                self.left_within(1000)
            self.close_connection = True
        elif "status" in reply:
            error = {"message": reply.get("error", "no"), "type": "t"}
            self.send(reply["status"], json.dumps({"error": error}), headers=reply.get("headers"))
        elif "body" in reply:
            self.send(200, reply["body"], reply.get("type", "application/json"))
        else:
            content = reply["content"]
            choice = {
                "index": 0,
                "finish_reason": reply.get("finish_reason", "stop"),
                "message": {"role": "assistant", "content": content},
            }
            counts = {"prompt_tokens": len(prompt), "completion_tokens": len(str(content or ""))}
            answer = {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": reply.get("model", "m"),
                "choices": [choice],
                "usage": {**counts, **reply.get("usage", {})},
            }
            self.send(200, json.dumps(answer))

    def refused(self) -> bool:
        key = self.script.get("key")
        if key is None or self.headers["Authorization"] == f"Bearer {key}":
            return False
        self.send(401, json.dumps({"error": {"message": "wrong key", "type": "t"}}))
        return True

    def send(
        self, status: int, body: str, kind: str = "application/json", headers: dict[str, str] | None = None
    ) -> None:
        content = body.encode("utf-8", "surrogatepass")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        # the client's pause before it asks again
        for name, value in ({"retry-after-ms": "5"} if headers is None else headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def serve(script: Path, host: str = "127.0.0.1", port: int = 0, **override: Any) -> None:
    """Serve until killed; the port is in the file `port` beside the script."""
    Handler.script = {"model": "m", "rules": [], **json.loads(script.read_text(encoding="utf-8")), **override}
    Handler.folder = script.parent
    # the first replies were given before a restart
    seen = script.parent / "seen.jsonl"
    for row in seen.read_text(encoding="utf-8").splitlines() if seen.exists() else []:
        Handler.next_reply(json.loads(row)["prompt"])
    listener = Listener((host, port), Handler)
    if certificate := Handler.script.get("certificate"):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    port_file = script.parent / "port"
    port_file.with_suffix(".new").write_text(str(listener.server_port))
    port_file.with_suffix(".new").rename(port_file)
    listener.serve_forever()


class ScriptedServer:
    """A scripted server in a process of its own.

    Args:
        folder: for its script and its notes.
        start: False writes the script only, for a stand-in that the code under test starts.
        script: see the top of this file.
    """

    def __init__(self, folder: Path, *, start: bool = True, **script: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.script = folder / "script.json"
        self.script.write_text(json.dumps(script), encoding="utf-8")
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._scheme = "https" if "certificate" in script else "http"
        if start:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    [sys.executable, __file__, str(self.script)], stdout=log, stderr=subprocess.STDOUT
                )
            self.port  # noqa: B018 - waits until it listens

    @property
    def port(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while not (self.folder / "port").exists():
            if time.monotonic() > deadline or (self.process and self.process.poll() is not None):
                raise RuntimeError(f"the scripted server did not start: {self.log.read_text()}")
            time.sleep(0.01)
        return int((self.folder / "port").read_text())

    @property
    def base_url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/v1"

    def seen(self) -> list[dict[str, Any]]:
        """The requests for completions in the order of their arrival, without those of the readiness check."""
        return [row for row in self._notes("seen") if row["prompt"] != READY_PROMPT]

    def closed(self) -> list[dict[str, Any]]:
        """Prompt and seed of the requests whose connection the client closed before it had its reply."""
        return self._notes("closed")

    def headers(self) -> list[dict[str, str]]:
        """The path and headers of all requests, those of the readiness check included; names in lower case."""
        return self._notes("headers")

    def _notes(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / f"{name}.jsonl"
        rows = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(row) for row in rows]

    def started(self) -> bool:
        """Whether the readiness check asked for a completion."""
        return (self.folder / "seen.jsonl").exists()

    def release(self, name: str) -> None:
        """Let the replies go that wait `until` a file of this name exists."""
        (self.folder / name).touch()

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


# Starts a scripted server for the time of a test, see the fixture `scripted`.
Start = Callable[..., ScriptedServer]


def stand_in(folder: Path, script: Path) -> Path:
    """Write a package `vllm` whose server is the scripted one; put the returned folder on PYTHONPATH.

    The stand-in takes vLLM's flags and key, and writes its command line to `command.json` beside the script. As vLLM
    starts its engine, it starts a child of its own; their process ids are in the files `pid` and `child`.
    """
    package = folder / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for level in (package, package.parent, package.parent.parent):
        (level / "__init__.py").touch()
    (package / "api_server.py").write_text(
        "import argparse, json, os, pathlib, subprocess, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import servers\n"
        f"script = pathlib.Path({str(script)!r})\n"
        "(script.parent / 'command.json').write_text(json.dumps(sys.argv[1:]))\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        "(script.parent / 'child').write_text(str(child.pid))\n"
        "(script.parent / 'pid').write_text(str(os.getpid()))\n"
        "parser = argparse.ArgumentParser()\n"
        "for flag in ('--model', '--served-model-name', '--host'): parser.add_argument(flag)\n"
        "parser.add_argument('--port', type=int)\n"
        "known, _ = parser.parse_known_args()\n"
        "print('engine of', known.model, flush=True)\n"
        "servers.serve(script, known.host, known.port, key=os.environ['VLLM_API_KEY'])\n",
        encoding="utf-8",
    )
    return folder


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
