"""An OpenAI-compatible server that answers by a script, in a process of its own: `python servers.py SCRIPT.json`.

It also stands in for vLLM's own server, see `stand_in`: the process is then started and stopped by the code under test.

A script: {"model": name, "key": null or the only key let in, "rules": [{"match": text in the prompt (all its turns, one
below the other), "replies": [reply, ...]}]}. The first rule that matches counts; its replies are given in turn, also
over the lives of a server that is started anew, the last one for ever. A reply: {"content", "finish_reason", "model",
"usage" (beside the counts)}, or {"status", "error"}, or {"body", "type"} as they are, or {"drop": true} (half an
answer, then the connection is closed), or {"stall": true} (half an answer, then nothing), or {"die": exit status} (the
process ends). With each: {"delay" (seconds), "headers"}.

What came stands in `seen.jsonl` beside the script; the requests whose connection the client closed before it had its
reply stand in `closed.jsonl`.
"""

import json
import os
import select
import socket
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


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    script: ClassVar[dict[str, Any]] = {}
    folder: Path
    lock = threading.Lock()
    given: ClassVar[dict[int, int]] = {}
    under_way: ClassVar[Counter[str]] = Counter()

    def log_message(self, format: str, *args: Any) -> None:
        print(format % args, flush=True)

    def do_GET(self) -> None:
        if self.refused():
            return
        if "models" in self.script:
            self.reply(self.script["models"], "models")
            return
        self.send(200, json.dumps({"object": "list", "data": [{"id": self.script["model"], "object": "model"}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        # one turn is the prompt itself; of several each may be matched
        prompt = "\n".join(message["content"] for message in body["messages"])
        with self.lock:
            self.under_way[prompt] += 1
            reply = self.next_reply(prompt)
            counts = {"under_way": self.under_way.total(), "of_this_prompt": self.under_way[prompt]}
            self.note("seen", {**body, "prompt": prompt, **counts, "time": time.monotonic()})
        left = self.left_within(reply.get("delay", 0))
        with self.lock:
            # before the reply, which the client may follow up at once
            self.under_way[prompt] -= 1
        if left:
            self.note("closed", {"prompt": prompt, "seed": body["seed"]})
        else:
            self.reply(reply, prompt)

    def note(self, name: str, row: dict[str, Any]) -> None:
        with (self.folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def left_within(self, seconds: float) -> bool:
        """Wait so long; whether the client closed the connection meanwhile."""
        if not seconds:
            return False
        readable, _, _ = select.select([self.connection], [], [], seconds)
        self.close_connection = bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        return self.close_connection

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
        # what the client waits before it asks again
        for name, value in ({"retry-after-ms": "5"} if headers is None else headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def serve(script: Path, host: str = "127.0.0.1", port: int = 0, **override: Any) -> None:
    """Serve until killed; the port stands in the file `port` beside the script."""
    Handler.script = {"model": "m", "rules": [], **json.loads(script.read_text(encoding="utf-8")), **override}
    Handler.folder = script.parent
    # an earlier life gave the first replies
    seen = script.parent / "seen.jsonl"
    for row in seen.read_text(encoding="utf-8").splitlines() if seen.exists() else []:
        Handler.next_reply(json.loads(row)["prompt"])
    listener = Listener((host, port), Handler)
    port_file = script.parent / "port"
    port_file.with_suffix(".new").write_text(str(listener.server_port))
    port_file.with_suffix(".new").rename(port_file)
    listener.serve_forever()


class ScriptedServer:
    """A scripted server in a process of its own.

    Args:
        folder: for its script and for what it has seen.
        start: False writes the script only, for a stand-in that the code under test starts.
        script: see the module's text.
    """

    def __init__(self, folder: Path, *, start: bool = True, **script: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.script = folder / "script.json"
        self.script.write_text(json.dumps(script), encoding="utf-8")
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        if start:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    [sys.executable, __file__, str(self.script)], stdout=log, stderr=subprocess.STDOUT
                )
            self.port  # noqa: B018 - waits until it listens

    @property
    def port(self) -> int:
        deadline = time.monotonic() + 30
        while not (self.folder / "port").exists():
            if time.monotonic() > deadline or (self.process and self.process.poll() is not None):
                raise RuntimeError(f"the scripted server did not start: {self.log.read_text()}")
            time.sleep(0.01)
        return int((self.folder / "port").read_text())

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def seen(self) -> list[dict[str, Any]]:
        """The requests for completions in the order they came, without those that ask whether the server is ready."""
        return [row for row in self._noted("seen") if row["prompt"] != READY_PROMPT]

    def closed(self) -> list[dict[str, Any]]:
        """Those of them whose connection the client closed before it had its reply: prompt and seed."""
        return self._noted("closed")

    def _noted(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / f"{name}.jsonl"
        rows = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(row) for row in rows]

    def started(self) -> bool:
        """Whether anybody asked whether it is ready."""
        return (self.folder / "seen.jsonl").exists()

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


# Starts a scripted server for the time of a test, see the fixture `scripted`.
Start = Callable[..., ScriptedServer]


def stand_in(folder: Path, script: Path) -> Path:
    """Write a package `vllm` whose server is the scripted one; put the folder given back on PYTHONPATH.

    The stand-in takes vLLM's flags and key, writes its command line to `command.json` beside the script, and starts a
    child of its own, whose process id stands in `child`, as vLLM starts its engine.
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
