"""First-wrong questions with the requests that Errata's step retry sends for them, for the clients of a comparison.

The seed of an attempt depends only on question and attempt, so every client that sends these requests gets the same
answers and solves the same questions.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import questions
from measure import MODEL, PROMPT, errata, scripted

from errata.asking import retry
from errata.data.records import Key
from errata.inference.session import Session

TEMPERATURE = 0.8
MAX_TOKENS = 1024
FLAGS = ("--temperature", TEMPERATURE, "--max-tokens", MAX_TOKENS)


def first_answers(folder: Path, number: int) -> tuple[Path, Path]:
    """A data file of so many questions, and Errata's first answers, of which some are wrong."""
    data = questions.write(folder / "questions.jsonl", number)
    with scripted("--delay", 0) as server:
        flags = ["--concurrency", 64, "--max-tokens", MAX_TOKENS, "--prompt", PROMPT]
        errata("answer", data, folder / "first", server.base_url, *flags)
    return data, folder / "first" / "answer.jsonl"


def requests(data: Path, answers: Path, attempts: int) -> Iterator[dict[str, Any]]:
    """Every first-wrong question with the bodies of all requests that may be sent for it."""
    parser = argparse.ArgumentParser()
    retry.add_arguments(parser)
    flags = ["--model", MODEL, "--server-log", "-", "--journal", "-", "--output", "-", "--summary", "-"]
    flags += ["--data", data, "--answers", answers, *FLAGS]
    session = Session.from_arguments(parser.parse_args(list(map(str, flags))))
    with answers.open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            if row["correct"]:
                continue
            message = {"role": "user", "content": row["prompt"]}
            key = Key(row["id"], row["question"])
            bodies = [
                {"model": MODEL, "messages": [message], **asdict(session.sampling(key, attempt))}
                for attempt in range(1, attempts + 1)
            ]
            yield {"id": row["id"], "question": row["question"], "answer": row["expected"], "bodies": bodies}


def solved(retries: Path) -> set[tuple[str, int]]:
    """The questions that step retry solved."""
    with retries.open(encoding="utf-8") as file:
        rows = list(map(json.loads, file))
    return {(row["id"], row["question"]) for row in rows if row["outcome"] == "solved"}
