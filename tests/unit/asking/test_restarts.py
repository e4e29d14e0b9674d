"""A server of our own that breaks down in the middle of a run is restarted, a limited number of times."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from asking import answer_row
from engines import SLOW_REPLY, Prepare, finished, gone, pid, step, wait_for, words
from errata.__main__ import main
from helpers import read_jsonl, write_jsonl
from servers import PATIENCE, ScriptedServer

ANY = {"match": "Question", "replies": [SLOW_REPLY]}
HANG = {"content": "The answer is A", "delay": 1000}


def lives(folder: Path) -> int:
    """How often the server was started."""
    return (folder / "server.log").read_text().count("engine of")


def requests_for(server: ScriptedServer, id: str) -> int:
    return sum(f"of {id}?" in request["prompt"] for request in server.seen())


def test_a_server_that_dies_is_restarted_and_the_run_succeeds(
    tmp_path: Path, engine: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    server = engine(rules=[{"match": "of p10?", "replies": [{"die": 3}, {"die": 4}, SLOW_REPLY]}, ANY])
    assert main(words(tmp_path)) == 0
    output = capsys.readouterr().err
    assert "the server of m ended (exit status 3)" in output
    assert "the server of m ended (exit status 4)" in output
    assert output.count("started again") == 2
    assert "Traceback" not in output
    assert lives(tmp_path) == 3
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [(row["id"], row["answer"]) for row in rows] == [(f"p{number}", "A") for number in range(20)]
    assert requests_for(server, "p10") == 3
    # only the requests in flight at a death are sent again
    assert len(server.seen()) <= 20 + 2 * 4
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["failed"], summary["reused"]) == (0, 0)
    assert summary["wall_seconds"] > 0.5, "the time before the restarts counts too"
    gone(server)


def test_a_server_that_keeps_dying_ends_the_run_and_finished_completions_are_kept(
    tmp_path: Path, engine: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    server = engine(rules=[{"match": "of p10?", "replies": [{"die": 3}]}, ANY])
    assert main(words(tmp_path, "--restarts", "3")) == 1
    output = capsys.readouterr().err
    assert lives(tmp_path) == 4
    assert output.count("started again") == 3
    assert output.rstrip().endswith("  | fatal: the engine ran out of memory"), "the end of its log comes last"
    gone(server)
    assert not (tmp_path / "out.jsonl").exists()
    keys = [row["key"][0] for row in read_jsonl(tmp_path / "journal.jsonl")]
    assert "p10" not in keys
    assert len(keys) == len(set(keys)) >= 7


def test_progress_after_a_restart_counts_every_question_once(
    tmp_path: Path, engine: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    server = engine(rules=[{"match": "of p10?", "replies": [{"die": 3}, SLOW_REPLY]}, ANY])
    assert main(words(tmp_path)) == 0
    shown = [int(count) for count in re.findall(r"answer m: (\d+)/20", capsys.readouterr().err)]
    assert shown == sorted(shown)
    assert shown[-1] == 20
    gone(server)


def test_a_killed_server_is_restarted(tmp_path: Path, engine: Prepare) -> None:
    server = engine(rules=[ANY])
    with step(tmp_path) as running:
        wait_for(lambda: finished(tmp_path) >= 5)
        os.kill(pid(server), signal.SIGKILL)
        output, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, output
    assert "ended (exit status -9)" in output
    assert len(read_jsonl(tmp_path / "out.jsonl")) == finished(tmp_path) == 20
    assert len(server.seen()) <= 24
    gone(server)


@pytest.mark.parametrize("life", [1, 2])
def test_a_server_that_does_not_start_is_not_started_again(
    tmp_path: Path, engine: Prepare, capsys: pytest.CaptureFixture[str], life: int
) -> None:
    hello = {"match": "Hello", "replies": [*[{"content": "Hi"}] * (life - 1), {"die": 5}]}
    server = engine(rules=[hello, {"match": "of p10?", "replies": [{"die": 3}]}, ANY])
    assert main(words(tmp_path, "--restarts", "9")) == 1
    output = capsys.readouterr().err
    assert "the server of m ended (exit status 5)" in output
    assert "  | fatal: the engine ran out of memory" in output
    assert lives(tmp_path) == life
    gone(server)


def test_attempts_continue_after_a_restart_without_a_gap_or_a_repetition(tmp_path: Path, engine: Prepare) -> None:
    bad = {"content": "The answer is B", "delay": 0.05}
    rules = [
        {"match": "of p2?", "replies": [bad, {"die": 3}, bad, {**bad, "content": "The answer is A"}]},
        {"match": "of p5?", "replies": [bad, bad, bad, {"die": 3}, {**bad, "content": "The answer is A"}]},
    ]
    server = engine(rules=[*rules, {"match": "Question", "replies": [bad]}])
    command = words(tmp_path, "--temperature", "0.8", "--attempts", "4", "--hedging", "0", step="retry")
    answers = [answer_row(f"p{number}", "B", prompt=f"Question of p{number}?") for number in range(8)]
    write_jsonl(tmp_path / "answers.jsonl", answers)
    assert main([*command, "--answers", str(tmp_path / "answers.jsonl")]) == 0
    assert lives(tmp_path) == 3
    rows = {row["id"]: row for row in read_jsonl(tmp_path / "out.jsonl")}
    assert rows["p2"]["outcome"] == rows["p5"]["outcome"] == "solved"
    assert [len(rows[id]["attempts"]) for id in ("p0", "p2", "p5")] == [4, 3, 4]
    for row in rows.values():
        assert [attempt["attempt"] for attempt in row["attempts"]] == list(range(1, len(row["attempts"]) + 1))
    keys = [tuple(row["key"]) for row in read_jsonl(tmp_path / "journal.jsonl")]
    assert len(keys) == len(set(keys)) == sum(len(row["attempts"]) for row in rows.values())
    gone(server)


def test_questions_that_a_frozen_server_did_not_answer_are_asked_again_after_the_restart(
    tmp_path: Path, engine: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errata.inference.client._PAUSE", 0.01)
    server = engine(rules=[{"match": "Question", "replies": [*[SLOW_REPLY] * 2, *[HANG] * 20, SLOW_REPLY]}])
    assert main(words(tmp_path, "--request-timeout", "1")) == 0
    assert lives(tmp_path) == 2
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [row["answer"] for row in rows] == ["A"] * 20
    gone(server)


def test_a_stopped_step_does_not_wait_for_a_server_that_hangs(tmp_path: Path, engine: Prepare) -> None:
    server = engine(rules=[{"match": "Question", "replies": [*[SLOW_REPLY] * 6, HANG]}])
    with step(tmp_path) as running:
        wait_for(lambda: finished(tmp_path) >= 6 and len(server.seen()) == 10)
        running.terminate()
        output, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in output
    assert finished(tmp_path) == 6
    gone(server)
