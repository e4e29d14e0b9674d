"""Step answer against a scripted server: its requests, its output, and what it never asks again."""

import subprocess
import sys
from typing import Any

import pytest

from asking import Done, StepRunner
from errata.asking import prompts
from errata.data.records import Problem
from helpers import PROMPTS, indexed, problem, read_jsonl, write_jsonl
from servers import Start


def letters(done: Done) -> list[str | None]:
    return [row["answer"] for row in done.rows]


# --- answer


def test_a_line_of_answers_contains_prompt_and_completion(steps: StepRunner, scripted: Start) -> None:
    record = problem("张{problem}", "A", None, text="甲比乙大。{options}")
    write_jsonl(steps.data, indexed(record))
    server = scripted(rules=[{"match": "Question 0", "replies": [{"content": "想一想。\n因此答案是：B"}]}])
    done = steps.answer(
        server.base_url, prompt=PROMPTS / "zh" / "answer.txt", max_tokens=77, temperature=0.5, top_p=0.9, seed=3
    )
    parsed = Problem.from_record(indexed(record)[0])
    template = prompts.read(PROMPTS / "zh" / "answer.txt")
    asked = [template.render(parsed, question) for question in parsed.questions]
    first, second = done.rows
    assert first.pop("seconds") >= 0
    assert first == {
        "id": "张{problem}",
        "question": 0,
        "template": template.digest,
        "prompt": asked[0],
        "completion": "想一想。\n因此答案是：B",
        "answer": "B",
        "expected": "A",
        "correct": False,
        "prompt_tokens": len(asked[0]),
        "completion_tokens": 12,
        "finish_reason": "stop",
        "model": "m",
    }
    assert (second["expected"], second["correct"], second["answer"]) == (None, None, "A"), "an unlabelled question"
    assert done.summary["template"] == template.digest
    assert done.summary["questions"] == 2
    assert done.summary["correct"] == 0
    assert done.summary["reused"] == 0
    # the texts were sent unchanged, braces included
    sent = sorted(server.seen(), key=lambda request: asked.index(request["prompt"]))
    assert [request["prompt"] for request in sent] == asked
    assert "甲比乙大。{options}" in asked[0]
    for request in sent:
        assert (request["model"], request["max_tokens"], request["temperature"], request["top_p"]) == (
            "m",
            77,
            0.5,
            0.9,
        )
    assert sent[0]["seed"] != sent[1]["seed"]


def test_answers_are_in_the_order_of_the_data_and_concurrency_is_bounded(steps: StepRunner, scripted: Start) -> None:
    names = [f"p{number}" for number in range(12)]
    write_jsonl(steps.data, indexed(*(problem(name, "A", "B") for name in names)))
    slow = [
        {"match": f"of p{number}?", "replies": [{"content": "The answer is B", "delay": 0.02 * (number % 3)}]}
        for number in (1, 5, 9)
    ]
    server = scripted(rules=[*slow, {"match": "", "replies": [{"content": "The answer is A", "delay": 0.05}]}])
    done = steps.answer(server.base_url, concurrency=4)
    assert [(row["id"], row["question"]) for row in done.rows] == [(name, index) for name in names for index in (0, 1)]
    assert [row["answer"] for row in done.rows if row["id"] in {"p1", "p5", "p9"}] == ["B"] * 6
    assert max(request["under_way"] for request in server.seen()) == 4


def test_questions_of_one_problem_follow_each_other_and_its_text_comes_first(
    steps: StepRunner, scripted: Start
) -> None:
    records = indexed(*(problem(name, "A", "B", "C") for name in ("p", "q", "r")))
    write_jsonl(steps.data, records)
    reply = {"content": "The answer is A", "usage": {"prompt_tokens_details": {"cached_tokens": 60}}}
    server = scripted(rules=[{"match": "Question", "replies": [reply]}])
    done = steps.answer(server.base_url, concurrency=1)
    prompts = [request["prompt"] for request in server.seen()]
    assert [prompt.split("The text of ")[1][0] for prompt in prompts] == list("pppqqqrrr")
    assert all(prompt.index("The text of ") < prompt.index("Question ") for prompt in prompts)
    assert done.summary["cached_tokens"] == 9 * 60
    assert done.summary["saturated"] > 0.5


