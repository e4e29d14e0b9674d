"""Step gather: for any parts, the result is that of a single job; nothing is lost or counted twice."""

import argparse
import json
import tempfile
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import answer_row
from errata.__main__ import main
from errata.asking.gather import add_parts
from errata.core.errors import UserError
from errata.data.parts import Part
from errata.data.rows import OUTCOMES
from errata.data.summaries import parse_summary
from errata.inference.journal import siblings
from helpers import indexed, problem, write_jsonl

# problems with one to three questions each, whose answers are right (True) or wrong
DATA = st.lists(st.lists(st.booleans(), min_size=1, max_size=3), max_size=9)
SUMMARY = {"questions": 0, "failed": 0, "completion_tokens": 0, "wall_seconds": 0.0, "requests": 0, "saturated": None}


def summary(part: Part, **figures: Any) -> dict[str, Any]:
    return {**SUMMARY, "part": str(part), "asked_seconds": 0.0, "runs": [], **figures}


def retry_summary(part: Part, **figures: Any) -> dict[str, Any]:
    """The summary of a part of step retry: all figures but these are zero."""
    costs = {"prompt_tokens": 0, "cached_tokens": None, "cancelled": 0, "cancelled_tokens": 0}
    rejected = dict.fromkeys(("rejected_gives_away", "rejected_inconclusive", "rejected_no_solution"), 0)
    counts = {**dict.fromkeys(OUTCOMES, 0), **rejected, "attempts": 0, "right": 0, "reused": 0}
    texts = {"method": "self", "template": "abc"}
    return summary(part, **texts, **counts, tokens_per_solved=None, **costs) | figures


def gathered(*parts: dict[str, Any]) -> dict[str, Any]:
    """The sum of summaries."""
    return add_parts([parse_summary(part) for part in parts]).to_record()


def lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


class Gathering:
    """Files of parts, and the step that joins them."""

    def __init__(self, folder: Path, right: list[list[bool]]) -> None:
        self.folder = folder
        problems = [problem(f"题{number}", *("A" for _ in each)) for number, each in enumerate(right)]
        write_jsonl(folder / "data.jsonl", indexed(*problems))
        self.answers = [
            [self.row(f"题{number}", index, is_right) for index, is_right in enumerate(each)]
            for number, each in enumerate(right)
        ]
        (folder / "answers.jsonl").write_text(lines(chain.from_iterable(self.answers)))
        self.retries = [[{**row, "again": 1} for row in rows if not row["correct"]] for rows in self.answers]

    def row(self, id: str, question: int, correct: bool) -> dict[str, Any]:
        return answer_row(id, "A" if correct else "B", question=question, completion="\u2028 \ud83d\n 好")

    def part(self, part: Part, problems: list[list[dict[str, Any]]]) -> Path:
        """Write the output of one part."""
        rows = list(chain.from_iterable(part.take(problems)))
        path = self.folder / f"{part.number}.jsonl"
        path.write_text(lines(rows))
        (self.folder / f"{part.number}.json").write_text(json.dumps(summary(part, questions=len(rows))))
        return path

    def parts(self, of: int, problems: list[list[dict[str, Any]]]) -> list[Path]:
        return [self.part(Part(number, of), problems) for number in range(1, of + 1)]

    def run(self, parts: list[Path], what: str = "data", *more: str) -> int:
        summaries = [path.with_suffix(".json") for path in parts]
        words = ["--parts", *parts, "--summaries", *summaries, "--output", self.output, "--summary", self.summary]
        return main(["gather", f"--{what}", str(self.folder / f"{what}.jsonl"), *map(str, words), *more])

    @property
    def output(self) -> Path:
        return self.folder / "out.jsonl"

    @property
    def summary(self) -> Path:
        return self.folder / "out.json"


