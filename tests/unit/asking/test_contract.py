"""What every strategy promises: it trains on verified completions only, never on a scored question, it can be resumed,
and the completions determine its training set.
"""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from asking import StepRunner
from errata.__main__ import main
from errata.config.methods import METHODS
from errata.data.records import Key
from errata.quantizing import calibration
from errata.reading.answers import read_answer
from errata.reading.giveaway import gives_away
from helpers import PROMPTS, StandInTemplate, indexed, problem, read_jsonl, write_jsonl
from servers import Start

# They begin with the heading that reflect needs; for the other methods it is part of the reasoning.
RIGHT, WRONG = (
    "Solution: Ann is older than Bob. So the answer is A",
    "Solution: Bob is older than Ann. So the answer is B",
)
OTHER = "Solution: Nobody is older than Ann. The answer is A"
GIVEAWAY = "Solution: As given, the correct answer is A, so the answer is A"
CUT = {"content": RIGHT, "finish_reason": "length"}
# The replies to a problem's question: the first answer, then those of the attempts, for every method.
REPLIES: dict[str, list[Any]] = {
    "right": [RIGHT],
    "solved": [WRONG, WRONG, RIGHT],
    "gives-away": [WRONG, GIVEAWAY, OTHER],
    "only-gives-away": [WRONG, GIVEAWAY],
    "cut": [WRONG, CUT, CUT, RIGHT],
    "hopeless": [WRONG],
    "unreadable": ["I do not know", "Nor now", RIGHT],
    "scored": [WRONG, RIGHT],
    "scored-right": [RIGHT],
}
HELD_OUT = {"scored", "scored-right"}


class Recipe:
    """One strategy on made-up problems, made by the real steps."""

    def __init__(self, method: str, steps: StepRunner) -> None:
        self.method, self.asking, self.folder = method, steps, steps.folder
        problems = [problem(id, "A", text=f"About {id}.") for id in REPLIES]
        write_jsonl(steps.data, indexed(*problems))
        # with other ids and other white space
        scored = [problem(f"test-{id}", "B", text=f"About\n {id}.") for id in sorted(HELD_OUT)]
        self.test = write_jsonl(self.folder / "test.jsonl", indexed(*scored))
        self.training_set, self.calibration = self.folder / "sft.json", self.folder / "calibration.json"
        self.retries = self.folder / "retry.out.jsonl"

    def ask(self, base_url: str) -> None:
        """Answer all questions, then ask again by the method of the strategy."""
        self.asking.answers.unlink(missing_ok=True)
        first = {"journal": self.folder / "first.jsonl", "output": self.asking.answers}
        assert main(self.asking.command("answer", base_url, prompt=PROMPTS / "en/answer-short.txt", **first)) == 0
        again: dict[str, Any] = {"attempts": 3, "hedging": 0, "concurrency": 1}
        if self.method in {"distill", "reflect"}:
            again |= {"method": self.method, "prompt": PROMPTS / f"en/{self.method}-short.txt"}
        if self.method == "reflect":
            again["conclude"] = PROMPTS / "en/conclude.txt"
        done = self.asking.retry(base_url, **again)
        assert done.status == 0, done.message

    def make(self) -> list[dict[str, Any]]:
        """Make the training set and the calibration texts."""
        files = ["--data", self.asking.data, "--answers", self.asking.answers, "--retries", self.retries]
        files += ["--held-out", self.test]
        replay = [] if self.method == "dpo" else ["--replay", 1]
        self._run("training-set", "--method", self.method, *files, *replay, "--output", self.training_set)
        more = ["--checkpoint", self.folder, "--samples", 99, "--output", self.calibration]
        self._run("calibration", *files, *more)
        rows: list[dict[str, Any]] = json.loads(self.training_set.read_text())
        return rows

    def _run(self, *words: object) -> None:
        assert main([str(word) for word in words]) == 0

    def journals(self) -> list[Path]:
        return [self.folder / "first.jsonl", self.asking.journal]


@pytest.fixture(autouse=True)
def _stand_in_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ChatTemplate", StandInTemplate)


@pytest.fixture(params=METHODS)
def recipe(request: pytest.FixtureRequest, steps: StepRunner) -> Recipe:
    return Recipe(request.param, steps)