@pytest.mark.parametrize(
    "trouble",
    [
        [{"status": 429, "error": "slow down"}],
        [{"status": 500}, {"status": 503}],
        [{"drop": True}],
        [{"status": 500}, {"status": 429}, {"drop": True}],
    ],
    ids=["429", "500s", "dropped", "all"],
)
def test_temporary_trouble_is_waited_out(
    steps: StepRunner, scripted: Start, monkeypatch: pytest.MonkeyPatch, trouble: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr("errata.inference.client._PAUSE", 0.01)
    write_jsonl(steps.data, indexed(problem("p", "B"), problem("q", "A")))
    server = scripted(rules=[{"match": "of p?", "replies": [*trouble, {"content": "The answer is B"}]}])
    done = steps.answer(server.base_url)
    assert letters(done) == ["B", "A"]
    assert len(read_jsonl(steps.journal)) == 2


FAILURES = {
    "an error of the server": ({"status": 500, "error": "CUDA error"}, "CUDA error"),
    "refused": ({"status": 400, "error": "the prompt is too long"}, "the prompt is too long"),
    "too large": ({"status": 413, "error": "large"}, "large"),
    "a web page": ({"body": "<html>Bad gateway</html>", "type": "text/html"}, "no JSON"),
    "half a JSON": ({"body": '{"choices": ['}, "no JSON"),
    "a list": ({"body": "[]"}, "no completion"),
    "no choices": ({"body": "{}"}, "no completion"),
    "empty choices": ({"body": '{"choices": []}'}, "no completion"),
    "null choice": ({"body": '{"choices": [null]}'}, "no completion"),
    "no message": ({"body": '{"choices": [{}]}'}, "no completion"),
    "a number for text": ({"content": 7}, "no completion"),
}


@pytest.mark.parametrize(("reply", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_question_that_fails_does_not_stop_the_others_and_is_asked_again(
    steps: StepRunner, scripted: Start, reply: dict[str, Any], reason: str
) -> None:
    write_jsonl(steps.data, indexed(problem("p", "B"), problem("q", "A"), problem("r", "A")))
    # a fault of the question is final; what may be temporary trouble of the server is tried five times
    tries = 1 if reply.get("status") in (400, 413) else 5
    server = scripted(rules=[{"match": "of q?", "replies": [*[reply] * tries, {"content": "The answer is A"}]}])
    done = steps.answer(server.base_url, concurrency=1)
    assert letters(done) == ["A", None, "A"]
    assert (done.rows[1]["finish_reason"], done.rows[1]["completion"], done.rows[1]["correct"]) == ("error", "", False)
    assert reason in done.rows[1]["error"]
    assert done.summary["failed"] == 1
    again = steps.answer(server.base_url)
    assert letters(again) == ["A", "A", "A"]
    assert [request["prompt"].count("of q?") for request in server.seen()[2 + tries :]] == [1], (
        "only the failed one is asked again"
    )


def test_a_server_that_refuses_everything_is_an_error_and_no_result(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "B", "A")))
    server = scripted(rules=[{"match": "Question", "replies": [{"status": 400, "error": "context is 512 tokens"}]}])
    done = steps.answer(server.base_url)
    assert done.status == 1
    assert "refused every question" in done.message
    assert "context is 512 tokens" in done.message
    assert "max_tokens" in done.message


def test_an_empty_completion_is_unreadable_not_failed(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A")))
    server = scripted(rules=[{"match": "Question", "replies": [{"content": None}]}])
    done = steps.answer(server.base_url)
    assert (done.rows[0]["completion"], done.rows[0]["answer"], done.rows[0]["finish_reason"]) == ("", None, "stop")
    assert (done.summary["unreadable"], done.summary["failed"]) == (1, 0)


def test_a_truncated_completion_is_unreadable_whatever_it_contains(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A")))
    reply = {"content": "The answer is A. But wait,", "finish_reason": "length"}
    server = scripted(rules=[{"match": "Question", "replies": [reply]}])
    done = steps.answer(server.base_url)
    assert (done.rows[0]["answer"], done.rows[0]["correct"], done.rows[0]["finish_reason"]) == (None, False, "length")
    assert (done.summary["truncated"], done.summary["correct"]) == (1, 0)


def test_a_completion_cut_within_a_character_is_kept(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A")))
    server = scripted(rules=[{"match": "Question", "replies": [{"content": "The answer is A \ud83d"}]}])
    done = steps.answer(server.base_url)
    assert letters(done) == ["A"]
    server.stop()
    assert steps.answer(server.base_url).rows == done.rows


def test_a_second_run_asks_nothing_and_needs_no_server(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A", "B"), problem("q", "C")))
    server = scripted()
    done = steps.answer(server.base_url)
    assert len(server.seen()) == 3
    server.stop()
    again = steps.answer(server.base_url, concurrency=2, request_timeout=5, ready_timeout=1)
    assert again.rows == done.rows
    assert again.summary["reused"] == 3
    assert again.summary["completion_tokens"] == done.summary["completion_tokens"], "metrics cover old rows too"


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0.1}, {"max_tokens": 99}, {"top_p": 0.5}, {"seed": 2}, {"prompt": PROMPTS / "zh" / "answer.txt"}],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_setting_asks_again_and_changing_it_back_asks_nothing(
    steps: StepRunner, scripted: Start, change: dict[str, Any]
) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A", "B")))
    server = scripted()
    steps.answer(server.base_url)
    steps.answer(server.base_url, **change)
    assert len(server.seen()) == 4
    steps.answer(server.base_url)
    assert len(server.seen()) == 4


def test_only_new_and_changed_questions_are_asked(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A"), problem("q", "A")))
    server = scripted()
    steps.answer(server.base_url)
    write_jsonl(steps.data, indexed(problem("new", "A"), problem("q", "B"), problem("p", "A", text="Another text.")))
    done = steps.answer(server.base_url)
    assert [row["id"] for row in done.rows] == ["new", "q", "p"]
    asked = {name for request in server.seen()[2:] for name in ("new", "p", "q") if f"of {name}?" in request["prompt"]}
    assert asked == {"new", "p"}
    assert len(server.seen()) == 4
    # a corrected label changes the verdict without a request
    assert [row["correct"] for row in done.rows] == [True, False, True]


def test_an_interrupted_run_continues(steps: StepRunner, scripted: Start) -> None:
    names = [f"p{number}" for number in range(6)]
    write_jsonl(steps.data, indexed(*(problem(name, "A") for name in names)))
    refused = {"status": 401, "error": "the key has expired"}
    server = scripted(rules=[{"match": "of p3?", "replies": [refused, {"content": "The answer is C"}]}])
    broken = steps.answer(server.base_url, concurrency=1)
    assert broken.status == 1
    assert "the key was refused (HTTP 401: the key has expired)" in broken.message
    assert "run again" in broken.message
    assert "Traceback" not in broken.message
    assert len(read_jsonl(steps.journal)) == 3
    done = steps.answer(server.base_url, concurrency=1)
    assert letters(done) == ["A", "A", "A", "C", "A", "A"]
    assert done.summary["reused"] == 3
    asked = [request["prompt"] for request in server.seen()]
    assert [sum(f"of {name}?" in prompt for prompt in asked) for name in names] == [1, 1, 1, 2, 1, 1]


def test_a_full_disk_ends_the_run_and_keeps_what_was_finished(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(*(problem(f"p{number}", "A") for number in range(20))))
    server = scripted()
    # a limit on file sizes stands in for a full disk
    program = (
        "import resource, sys\nfrom errata.__main__ import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))\nsys.exit(main(sys.argv[1:]))\n"
    )
    command = steps.command("answer", server.base_url, concurrency=2)
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True)
    assert done.returncode == 1
    assert "journal.jsonl: cannot write (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
    kept = len(read_jsonl(steps.journal))
    assert 0 < kept < 20
    full = steps.answer(server.base_url)
    assert (len(full.rows), full.summary["reused"]) == (20, kept)


# --- unsuitable endpoints, reported before any question is asked


def test_an_endpoint_that_is_down_is_reported_at_once(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A")))
    server = scripted()
    server.stop()
    done = steps.answer(server.base_url)
    assert done.status == 1
    assert f"{server.base_url}: no OpenAI-compatible server answers there" in done.message
    assert "fix base_url" in done.message


def test_another_models_endpoint_is_refused(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A")))
    server = scripted(model="someone-elses")
    done = steps.answer(server.base_url)
    assert done.status == 1
    assert "serves someone-elses, not m" in done.message
    assert "served_name" in done.message
    assert not server.started()


def test_a_wrong_key_is_reported_with_the_variable(
    steps: StepRunner, scripted: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A")))
    server = scripted(key="right")
    monkeypatch.setenv("MY_KEY", "wrong")
    done = steps.answer(server.base_url, api_key_env="MY_KEY")
    assert done.status == 1
    assert "the key was refused" in done.message
    assert "MY_KEY" in done.message
    assert "wrong" not in done.message
    monkeypatch.setenv("MY_KEY", "right")
    assert letters(steps.answer(server.base_url, api_key_env="MY_KEY")) == ["A"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ({"models": {"body": "<html>hello</html>", "type": "text/html"}}, "no OpenAI-compatible server answers there"),
        ({"models": {"body": "{"}}, "no OpenAI-compatible server answers there"),
        ({"models": {"status": 404}}, "no OpenAI-compatible server answers there"),
        ({"models": {"status": 403}}, "the key was refused"),
        (
            {"rules": [{"match": "Hello", "replies": [{"status": 400, "error": "no chat template"}]}]},
            "no chat template",
        ),
        ({"rules": [{"match": "Hello", "replies": [{"body": '{"choices": []}'}]}]}, "contains no choice"),
        ({"rules": [{"match": "Hello", "replies": [{"status": 503, "error": "loading"}]}]}, "within 1 s"),
    ],
    ids=["web page", "half a JSON", "404", "403", "no chat template", "no choice", "never ready"],
)
def test_an_endpoint_that_cannot_answer_is_reported_before_any_question(
    steps: StepRunner, scripted: Start, script: dict[str, Any], message: str
) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A")))
    server = scripted(**script)
    done = steps.answer(server.base_url, ready_timeout=1)
    assert done.status == 1
    assert message in done.message
    assert not server.seen()


def test_an_endpoint_that_is_still_loading_is_waited_for(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A")))
    server = scripted(rules=[{"match": "Hello", "replies": [{"status": 503}, {"content": "Hi"}]}])
    assert letters(steps.answer(server.base_url)) == ["A"]


def test_faults_of_files_are_reported_before_the_server_is_asked(steps: StepRunner, scripted: Start) -> None:
    server = scripted()
    done = steps.answer(server.base_url)
    assert done.status == 1
    assert "data.jsonl: cannot read" in done.message
    write_jsonl(steps.data, indexed(problem("p", "A")))
    steps.journal.mkdir()
    done = steps.answer(server.base_url)
    assert done.status == 1
    assert "journal.jsonl: cannot write" in done.message
    assert not server.started()