@settings(max_examples=18)
@given(DATA, st.integers(1, 6))
def test_parts_are_disjoint_whole_and_gather_to_what_one_job_writes(right: list[list[bool]], of: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        gathering = Gathering(Path(folder), right)
        again = [
            ("answers", gathering.retries, ["--about", "wrong"]),
            ("answers", gathering.answers, ["--about", "all"]),
        ]
        for what, problems, more in [("data", gathering.answers, []), *again]:
            whole = gathering.part(Part(1, 1), problems).read_bytes()
            assert gathering.run(gathering.parts(of, problems), what, *more) == 0
            assert gathering.output.read_bytes() == whole
            assert json.loads(gathering.summary.read_text())["questions"] == whole.count(b"\n")


@pytest.fixture
def gathering(tmp_path: Path) -> Gathering:
    return Gathering(tmp_path, [[True, False], [False], [True], [False, False]])


def test_missing_repeated_and_foreign_questions_are_all_reported_and_nothing_is_written(
    gathering: Gathering, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = gathering.parts(2, gathering.answers)
    whole = first.read_text().splitlines(keepends=True)
    first.write_text("".join(whole[1:]))
    foreign = json.dumps(gathering.row("other", 0, True))
    second.write_text(f"{second.read_text()}{whole[1]}{foreign}\n")
    assert gathering.run([first, second]) == 1
    message = capsys.readouterr().err
    assert f"{gathering.output}: 3 faults" in message
    assert "question 0 of problem '题0' is missing" in message
    assert f"{second}: question 1 of problem '题0' is also in {first}" in message
    assert f"{second}: question 0 of problem 'other' was not to be asked" in message
    assert "delete the parts and run again" in message
    assert not gathering.output.exists()
    assert not gathering.summary.exists()


def test_of_many_faults_the_first_are_reported(gathering: Gathering, capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(gathering.folder / "data.jsonl", indexed(*(problem(f"p{number}", "A") for number in range(50))))
    assert gathering.run(gathering.parts(2, gathering.answers)) == 1
    message = capsys.readouterr().err
    assert message.count("is missing") == 20
    assert "and 36 more" in message


def test_a_server_that_refused_everything_in_every_part_is_an_error(
    gathering: Gathering, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = gathering.parts(2, gathering.answers)
    for number, path in enumerate(parts, 1):
        figures = summary(Part(number, 2), questions=3, failed=3)
        path.with_suffix(".json").write_text(json.dumps(figures))
    assert gathering.run(parts) == 1
    message = capsys.readouterr().err
    assert "the server refused every question" in message
    assert f"delete {gathering.folder} and run again" in message
    # one answered question in any part makes it a result
    parts[0].with_suffix(".json").write_text(json.dumps(summary(Part(1, 2), questions=3, failed=2)))
    assert gathering.run(parts) == 0


def test_nothing_to_learn_from_is_reported_for_all_parts_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gathering = Gathering(tmp_path, [[True], [True, True]])
    assert gathering.run(gathering.parts(3, gathering.retries), "answers") == 0
    assert "nothing to learn from" in capsys.readouterr().err
    assert gathering.output.read_bytes() == b""


def test_figures_are_added_up_and_times_that_overlap_count_once() -> None:
    first = retry_summary(
        Part(1, 3),
        questions=4,
        solved=1,
        solved_by_attempt=[1, 0],
        completion_tokens=100,
        cached_tokens=None,
        cancelled_tokens=30,
        tokens_per_solved=100.0,
        requests=8,
        wall_seconds=10.0,
        saturated=1.0,
        asked_seconds=10.0,
        runs=[[1000.0, 1010.0]],
    )
    second = first | {
        "part": "2/3",
        "solved": 2,
        "solved_by_attempt": [0, 2],
        "completion_tokens": 50,
        "cached_tokens": 7,
        "cancelled_tokens": 12,
        "wall_seconds": 35.0,
        "saturated": 0.5,
        "asked_seconds": 30.0,
        # in an earlier run, and beside the first part
        "runs": [[500.0, 505.0], [1002.0, 1032.0]],
    }
    third = first | {
        "part": "3/3",
        **{"questions": 0, "solved": 0, "solved_by_attempt": [0, 0], "completion_tokens": 0, "tokens_per_solved": None},
        "cancelled_tokens": 0,
        **{"requests": 0, "wall_seconds": 0, "saturated": None, "asked_seconds": 0.0, "runs": []},
    }
    whole = {name: value for name, value in first.items() if name not in ("part", "asked_seconds", "runs")}
    assert gathered(first, second, third) == {
        **whole,
        "questions": 8,
        "failed": 0,
        "completion_tokens": 150,
        "wall_seconds": 37.0,
        "requests": 16,
        "saturated": 0.625,
        "solved": 3,
        "solved_by_attempt": [1, 2],
        "cached_tokens": 7,
        "cancelled_tokens": 42,
        "tokens_per_solved": 50.0,
        "server_seconds": 45.0,
        "parts": [
            {name: each[name] for name in ("part", "questions", "completion_tokens", "wall_seconds", "requests")}
            | {"saturated": each["saturated"]}
            for each in (first, second, third)
        ],
    }
    older = {name: value for name, value in first.items() if name != "cancelled_tokens"}
    assert gathered(older, second)["cancelled_tokens"] == 12, "an earlier version did not write this figure"
    nobody = gathered(third, third)
    assert (nobody["tokens_per_solved"], nobody["saturated"], nobody["cached_tokens"]) == (None, None, None)


def test_texts_that_parts_share_are_kept_and_parts_that_differ_are_an_error() -> None:
    parts = [retry_summary(Part(number, 3), template=digest) for number, digest in ((1, "abc"), (2, None), (3, "abc"))]
    assert (gathered(*parts)["method"], gathered(*parts)["template"]) == ("self", "abc")
    assert gathered(parts[1])["template"] is None
    with pytest.raises(UserError, match=r"different settings: template is abc and def.*Delete the parts"):
        gathered(*parts, retry_summary(Part(3, 3), template="def"))


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "1.0/2", "a/b", "²/3"])
def test_an_invalid_part_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a part; the second of four is 2/4"):
        Part.parse(text)


@given(st.integers(0, 10**9), st.integers(1, 50))
def test_the_shares_of_a_budget_add_up_and_differ_by_at_most_one(budget: int, of: int) -> None:
    shares = [Part(number, of).share(budget) for number in range(1, of + 1)]
    assert sum(shares) == budget
    assert max(shares) - min(shares) <= 1


def test_siblings_are_files_of_the_same_step_for_any_number_of_parts(tmp_path: Path) -> None:
    of_train = ["answer-base-train.jsonl", "answer-base-train.1-of-4.jsonl", "answer-base-train.2-of-2.jsonl"]
    others = ["answer-base-test.jsonl", "answer-base-train-2.jsonl", ".answer-base-train.jsonl.x1", "retry-self.jsonl"]
    for name in [*of_train, *others, "answer-base-train.1-of-4.json"]:
        (tmp_path / name).touch()
    for name in of_train:
        assert {path.name for path in siblings(tmp_path / name)} == set(of_train) - {name}
    assert siblings(tmp_path / "nowhere" / "answer.jsonl") == []


def test_retries_of_all_strategies_are_siblings_and_so_are_samples(tmp_path: Path) -> None:
    retries = ["retry-self.jsonl", "retry-self-round2.jsonl", "retry-distill.fold1.2-of-4.jsonl"]
    samples = ["sample-base-train.jsonl", "sample-base-folds.1-of-2.jsonl"]
    for name in [*retries, *samples, "answer-base-train.jsonl", ".retry-self.jsonl.x1"]:
        (tmp_path / name).touch()
    for alike in (retries, samples):
        for name in alike:
            assert {path.name for path in siblings(tmp_path / name)} == set(alike) - {name}
