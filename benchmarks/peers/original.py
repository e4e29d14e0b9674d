"""A client as the original's is described: 8 threads, a new OpenAI client a call, a pause after every wrong answer.

It asks each first-wrong question until right, at most as often as there are requests for it, and writes the outcome.
"""

import argparse
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai


def solve(case: dict[str, Any], base_url: str, pause: float) -> dict[str, Any]:
    """Ask a question until right; return how many answers were wrong, and whether one was right."""
    wrong = 0
    for body in case["bodies"]:
        reply = openai.OpenAI(base_url=base_url, api_key="none").chat.completions.create(**body)
        letter = re.search(r"answer is ([A-Z])", reply.choices[0].message.content or "")
        if letter and letter[1] == case["answer"]:
            break
        wrong += 1
        time.sleep(pause)
    return {"id": case["id"], "question": case["question"], "wrong": wrong, "right": wrong < len(case["bodies"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--pause", type=float, default=60.0, help="seconds after a wrong answer")
    parser.add_argument("--threads", type=int, default=8)
    arguments = parser.parse_args()
    cases = [json.loads(line) for line in arguments.requests.read_text(encoding="utf-8").splitlines()]
    with ThreadPoolExecutor(arguments.threads) as pool:
        rows = list(pool.map(lambda case: solve(case, arguments.base_url, arguments.pause), cases))
    arguments.output.write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
