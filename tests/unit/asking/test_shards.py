"""Gathered parts of answer and retry: the result of one job for any number of parts, and nothing is asked twice."""

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from asking import StepRunner, answer_row
from errata.__main__ import main
from errata.inference.journal import Journal
from helpers import PROMPTS, indexed, problem, read_jsonl, write_jsonl
from servers import READY_PROMPT, Handler, Listener, Start

PROBLEMS = indexed(*(problem(f"题{number}", *("ABCD"[: 1 + number % 3])) for number in range(7)))
QUESTIONS = sum(len(record["questions"]) for record in PROBLEMS)
# Figures that depend on the time and the place of the asking.
TIMES = {"wall_seconds", "server_seconds", "saturated", "parts"}


class Seeded(Handler):
    """A server whose reply depends on the request alone: prompt, sampling and seed."""

    script: ClassVar[dict[str, Any]] = {"model": "m"}
    asked: ClassVar[Counter[tuple[str, int]]] = Counter()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def note(self, name: str, row: dict[str, Any]) -> None:
        pass

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = json.loads(body)
        prompt = request["messages"][0]["content"]
        if prompt != READY_PROMPT:
            with self.lock:
                self.asked[prompt, request["seed"]] += 1
        digest = hashlib.sha256(body).digest()
        reply = {"content": f"解答：{'想' * (digest[1] % 9)}\u2028 The answer is {'ABCD'[digest[0] % 4]}"}
        self.reply(reply | {"usage": {"prompt_tokens_details": {"cached_tokens": digest[2]}}}, prompt)


class Sharded:
    """Runs a step in parts and gathers them. Each number of parts has its own folder; they share the journals."""

    def __init__(self, steps: StepRunner, base_url: str) -> None:
        self._asking, self.base_url = steps, base_url
        self.journals = steps.folder / "journals"
        write_jsonl(steps.data, PROBLEMS)

    def part(self, step: str, number: int, of: int, **flags: Any) -> int:
        name = f"{step}.{number}-of-{of}" if of > 1 else step
        folder = self._asking.folder / str(of)
        given: dict[str, Any] = {"output": folder / f"{name}.jsonl", "summary": folder / f"{name}.json"}
        given |= {"journal": self.journals / f"{name}.jsonl", "server_log": folder / f"{name}.log", "concurrency": 1}
        given |= {"part": f"{number}/{of}"} if of > 1 else {}
        if step == "retry":
            given |= {"answers": folder / "answer.jsonl", "hedging": 0, "temperature": 0.8}
        return main(self._asking.command(step, self.base_url, **given | flags))

    def gather(self, step: str, of: int) -> int:
        folder = self._asking.folder / str(of)
        names = [folder / f"{step}.{number}-of-{of}" for number in range(1, of + 1)]
        of_what = ["--answers", folder / "answer.jsonl"] if step == "retry" else ["--data", self._asking.data]
        words = [*of_what, "--parts", *(f"{name}.jsonl" for name in names)]
        words += ["--summaries", *(f"{name}.json" for name in names)]
        words += ["--output", folder / f"{step}.jsonl", "--summary", folder / f"{step}.json"]
        return main(["gather", *map(str, words)])

    def run(self, step: str, of: int, **flags: Any) -> tuple[bytes, dict[str, Any]]:
        """Run all parts and gather them; return the file and the summary, both without times."""
        assert [self.part(step, number, of, **flags) for number in range(1, of + 1)] == [0] * of
        assert of == 1 or self.gather(step, of) == 0
        folder = self._asking.folder / str(of)
        summary = json.loads((folder / f"{step}.json").read_text())
        rows = re.sub(rb'"seconds": [0-9.]+', b'"seconds": 0', (folder / f"{step}.jsonl").read_bytes())
        return rows, {name: value for name, value in summary.items() if name not in TIMES}

    def summary(self, step: str, of: int) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads((self._asking.folder / str(of) / f"{step}.json").read_text())
        return summary


@pytest.fixture
def sharded(steps: StepRunner) -> Iterator[Sharded]:
    Seeded.asked = Counter()
    listener = Listener(("127.0.0.1", 0), Seeded)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Sharded(steps, f"http://127.0.0.1:{listener.server_port}/v1")
    listener.shutdown()
    listener.server_close()
    thread.join()


def test_any_number_of_parts_gives_the_very_same_files(sharded: Sharded, tmp_path: Path) -> None:
    results = {}
    for of in (1, 2, 3, 5):
        # each number of parts asks everything
        sharded.journals = tmp_path / f"journals-{of}"
        results[of] = [sharded.run(step, of) for step in ("answer", "retry")]
    (answers, _), (retries, summary) = results[1]
    assert answers.count(b"\n") == QUESTIONS
    assert 0 < retries.count(b"\n") < QUESTIONS
    assert len(set(summary["solved_by_attempt"])) > 1, "attempts differ"
    for of in (2, 3, 5):
        assert results[of] == results[1]
    # and each sent exactly the same requests
    assert set(Seeded.asked.values()) == {4}
    assert [part["questions"] for part in sharded.summary("answer", 5)["parts"]] == [1 + 3, 2 + 1, 3, 1, 2]


