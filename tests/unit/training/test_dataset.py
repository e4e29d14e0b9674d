"""Steps training-set and dataset-info: only verified completions, each once, and none of held-out problems."""

import json
from pathlib import Path
from typing import Any

import pytest

from errata.__main__ import main
from errata.reading.answers import read_answer
from helpers import indexed, problem, write_jsonl

# The answer to every question is A.
RIGHT, OTHER, WRONG = "So it is A.\n因此答案是：A", "Hence the answer is A", "The answer is B"


def attempt(completion: str, **more: Any) -> dict[str, Any]:
    """An attempt as step retry writes it, or a part of a first answer as step answer does."""
    answer = read_answer(completion, "ABCD")
    tokens = len(completion.split())
    row = {"completion": completion, "answer": answer, "correct": answer == "A", "finish_reason": "stop"}
    return {**row, "completion_tokens": tokens, **more}


def retry(id: str, question: int, attempts: list[dict[str, Any]]) -> dict[str, Any]:
    """A line of retries as step retry writes it."""
    row = {"id": id, "question": question, "expected": "A", "first": "B", "outcome": "solved"}
    return {**row, "template": "again", "attempts": attempts}


class Step:
    """The files of a made-up run, and step training-set, which reads them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.answers: list[dict[str, Any]] = []
        self.retries: list[dict[str, Any]] = []

    def question(self, id: str, question: int, first: str, *again: str | dict[str, Any], **more: Any) -> None:
        """Add a question with its first answer and, if that is wrong, the attempts of asking again."""
        key = {"id": id, "question": question}
        prompt = f"[{id}/{question}]\n怎么？"
        row = {**attempt(first), **key, "prompt": prompt, "expected": "A", "template": "plain", **more}
        self.answers.append(row)
        if again or not row["correct"]:
            attempts = [each if isinstance(each, dict) else attempt(each) for each in again]
            self.retries.append(retry(id, question, attempts))

    def make(self, *flags: object) -> list[dict[str, Any]]:
        self.shown = ""
        assert self.run(*flags) == 0, self.shown
        rows: list[dict[str, Any]] = json.loads(self.output.read_text(encoding="utf-8"))
        return rows

    def fail(self, *flags: object) -> str:
        assert self.run(*flags) == 1
        assert not self.output.exists()
        return self.shown

    def run(self, *flags: object) -> int:
        sizes = {row["id"]: 0 for row in self.answers}
        for row in self.answers:
            sizes[row["id"]] = max(sizes[row["id"]], row["question"] + 1)
        problems = [problem(id, *["A"] * size) for id, size in sizes.items()]
        data = write_jsonl(self.folder / "train.jsonl", indexed(*problems))
        files = ["--data", data, "--answers", write_jsonl(self.folder / "answers.jsonl", self.answers)]
        files += ["--retries", write_jsonl(self.folder / "retries.jsonl", self.retries), "--output", self.output]
        status = main(["training-set", *map(str, [*files, *flags])])
        self.shown = self._capsys.readouterr().err
        return status

    @property
    def output(self) -> Path:
        return self.folder / "sft" / "self.json"


@pytest.fixture
def step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Step:
    return Step(tmp_path, capsys)


def sft_record(id: str, question: int, output: str, template: str = "again") -> dict[str, Any]:
    prompt = f"[{id}/{question}]\n怎么？"
    row = {"id": id, "question": question, "instruction": prompt, "input": "", "output": output}
    return {**row, "template": template}


def outputs(rows: list[dict[str, Any]]) -> list[str]:
    return [row["output"] for row in rows]


def test_the_training_set_contains_exactly_the_accepted_completions_of_solved_questions(step: Step) -> None:
    step.question("p", 0, RIGHT)
    step.question("p", 2, WRONG, WRONG, RIGHT)
    step.question("q", 0, WRONG, "wrong", WRONG)
    step.question("r", 1, "hm", attempt(RIGHT, rejected="gives-away"), OTHER)
    step.question("s", 0, WRONG, attempt(RIGHT, rejected="inconclusive"))
    step.question("t", 0, "", attempt("", finish_reason="error", error="refused"), finish_reason="error")
    assert step.make() == [sft_record("p", 2, RIGHT), sft_record("r", 1, OTHER)]
    assert "2 right completions" in step.shown


def test_of_right_completions_that_are_alike_the_first_is_kept(step: Step) -> None:
    step.question("p", 0, WRONG, RIGHT, WRONG, OTHER, RIGHT.upper().replace(" ", "  "))
    for keep, kept in ((1, [RIGHT]), (2, [RIGHT, OTHER]), (3, [RIGHT, OTHER])):
        assert outputs(step.make("--keep", keep)) == kept


def test_the_student_learns_the_teachers_completions_for_the_plain_prompt(step: Step) -> None:
    step.question("p", 0, RIGHT, OTHER)
    step.question("q", 0, WRONG, RIGHT)
    assert step.make("--method", "distill") == [sft_record("p", 0, OTHER), sft_record("q", 0, RIGHT)]


@pytest.mark.parametrize("method", ["self", "distill", "reflect", "dpo"])
def test_problems_that_are_scored_are_left_out_by_every_method(step: Step, method: str) -> None:
    for id in "abc":
        step.question(id, 0, WRONG, "The answer is A")
        step.question(id, 1, RIGHT)
    scored = [problem("other", None, text="The  text of\na."), problem("b", "C", text="Another text.")]
    files = [write_jsonl(step.folder / "test.jsonl", scored[:1]), step.folder / "fold1.jsonl"]
    write_jsonl(files[1], [*scored[1:], problem("c2", "A", text="The text of c.")])
    rows = step.make("--method", method, "--held-out", *files, *([] if method == "dpo" else ["--replay", 1]))
    assert {row["id"] for row in rows} == {"b"}
    assert "2 problems are held out" in step.shown
    step.output.unlink()
    write_jsonl(files[0], [problem(id, "A") for id in "abc"])
    assert "(3 problems are held out)" in step.fail("--method", method, "--held-out", *files)


def test_nothing_solved_is_an_error_that_says_what_to_try(step: Step) -> None:
    step.question("q", 0, WRONG, "wrong")
    step.question("p", 0, RIGHT)
    message = step.fail("--replay", 0.5)
    assert "no first-wrong question was solved" in message
    assert "generate.attempts" in message


def test_with_or_nothing_an_empty_set_is_written(step: Step) -> None:
    step.question("p", 0, WRONG, WRONG)
    for method in ("self", "dpo"):
        assert step.make("--method", method, "--replay", 0, "--or-nothing") == []
        assert "empty, so there is no training" in step.shown


def test_a_round_that_solves_nothing_new_has_nothing_to_train_on(step: Step) -> None:
    step.question("old", 0, WRONG, RIGHT)
    step.question("new", 0, WRONG, RIGHT)
    step.question("right", 0, RIGHT)
    before = [step.folder / "self.json", step.folder / "self-round2.json"]
    before[0].write_text(json.dumps([{"id": "old", "question": 0}]))
    before[1].write_text(json.dumps([{"id": "new", "question": 1}, {"id": "right", "question": 0}]))
    # a round with a new question is trained on as a whole
    assert [row["id"] for row in step.make("--before", *before)] == ["old", "new"]
    assert "1 of these questions are in no earlier round's training set" in step.shown
    step.output.unlink()
    before[1].write_text(json.dumps([{"id": "new", "question": 0}]))
    assert "no question is solved that no earlier round" in step.fail("--before", *before)
    # questions that were right at first are not new
    assert step.make("--before", *before, "--replay", 1, "--or-nothing") == []


def test_retries_of_other_answers_are_reported(step: Step) -> None:
    step.retries.append(retry("gone", 0, [attempt(RIGHT)]))
    assert "retries.jsonl:1: question 0 of problem 'gone' is not in" in step.fail()


def test_a_completion_that_is_not_as_right_as_its_file_says_is_an_error(step: Step) -> None:
    step.question("p", 0, WRONG, WRONG, attempt(WRONG, attempt=5, correct=True))
    message = (
        "retries.jsonl:1: attempt 5: counts as right for question 0 of problem 'p', but gives B where A is expected"
    )
    assert message in step.fail()
    step.retries[0]["attempts"] = [attempt(RIGHT, finish_reason="length")]
    assert "attempt 1: counts as right for question 0 of problem 'p', but gives no answer" in step.fail()
    step.retries[0]["attempts"] = [attempt(RIGHT)]
    step.question("p", 1, WRONG, correct=True)
    assert "answers.jsonl:2: counts as right" in step.fail("--replay", 1)
    step.answers[1]["correct"] = False
    step.retries[0]["attempts"].append(attempt(OTHER, correct=False))
    assert "retries.jsonl:1: attempt 2: counts as wrong" in step.fail("--method", "dpo")
    assert outputs(step.make()) == [RIGHT], "a wrong mark does not matter on a completion that is not trained on"


# --- replay


def test_replay_adds_a_share_of_the_first_right_completions(step: Step) -> None:
    step.question("w", 0, WRONG, RIGHT)
    step.question("cut", 0, RIGHT, correct=False, finish_reason="length")
    for number in range(10):
        step.question(f"r{number}", 0, f"{number}: {RIGHT}")
    for share, count in ((0.01, 1), (0.26, 3), (1, 10)):
        rows = step.make("--replay", share)
        assert rows[0] == sft_record("w", 0, RIGHT)
        assert rows[1:] == [sft_record(row["id"], 0, f"{row['id'][1:]}: {RIGHT}", "plain") for row in rows[1:]]
        assert len({row["id"] for row in rows[1:]}) == len(rows) - 1 == count


def test_the_replayed_questions_depend_on_the_seed_alone(step: Step) -> None:
    step.question("w", 0, WRONG, RIGHT)
    for number in range(30):
        step.question(f"r{number}", number % 2, RIGHT)

    def chosen(seed: int) -> set[str]:
        return {row["id"] for row in step.make("--replay", 0.5, "--seed", seed)}

    before = chosen(1)
    assert chosen(2) != before
    step.answers.reverse()
    assert chosen(1) == before


def test_a_completion_that_the_teacher_wrote_too_is_not_replayed(step: Step) -> None:
    step.question("p", 0, RIGHT, RIGHT.lower().replace("a", "A") + "\n")
    step.question("q", 0, RIGHT, OTHER)
    rows = step.make("--method", "distill", "--replay", 1)
    assert [row["template"] for row in rows] == ["again", "again", "plain"]
    assert outputs(rows)[1:] == [OTHER, RIGHT]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--replay", "0.1", "--method", "dpo"], "a first-right question has no wrong completion"),
        (["--replay", "20"], "--replay 20: a share is a number from 0 to 1"),
        (["--keep", "0"], "--keep 0: at least 1"),
        (["--pairs", "0"], "--pairs 0: at least 1"),
    ],
)
def test_flags_that_make_no_sense_are_refused(step: Step, flags: list[str], message: str) -> None:
    step.question("p", 0, WRONG, RIGHT)
    assert message in step.fail(*flags)


# --- pairs


def test_pairs_are_of_one_question_and_of_the_most_equal_lengths(step: Step) -> None:
    long, short = "because of this and of that the answer is A", "answer is A"
    step.question("p", 0, "answer is B", long, short)
    step.question("q", 1, "well well well what is it then", "", "as I said: the answer is C", "Thus the answer is A")
    assert step.make("--method", "dpo", "--keep", 2) == [
        {
            **{"id": "p", "question": 0, "instruction": "[p/0]\n怎么？", "input": ""},
            **{"chosen": short, "rejected": "answer is B", "template": "again"},
        }
    ]
    assert "1 pairs out of 4 candidates of 2 questions" in step.shown
    assert "after dropping 1 of 2" in step.shown


def test_wrong_completions_of_pairs_are_complete_and_not_repeated(step: Step) -> None:
    right, cut = "The answer is A", attempt("it is A or B", finish_reason="length")
    step.question("p", 0, WRONG, "the  ANSWER is B", cut, right)
    step.question("q", 0, WRONG, "   ", attempt("", finish_reason="error"), right, finish_reason="length")
    step.question("r", 0, "I have no idea", attempt(OTHER, rejected="gives-away"), right)
    rows = step.make("--method", "dpo", "--pairs", 9)
    assert [(row["chosen"], row["rejected"]) for row in rows] == [(right, WRONG), (right, "I have no idea")]


def test_without_a_balanced_pair_the_error_says_what_to_try(step: Step) -> None:
    step.question("p", 0, WRONG, WRONG, "because of this and of that the answer is A")
    message = step.fail("--method", "dpo")
    assert "no pair of a right and a wrong completion to train on: 1 candidates of 1 questions" in message
    assert "the 1 that are most equal in length cannot be balanced" in message
    assert "Raise generate.attempts and `keep`" in message


# --- dataset-info


def test_dataset_info_maps_each_strategy_to_its_file(tmp_path: Path) -> None:
    output = tmp_path / "sft" / "dataset_info.json"
    flags = ["--strategies", "self", "distill", "--preferences", "dpo", "--output", str(output)]
    assert main(["dataset-info", *flags]) == 0
    info = json.loads(output.read_text())
    assert {name: entry["file_name"] for name, entry in info.items()} == {
        "self": "self.json",
        "distill": "distill.json",
        "dpo": "dpo.json",
    }
    assert info["self"]["columns"] == {"prompt": "instruction", "query": "input", "response": "output"}
    assert info["dpo"]["ranking"] is True
    assert info["dpo"]["columns"] == {
        "prompt": "instruction",
        "query": "input",
        "chosen": "chosen",
        "rejected": "rejected",
    }


def test_a_dataset_info_without_strategies_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset-info", "--strategies", "--output", str(tmp_path / "dataset_info.json")]) == 1
    assert "--preferences" in capsys.readouterr().err
