"""Parts of answer and retry with llama.cpp's real server on the real model: three servers answer as one does."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from steps import Steps, ordering

from helpers import copy_project, indexed, read_jsonl, write_jsonl

pytestmark = pytest.mark.slow

MODEL = Path("results/smollm2-135m")
# With one request at a time and nothing kept of earlier prompts, a completion depends on its request alone.
ALONE = {"concurrency": 1, "server-options": json.dumps({"context": 512, "parallel": 1, "cache": False})}


def in_parts(steps: Steps, of: int, **flags: Any) -> bytes:
    """Run a step in parts and gather them; give its lines without times."""
    step = flags.get("step", "answer")
    folder = steps.folder / f"{step}-{of}"
    parts = [folder / f"{step}.{number}-of-{of}" for number in range(1, of + 1)]
    for number, name in enumerate(parts, 1):
        files = {"journal": f"{name}.journal", "output": f"{name}.jsonl", "summary": f"{name}.json"}
        status, output = steps.finish(part=f"{number}/{of}", **ALONE, **files, **flags)
        assert status == 0, output
        steps.nothing_is_left()
    gathered = folder / "gathered.jsonl"
    if of > 1:
        of_what = ["--answers", flags["answers"]] if step == "retry" else ["--data", steps.data]
        words = [*of_what, "--parts", *(f"{name}.jsonl" for name in parts)]
        words += ["--summaries", *(f"{name}.json" for name in parts)]
        words += ["--output", gathered, "--summary", folder / "gathered.json"]
        subprocess.run([sys.executable, "-m", "errata", "gather", *map(str, words)], check=True)
    else:
        Path(f"{parts[0]}.jsonl").rename(gathered)
    return re.sub(rb'"seconds": [0-9.]+', b"", gathered.read_bytes())


def test_three_servers_answer_and_retry_exactly_as_one_does(steps: Steps) -> None:
    write_jsonl(steps.data, indexed(*(ordering(number, 2) for number in range(4))))
    answers = [in_parts(steps, of) for of in (1, 3)]
    assert answers[0].count(b"\n") == 8
    assert answers[0] == answers[1]
    wrong = {"answers": steps.folder / "answer-3" / "gathered.jsonl", "attempts": 2, "hedging": 0, "temperature": 0.8}
    retries = [in_parts(steps, of, step="retry", **wrong) for of in (1, 3)]
    assert retries[0].count(b"\n") > 1, "a model this small gets things wrong"
    assert retries[0] == retries[1]


@pytest.mark.usefixtures("environment")
def test_the_workflow_in_shards_and_then_in_one_asks_nothing_twice(tmp_path: Path) -> None:
    smaller = Path(__file__).with_name("pipeline.yaml").read_text().replace("train: 10, test: 6", "train: 6, test: 4")
    configuration = tmp_path / "smaller.yaml"
    configuration.write_text(smaller)
    checkout = copy_project(tmp_path / "errata", configuration)
    targets = [f"{MODEL}/retries/self.jsonl", f"{MODEL}/scores/base/test.json"]
    results = ["answers/train.jsonl", "answers/test.jsonl", "retries/self.jsonl", "scores/base/test.jsonl"]

    def run(shards: int) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, Any]]]:
        command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", "--config"]
        done = subprocess.run(
            [*command, f"generate={{shards: {shards}}}", "--", *targets], cwd=checkout, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        summaries = [name.replace(".jsonl", ".summary.json") for name in results]
        return (
            {name: read_jsonl(checkout / MODEL / name) for name in results},
            {name: json.loads((checkout / MODEL / name).read_text()) for name in summaries},
        )

    rows, summaries = run(3)
    assert [len(each["parts"]) for each in summaries.values()] == [3] * 4
    assert all(each["wall_seconds"] > 0 for each in summaries.values())
    assert summaries["answers/train.summary.json"]["questions"] == len(rows["answers/train.jsonl"]) > 8
    score = json.loads((checkout / MODEL / "scores/base/test.json").read_text())
    assert score["seconds"] == summaries["answers/test.summary.json"]["wall_seconds"]
    journals = sorted(path.name for path in (checkout / MODEL / "journal").iterdir())
    assert journals == [
        f"{step}.{part}-of-3.jsonl"
        for step in ("answer-base-test", "answer-base-train", "retry-self")
        for part in (1, 2, 3)
    ]
    assert not list((checkout / MODEL / "answers/parts").glob("*")), "parts go once they are gathered"
    again, summaries = run(1)
    assert again == rows
    assert [each["requests"] for each in summaries.values()] == [0] * 4