@pytest.fixture
def base_url(scripted: Start) -> str:
    rules = [
        # the verification of a reasoning has the answer of that reasoning
        {"match": "Nobody is older than Ann.\n", "replies": [{"content": "The answer is A"}]},
        {"match": "Ann is older than Bob.\n", "replies": [{"content": "The answer is A"}]},
        *(
            {
                "match": f"Question 0 of {id}?",
                "replies": [each if isinstance(each, dict) else {"content": each} for each in said],
            }
            for id, said in REPLIES.items()
        ),
    ]
    return scripted(rules=rules).base_url


def test_only_verified_completions_are_trained_on(recipe: Recipe, base_url: str) -> None:
    recipe.ask(base_url)
    rows = recipe.make()
    learned = {row["id"] for row in rows}
    assert learned >= {"solved"}
    assert not learned & {"hopeless", "only-gives-away"} or recipe.method in {"self", "dpo"}
    made = {
        attempt["completion"]
        for row in read_jsonl(recipe.retries)
        for attempt in row["attempts"]
        if attempt["correct"] and "rejected" not in attempt
    } | {row["completion"] for row in read_jsonl(recipe.asking.answers) if row["correct"]}
    prompts = {row["id"]: row["prompt"] for row in read_jsonl(recipe.asking.answers)}
    for row in rows:
        chosen = row["chosen" if recipe.method == "dpo" else "output"]
        assert read_answer(chosen, "ABCD") == "A"
        assert chosen in made
        # the plain question, not what the teacher was given
        assert row["instruction"] == prompts[row["id"]]
        if recipe.method in {"distill", "reflect"}:
            assert not gives_away(chosen)
        if recipe.method == "dpo":
            assert read_answer(row["rejected"], "ABCD") != "A"
        assert len(row["template"]) == 12


def test_nothing_that_is_scored_is_trained_or_calibrated_on(recipe: Recipe, base_url: str) -> None:
    recipe.ask(base_url)
    rows = recipe.make()
    texts = json.loads(recipe.calibration.read_text())
    assert rows
    assert texts
    assert not HELD_OUT & {row["id"] for row in [*rows, *texts]}
    # they were asked: the report uses their answers
    assert {row["id"] for row in read_jsonl(recipe.asking.answers)} >= HELD_OUT


def test_an_interrupted_strategy_continues_and_asks_nothing_twice(recipe: Recipe, scripted: Start) -> None:
    # a reply depends on its request alone, not on the time of it
    concluded = [{"match": "Ann is older than Bob.\n", "replies": [{"content": "The answer is A"}]}]
    hinted = [{"match": words, "replies": [{"content": RIGHT}]} for words in ("The right answer is A", "Solution:")]
    first = [{"match": f"of {id}?", "replies": [{"content": RIGHT if "right" in id else WRONG}]} for id in REPLIES]
    server = scripted(rules=[*concluded, *hinted, *first])
    recipe.ask(server.base_url)
    made, asked = recipe.retries.read_bytes(), len(server.seen())
    journal = recipe.asking.journal.read_bytes().splitlines(keepends=True)
    # the last line is torn, as after a crash
    kept = len(journal) // 2
    recipe.asking.journal.write_bytes(b"".join(journal[:kept]) + journal[kept][:20])
    recipe.ask(server.base_url)
    assert recipe.retries.read_bytes() == made
    assert len(server.seen()) - asked == len(journal) - kept


def test_the_training_set_is_determined_by_the_completions(recipe: Recipe, base_url: str) -> None:
    recipe.ask(base_url)
    recipe.make()
    made = [path.read_bytes() for path in (recipe.retries, recipe.training_set, recipe.calibration)]
    for journal in recipe.journals():
        lines = journal.read_bytes().splitlines(keepends=True)
        random.Random(1).shuffle(lines)
        journal.write_bytes(b"".join(lines))
    recipe.ask(base_url)
    recipe.make()
    assert [path.read_bytes() for path in (recipe.retries, recipe.training_set, recipe.calibration)] == made


def test_every_row_is_of_a_question_of_the_data(recipe: Recipe, base_url: str) -> None:
    recipe.ask(base_url)
    keys = {Key(row["id"], row["question"]) for row in recipe.make()}
    assert keys <= {Key(id, 0) for id in REPLIES}
