"""The history of a training's runs: their time, and runs that are killed again and again."""

import json
from pathlib import Path

import pytest

from errata.core.errors import UserError
from errata.training.runs import MAX_KILLS, RunEnd, RunHistory, TrainingTime


def test_killed_again_and_again_at_the_same_step(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    for _ in range(MAX_KILLS):
        RunHistory(path).begin(20)
    with pytest.raises(UserError, match=rf"{MAX_KILLS} runs in a row started after step 20(.|\n)*delete {path}"):
        RunHistory(path).begin(20)
    RunHistory(path).begin(30)  # a checkpoint was saved meanwhile
    for _ in range(5):
        history = RunHistory(path)
        history.begin(30)
        history.end(30, RunEnd.FAILED, TrainingTime(1.0))  # the user has seen the reason
    assert [json.loads(line)["why"] for line in path.read_text().splitlines()] == [""] * 4 + ["failed"] * 5


def test_runs_add_up_and_unknown_times_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    assert RunHistory(path).training_time == TrainingTime(0.0, at_least=True)
    for start, time in ((0, TrainingTime(20.0)), (2, TrainingTime(30.5))):
        history = RunHistory(path)
        history.begin(start)
        history.end(start + 2, RunEnd.TERMINATED, time)
    assert RunHistory(path).training_time == TrainingTime(50.5)
    RunHistory(path).begin(4)
    assert RunHistory(path).training_time == TrainingTime(50.5, at_least=True), "its time is not measured yet"
    RunHistory(path).measure_last(lambda start: TrainingTime(3.0 + start, at_least=True))
    RunHistory(path).measure_last(lambda _: TrainingTime(99.0))  # measured already: by now the log may be cut
    assert RunHistory(path).training_time == TrainingTime(57.5, at_least=True)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[1])
    assert RunHistory(path).training_time == TrainingTime(30.5, at_least=True), "the line of the first run was deleted"
    path.write_text('{"start": 0, "end": 3, "why": "finished"}\n')
    assert RunHistory(path).training_time == TrainingTime(0.0, at_least=True), "early versions did not write it"


def test_lines_keep_their_keys(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    history = RunHistory(path)
    history.begin(0)
    begun = ["start", "end", "why", "began", "host", "job"]
    assert list(json.loads(path.read_text())) == begun
    history.end(4, RunEnd.FINISHED, TrainingTime(2.5))
    (line,) = map(json.loads, path.read_text().splitlines())
    assert list(line) == [*begun, "ended", "seconds", "at_least"]
    assert (line["why"], line["job"], line["seconds"], line["at_least"]) == ("finished", None, 2.5, False)


def test_a_line_that_is_no_run(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text('{"end": 3}\n')
    with pytest.raises(UserError, match=r"a line lacks 'start'\. Delete the file"):
        RunHistory(path)
