"""Benchmark 4: the throughput of a real server, llama.cpp, asked by step answer and by a bare loop.

The bare aiohttp loop keeps as many requests in flight and asks the same questions in two orders. The order of the file
is the plain saturating load. The other order is in rounds: the first questions of as many problems as there are slots,
then the second ones, and so on. Like Errata's own order, it finds each problem in the server's prefix cache. Every run
starts a new server, so that no run finds the prompts of another in the cache.
"""

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import questions
from base_pass import write_prompts
from measure import ERRATA, HERE, PEERS, PROMPT, ROOT, alternate, command, errata, machine, median, scratch, table

MODEL = "smollm2"
PLAIN = "bare aiohttp loop"
Run = tuple[float, int, float, float]


@contextmanager
def llamacpp(weights: Path, parallel: int, log: Path) -> Iterator[str]:
    """Start llama.cpp's server as Errata does, wait until it is ready, and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {"model": str(weights), "alias": MODEL, "port": port, "parallel": parallel, "context": 1024}
    # as in errata.inference.server: threads that spin while they wait for each other slow down a busy machine
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow"), "OMP_WAIT_POLICY": "passive"}
    environment["ERRATA_API_KEY"] = os.environ["OPENAI_API_KEY"]
    with log.open("wb") as output:
        arguments = [ERRATA, "-m", "errata.inference.llamacpp", json.dumps(options)]
        with subprocess.Popen(arguments, stdout=output, stderr=subprocess.STDOUT, env=environment) as process:
            try:
                url = f"http://127.0.0.1:{port}"
                while not _healthy(url):
                    if process.poll() is not None:
                        sys.exit(f"the server ended:\n{log.read_text()[-3000:]}")
                    time.sleep(0.2)
                yield url
            finally:
                process.terminate()


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def prompt_tokens(url: str) -> float:
    """Prompt tokens that the server processed, without those from its cache, by its own metrics."""
    request = urllib.request.Request(
        f"{url}/metrics", headers={"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        rows = dict(line.split() for line in reply.read().decode().splitlines() if not line.startswith("#"))
    return float(rows["llamacpp:prompt_tokens_total"])


def _in_rounds(prompts: Path, path: Path, slots: int) -> Path:
    """Write the prompts in rounds, see the top of this file."""
    rows = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
    place = {problem: number // slots for number, problem in enumerate(dict.fromkeys(row["problem"] for row in rows))}
    rows.sort(key=lambda row: (place[row["problem"]], row["question"]))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=ROOT / "results" / "smollm2-135m" / "base" / "model.gguf")
    parser.add_argument("--questions", type=int, default=96)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    if not arguments.weights.exists():
        sys.exit(f"{arguments.weights} is missing: give --weights FILE.gguf, or make it with `make demo`")
    os.environ["OPENAI_API_KEY"] = secrets.token_urlsafe(16)
    print(f"{machine('aiohttp')}\n", flush=True)
    sampling = ["--concurrency", str(arguments.concurrency), "--max-tokens", str(arguments.max_tokens)]
    with scratch() as folder:
        data = questions.write(folder / "questions.jsonl", arguments.questions)
        prompt_file = folder / "prompts.jsonl"
        write_prompts(data, prompt_file)

        def ours(number: int) -> Run:
            with llamacpp(arguments.weights, arguments.concurrency, folder / "server.log") as url:
                flags = [*sampling, "--prompt", PROMPT]
                cost, summary = errata("answer", data, folder / f"ours-{number}", f"{url}/v1", *flags, model=MODEL)
                return summary["wall_seconds"], summary["completion_tokens"], prompt_tokens(url), cost.cpu

        def bare(prompts: Path) -> Callable[[int], Run]:
            def run(number: int) -> Run:
                output, log = folder / f"bare-{number}.jsonl", folder / f"bare-{number}.log"
                with llamacpp(arguments.weights, arguments.concurrency, folder / "server.log") as url:
                    client = [PEERS / "python", HERE / "peers" / "bare.py", "aiohttp", "--prompts", prompts]
                    client += ["--output", output, "--base-url", f"{url}/v1", "--model", MODEL, *sampling]
                    cost = command(client, log)
                    rows = map(json.loads, output.read_text(encoding="utf-8").splitlines())
                    tokens = sum(row["completion_tokens"] for row in rows)
                    return float(log.read_text()), tokens, prompt_tokens(url), cost.cpu

            return run

        in_rounds = _in_rounds(prompt_file, folder / "in_rounds.jsonl", arguments.concurrency)
        clients = {PLAIN: bare(prompt_file), "the same loop in rounds": bare(in_rounds), "Errata, step answer": ours}
        results = alternate(clients, arguments.rounds)
    plain = median(tokens / seconds for seconds, tokens, _, _ in results[PLAIN])
    rows = []
    for name, runs in results.items():
        pace = [tokens / seconds for seconds, tokens, _, _ in runs]
        middle = [f"{median(column):.0f}" for column in zip(*runs, strict=True)]
        each = ", ".join(f"{value:.1f}" for value in pace)
        rows.append((name, *middle[:3], f"{float(middle[3]):.0f}", each, f"{100 * median(pace) / plain:.1f} %"))
    print(f"{arguments.questions} questions, concurrency {arguments.concurrency}, ", end="")
    print(
        f"at most {arguments.max_tokens} tokens; {arguments.rounds} alternating rounds, each on a server of its own\n"
    )
    header = ["client", "seconds", "completion tokens", "prompt tokens processed", "client's CPU, s"]
    print(table([*header, "tokens/s, each round", "of the plain load"], rows))


if __name__ == "__main__":
    main()
