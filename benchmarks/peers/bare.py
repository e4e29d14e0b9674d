"""A bare loop over prompts, by AsyncOpenAI or by aiohttp, as a careful user would write it in an afternoon.

Prompts are lines {"prompt", ...}; each completion is added to its line. A semaphore limits the requests in flight, and
one pool has as many connections. The seconds from the first request to the last answer are printed.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Ask = Callable[[str], Awaitable[tuple[str, int]]]


async def by_openai(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    import openai

    async with openai.AsyncOpenAI(base_url=arguments.base_url, api_key=_key()) as client:

        async def ask(prompt: str) -> tuple[str, int]:
            reply = await client.chat.completions.create(**_body(arguments, prompt))
            return reply.choices[0].message.content or "", reply.usage.completion_tokens if reply.usage else 0

        await _ask_all(ask, rows, arguments.concurrency)


async def by_aiohttp(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    import aiohttp

    url, headers = f"{arguments.base_url}/chat/completions", {"Authorization": f"Bearer {_key()}"}
    pool = aiohttp.TCPConnector(limit=arguments.concurrency)
    async with aiohttp.ClientSession(connector=pool, headers=headers, timeout=aiohttp.ClientTimeout(600)) as client:

        async def ask(prompt: str) -> tuple[str, int]:
            async with client.post(url, json=_body(arguments, prompt)) as reply:
                reply.raise_for_status()
                answer = await reply.json()
                return answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]

        await _ask_all(ask, rows, arguments.concurrency)


def _key() -> str:
    return os.environ.get("OPENAI_API_KEY", "none")


def _body(arguments: argparse.Namespace, prompt: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": arguments.model, "messages": messages, "max_tokens": arguments.max_tokens, "temperature": 0.0}


async def _ask_all(ask: Ask, rows: list[dict[str, Any]], concurrency: int) -> None:
    slots = asyncio.Semaphore(concurrency)

    async def one(row: dict[str, Any]) -> None:
        async with slots:
            row["completion"], row["completion_tokens"] = await ask(row["prompt"])

    start = time.monotonic()
    await asyncio.gather(*map(one, rows))
    print(time.monotonic() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=["openai", "aiohttp"])
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", default="scripted")
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--concurrency", type=int, default=256)
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.prompts.read_text(encoding="utf-8").splitlines()]
    asyncio.run((by_openai if arguments.client == "openai" else by_aiohttp)(arguments, rows))
    arguments.output.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
