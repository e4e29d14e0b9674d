"""Step sample against a scripted server: several completions of every question, none requested twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from asking import Done, StepRunner
from errata.__main__ import main
from errata.asking import prompts
from errata.data.records import Problem
from helpers import PROMPTS, indexed, problem, read_jsonl, write_jsonl
from servers import Start

TEMPLATE = PROMPTS / "en" / "answer.txt"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errata.inference.client._PAUSE", 0.01)


def sample(steps: StepRunner, base_url: str, samples: int, **flags: Any) -> Done:
    return steps._run("sample", base_url, prompt=TEMPLATE, samples=samples, temperature=0.7, **flags)


def test_every_question_is_asked_as_often_as_wanted_each_time_with_its_own_seed(
    steps: StepRunner, scripted: Start
) -> None:
    records = indexed(problem("p", "A", None), problem("q", "B"))
    write_jsonl(steps.data, records)
    replies = [{"content": "The answer is A"}, {"content": "Hm."}, {"content": "So B", "finish_reason": "length"}]
    server = scripted(rules=[{"match": "Question 0 of p", "replies": replies}, {"match": "", "replies": replies[:1]}])
    done = sample(steps, server.base_url, 3, concurrency=1, top_p=0.9)
    first = done.rows[0]
    template = prompts.read(TEMPLATE)
    parsed = Problem.from_record(records[0])
    completions = first.pop("completions")
    assert first == {
        "id": "p",
        "question": 0,
        "template": template.digest,
        "prompt": template.render(parsed, parsed.questions[0]),
        "expected": "A",
        "model": "m",
    }
    assert [each["answer"] for each in completions] == ["A", None, None], "a truncated one has no answer"
    assert [each["finish_reason"] for each in completions] == ["stop", "stop", "length"]
    assert set(completions[0]) == {
        "completion",
        "answer",
        "prompt_tokens",
        "completion_tokens",
        "finish_reason",
        "seconds",
    }
    assert [(row["id"], row["question"], row["expected"]) for row in done.rows[1:]] == [("p", 1, None), ("q", 0, "B")]
    summary = done.summary
    assert (summary["questions"], summary["samples"], summary["unreadable"], summary["truncated"]) == (3, 9, 0, 1)
    assert (summary["failed"], summary["template"]) == (0, template.digest)
    assert summary["completion_tokens"] == sum(s["completion_tokens"] for s in completions) + sum(
        s["completion_tokens"] for row in done.rows[1:] for s in row["completions"]
    )
    seen = server.seen()
    asked = [request["prompt"].rsplit("Question ", 1)[1][:6] for request in seen]
    assert asked == ["0 of p"] * 3 + ["1 of p"] * 3 + ["0 of q"] * 3, "the samples of a question follow each other"
    assert len({request["seed"] for request in seen}) == 9
    assert {(request["temperature"], request["top_p"]) for request in seen} == {(0.7, 0.9)}


def test_samples_of_earlier_runs_are_kept_and_failed_ones_are_requested_again(
    steps: StepRunner, scripted: Start
) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A"), problem("q", "B")))
    broken = {"status": 500, "error": "CUDA error"}
    replies = [{"content": "The answer is A"}, *[broken] * 5, {"content": "The answer is B"}]
    server = scripted(rules=[{"match": "of p?", "replies": replies}, {"match": "", "replies": [{"content": "(B)"}]}])
    done = sample(steps, server.base_url, 2, concurrency=1)
    failed = done.rows[0]["completions"][1]
    assert (failed["answer"], failed["finish_reason"], "CUDA error" in failed["error"]) == (None, "error", True)
    assert (done.summary["failed"], done.summary["failed_samples"], done.summary["reused"]) == (0, 1, 0)
    before = len(server.seen())
    # with more samples, the first ones are the same
    more = sample(steps, server.base_url, 3)
    assert [each["answer"] for each in more.rows[0]["completions"]] == ["A", "B", "B"]
    assert more.rows[0]["completions"][0] == done.rows[0]["completions"][0]
    assert more.summary["reused"] == 3
    assert len(server.seen()) == before + 3
    server.stop()
    again = sample(steps, server.base_url, 3)
    assert (again.rows, again.summary["requests"]) == (more.rows, 0), "no server is needed"


def test_a_server_that_refuses_everything_is_an_error(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "B")))
    server = scripted(rules=[{"match": "Question", "replies": [{"status": 400, "error": "context is 512 tokens"}]}])
    done = sample(steps, server.base_url, 2)
    assert done.status == 1
    assert "refused every question (" in done.message
    assert "context is 512 tokens" in done.message
    assert "--samples 0" in sample(steps, server.base_url, 0).message


def test_parts_are_gathered_to_the_very_same_samples(steps: StepRunner, scripted: Start, tmp_path: Path) -> None:
    write_jsonl(steps.data, indexed(*(problem(name, "A", "B") for name in "pqr")))
    # one sample of r is refused, so r has others
    rules = [
        {"match": "0 of r", "replies": [{"status": 400}, {"content": "(A)"}]},
        {"match": "", "replies": [{"content": "The answer is B"}]},
    ]
    server = scripted(rules=rules)
    names = [tmp_path / f"part-{number}" for number in (1, 2)]
    for number, name in enumerate(names, 1):
        files = {"output": f"{name}.jsonl", "summary": f"{name}.json", "journal": f"{name}.journal.jsonl"}
        command = steps.command("sample", server.base_url, prompt=TEMPLATE, samples=2, part=f"{number}/2", **files)
        assert main([*command, "--concurrency", "1"]) == 0
    words = ["--data", steps.data, "--parts", *(f"{name}.jsonl" for name in names)]
    words += ["--summaries", *(f"{name}.json" for name in names)]
    words += ["--output", tmp_path / "samples.jsonl", "--summary", tmp_path / "samples.json"]
    assert main(["gather", *map(str, words)]) == 0
    rows = read_jsonl(tmp_path / "samples.jsonl")
    assert [(row["id"], row["question"], len(row["completions"])) for row in rows] == [
        (name, number, 2) for name in "pqr" for number in (0, 1)
    ]
    summary = json.loads((tmp_path / "samples.json").read_text())
    assert (summary["questions"], summary["samples"], summary["failed"], summary["failed_samples"]) == (6, 12, 0, 1)
