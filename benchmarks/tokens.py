"""Benchmark 3: tokens per solved question. Errata's step retry against sampling a fixed n for every wrong question.

The server has a fixed number of slots and needs some time for every token. All clients send the same requests (see
wrong.py) and get the same answers, so with at most n attempts Errata solves exactly the questions that n samples solve.
Tokens are therefore compared at equal solved questions, which is checked. Tokens are counted by the server, those of
cancelled requests included; seconds are its request phase.
"""

import argparse
import asyncio
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
from measure import Scripted, errata, machine, scratch, scripted, table
from wrong import FLAGS, first_answers, requests, solved


async def sample_all(base_url: str, cases: list[dict[str, Any]], concurrency: int) -> set[tuple[str, int]]:
    """Send all requests, as many at once as the server has slots; return the questions with a right sample."""
    right = set()
    queue = iter([(case, body) for case in cases for body in case["bodies"]])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def work() -> None:
            for case, body in queue:
                async with session.post(f"{base_url}/chat/completions", json=body) as reply:
                    text = (await reply.json())["choices"][0]["message"]["content"]
                letter = re.search(r"answer is ([A-Z])", text)
                if letter and letter[1] == case["answer"]:
                    right.add((case["id"], case["question"]))

        await asyncio.gather(*(work() for _ in range(concurrency)))
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1415)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--token-seconds", type=float, default=0.002)
    parser.add_argument("--tokens", type=int, nargs=2, default=(40, 400), help="shortest and longest completion")
    parser.add_argument("--samples", type=int, nargs="+", default=[4, 8, 16], help="fixed n to compare with")
    parser.add_argument("--hedgings", nargs="+", default=["0", "0.1"], help="values of --hedging")
    arguments = parser.parse_args()
    print(f"{machine('aiohttp')}\n", flush=True)
    rows: list[tuple[object, ...]] = []
    server_flags = ["--delay", 0, "--slots", arguments.slots, "--token-seconds", arguments.token_seconds]
    with scratch() as folder, scripted(*server_flags, "--tokens", *arguments.tokens) as server:
        data, answers = first_answers(folder, arguments.questions)
        for n in arguments.samples:
            cases = list(requests(data, answers, n))
            server.reset()
            right = asyncio.run(sample_all(server.base_url, cases, arguments.slots))
            fixed = server.reset()
            rows.append(_row(n, f"{n} samples of each", len(right), fixed, fixed, fixed))
            strict = None
            for hedging in arguments.hedgings:
                spent = until_right(folder, data, answers, server, n, hedging, arguments.slots)
                assert spent.pop("solved") == right, f"n = {n}, hedging {hedging}: not the same questions were solved"
                strict = strict or spent
                rows.append(_row(n, f"Errata, `--hedging {hedging}`", len(right), spent, fixed, strict))
    print(f"{len(cases)} first-wrong questions of {arguments.questions}, {arguments.slots} slots, ", end="")
    print(
        f"{arguments.token_seconds} s a token, completions of {arguments.tokens[0]} to {arguments.tokens[1]} tokens\n"
    )
    header = ["n", "client", "solved", "tokens", "a solved question", "of the fixed n's", "over strictly in turn"]
    print(table([*header, "cancelled", "seconds"], rows))


def until_right(
    folder: Path, data: Path, answers: Path, server: Scripted, attempts: int, hedging: str, slots: int
) -> dict[str, Any]:
    """Run Errata's step retry; return the server's metrics and, as `solved`, the solved questions."""
    flags = ["--answers", answers, "--attempts", attempts, "--concurrency", slots, *FLAGS]
    flags += ["--hedging", hedging]
    name = f"retry-{attempts}-{hedging}"
    errata("retry", data, folder / name, server.base_url, *flags)
    summary = json.loads((folder / name / "retry.json").read_text())
    metrics = server.reset()
    # Errata's count of finished requests must agree with the server's; those of cancelled ones it can only estimate
    if not metrics["cancelled"]:
        assert summary["completion_tokens"] == round(metrics["generated_tokens"]), (
            "Errata counted a different number of tokens"
        )
    return {**metrics, "solved": solved(folder / name / "retry.jsonl")}


def _row(n: int, name: str, right: int, spent: Any, fixed: Any, strict: Any) -> tuple[object, ...]:
    tokens = spent["generated_tokens"]
    return (
        n,
        name,
        right,
        f"{tokens:,.0f}",
        f"{tokens / right:,.0f}",
        f"{100 * tokens / fixed['generated_tokens']:.1f} %",
        "" if spent is fixed else f"{100 * (tokens / strict['generated_tokens'] - 1):+.1f} %",
        spent["cancelled"],
        f"{spent['request_seconds']:.1f}",
    )


if __name__ == "__main__":
    main()