def test_reflections_are_verified_in_any_number_of_parts_as_in_one(sharded: Sharded, tmp_path: Path) -> None:
    prompts = {"prompt": PROMPTS / "zh" / "reflect.txt", "conclude": PROMPTS / "zh" / "conclude.txt"}
    results = {}
    for of in (1, 3):
        sharded.journals = tmp_path / f"journals-{of}"
        sharded.run("answer", of)
        results[of] = sharded.run("retry", of, method="reflect", attempts=4, **prompts)
    assert results[3] == results[1]
    rows, summary = results[1]
    assert summary["method"] == "reflect"
    assert 0 < summary["solved"] < summary["questions"]
    assert b'"conclusion"' in rows


def test_nothing_is_asked_twice_when_the_number_of_parts_changes(sharded: Sharded) -> None:
    assert sharded.part("answer", 2, 3) == 0
    some = Seeded.asked.total()
    assert 0 < some < QUESTIONS
    # part 2 of 3 answered some of the questions of part 1 of 2
    sharded.part("answer", 1, 2)
    whole = sharded.run("answer", 1)
    assert (whole[1]["reused"] > some, whole[1]["requests"] > 0) == (True, True)
    sharded.run("retry", 1)
    asked = Seeded.asked.total()
    for of in (3, 2, 4):
        answers, summary = sharded.run("answer", of)
        assert (answers, summary["reused"], summary["requests"]) == (whole[0], QUESTIONS, 0)
        assert sharded.run("retry", of)[1]["requests"] == 0
        seconds = [sharded.summary("answer", number)["wall_seconds"] for number in (1, of)]
        assert seconds[0] == pytest.approx(seconds[1], abs=0.002)
    assert Seeded.asked.total() == asked == len(Seeded.asked)


def test_completions_of_a_sibling_are_used_while_it_is_being_written(sharded: Sharded) -> None:
    assert sharded.part("answer", 1, 2) == 0
    half = Seeded.asked.total()
    path = sharded.journals / "answer.1-of-2.jsonl"
    # another run is writing it
    with Journal(path, "whoever"), path.open("ab") as file:
        file.write(b'{"digest": "00')
        file.flush()
        before = path.read_bytes()
        assert sharded.run("answer", 1)[1]["reused"] == half
        assert path.read_bytes() == before
    assert Seeded.asked.total() == QUESTIONS


def test_a_broken_line_of_a_sibling_is_reported(sharded: Sharded, capsys: pytest.CaptureFixture[str]) -> None:
    sharded.journals.mkdir()
    broken = sharded.journals / "answer.1-of-2.jsonl"
    broken.write_text("no journal\n")
    assert sharded.part("answer", 1, 1) == 1
    assert f"{broken}:1: broken line" in capsys.readouterr().err


def test_the_journals_of_parts_are_shown_and_compacted(sharded: Sharded, capsys: pytest.CaptureFixture[str]) -> None:
    sharded.run("answer", 2)
    paths = [str(sharded.journals / f"answer.{number}-of-2.jsonl") for number in (1, 2)]
    capsys.readouterr()
    assert main(["journal", "show", *paths]) == 0
    shown = re.findall(r"jsonl: (\d+) completions", capsys.readouterr().out)
    assert sum(map(int, shown)) == QUESTIONS
    before = [Path(path).read_bytes() for path in paths]
    assert main(["journal", "compact", *paths]) == 0
    assert [Path(path).read_bytes() for path in paths] == before
    assert sharded.run("answer", 1)[1]["requests"] == 0


def test_a_budget_of_tokens_is_divided_over_the_parts(sharded: Sharded) -> None:
    sharded.run("answer", 1)
    sharded.run("answer", 2)
    # without any completion so far, one is expected to reach max_tokens
    limits = {"attempts": 50, "token_budget": 301, "max_tokens": 30}
    whole = sharded.run("retry", 1, **limits)[1]
    assert whole["skipped"] + whole["exhausted"] + whole["solved"] == whole["questions"]
    sharded.journals = sharded.journals.with_name("others")
    halves = sharded.run("retry", 2, **limits)[1]
    spent = [part["completion_tokens"] for part in sharded.summary("retry", 2)["parts"]]
    assert all(0 < each <= 151 for each in spent)
    assert halves["completion_tokens"] == sum(spent)


def test_a_part_without_problems_needs_no_server(steps: StepRunner) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A")))
    done = steps.answer("http://127.0.0.1:9/v1", part="2/2")
    assert (done.status, done.rows, done.summary["questions"]) == (0, [], 0)
    write_jsonl(steps.answers, [answer_row("p", "B")])
    done = steps.retry("http://127.0.0.1:9/v1", part="2/2")
    assert (done.status, done.rows, done.summary["questions"]) == (0, [], 0)
    assert "nothing to learn from" not in done.message, "other parts may have questions to learn from"


def test_a_part_whose_questions_are_all_refused_is_no_error(steps: StepRunner, scripted: Start) -> None:
    write_jsonl(steps.data, indexed(problem("p", "A"), problem("q", "A")))
    server = scripted(rules=[{"match": "of p?", "replies": [{"status": 400, "error": "the prompt is too long"}]}])
    done = steps.answer(server.base_url, part="1/2")
    assert (done.status, done.summary["failed"]) == (0, 1)
    write_jsonl(steps.answers, done.rows)
    again = steps.retry(server.base_url, part="1/2")
    assert (again.status, again.summary["failed"]) == (0, 1)
    assert read_jsonl(steps.journal) == []


def test_an_invalid_part_is_refused_with_the_flags(steps: StepRunner, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(steps.command("answer", "http://127.0.0.1:9/v1", part="3/2"))
    assert "argument --part: '3/2' is not a part" in capsys.readouterr().err
