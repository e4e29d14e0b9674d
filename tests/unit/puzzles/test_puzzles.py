"""The puzzle set: single puzzles, properties for all seeds, and the committed files."""

import argparse
import csv
import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from errata.core.errors import UserError
from errata.data.records import LETTERS
from errata.puzzles.baselines import score_baselines
from errata.puzzles.closure import Claim, Closure, literals, rule
from errata.puzzles.generate import PuzzleSet, add_arguments, as_csv, make, run
from errata.puzzles.mistakes import right_letter
from errata.puzzles.puzzle import Option, Puzzle, Question, Statement, yes_or_no
from errata.puzzles.splits import FAMILIES, Letters, normalized, place, trim
from errata.puzzles.words import as_question, listing, negate, plural, sentence, singular
from errata.puzzles.worlds import Comparison, Worlds
from helpers import REPOSITORY

DATA = REPOSITORY / "data" / "puzzles"
NO_LIMIT = settings(deadline=None, max_examples=40)


def defaults(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(argv)


def committed(split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def corrections() -> list[dict[str, str]]:
    with (DATA / "corrections.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made() -> PuzzleSet:
    chosen = defaults()
    return make(chosen.seed, chosen.train, chosen.test)


# --- single puzzles


def race(*statements: Statement) -> Puzzle:
    return Puzzle("orderings", Worlds(("Ann", "Ben", "Leo"), range(1, 4)), statements, ())


def before(a: str, b: str) -> Statement:
    return Statement(f"{a} finishes before {b}.", (Comparison(a, "<", b),))


FIRST = Question("end", "Who wins?", tuple(Option(a, (Comparison(a, "=", plus=1),)) for a in ("Leo", "Ann", "Ben")))


def test_the_answer_is_the_only_proved_option() -> None:
    puzzle = race(before("Ann", "Ben"), before("Ben", "Leo"))
    assert puzzle.right_option(FIRST) == FIRST.options[1]
    assert right_letter(puzzle, FIRST) == "B"
    no = puzzle.right_option(yes_or_no("Does Leo finish before Ann?", Comparison("Leo", "<", "Ann")))
    assert no is not None
    assert no.text == "No"


def test_a_question_with_an_undecided_option_has_no_answer() -> None:
    assert race(before("Ann", "Ben")).right_option(FIRST) is None
    assert race(before("Ann", "Ben")).right_option(yes_or_no("?", Comparison("Leo", "<", "Ann"))) is None


def test_a_question_with_two_right_options_has_no_answer_until_trimmed() -> None:
    facts = Statement("", tuple(rule(text) for text in ("in Ann", "in Ben")))
    puzzle = Puzzle("sets", Closure(), (facts,), ())
    question = Question("which", "Who?", tuple(Option(a, (Claim(literals(f"in {a}")),)) for a in ("Ann", "Ben", "Leo")))
    assert puzzle.right_option(question) is None
    trimmed = trim(Random(1), puzzle, question)
    assert trimmed is not None
    assert puzzle.right_option(trimmed) in question.options[:2]


def test_the_support_is_what_the_proof_needs() -> None:
    spare, needed = before("Ben", "Leo"), (before("Ann", "Ben"), before("Ann", "Leo"))
    assert race(needed[0], spare, needed[1]).support(FIRST) == needed
    assert race(needed[0], needed[1]).support(FIRST) == needed


def test_places_are_dealt_evenly() -> None:
    letters = Letters(Random(3))
    dealt = [letters.deal(4) for _ in range(40)]
    assert sorted(dealt) == sorted([0, 1, 2, 3] * 10)


def test_english_forms() -> None:
    assert (plural("get/gets in"), singular("get/gets in")) == ("get in", "gets in")
    assert (as_question("Ann", "get/gets in"), negate("get/gets in")) == ("Does Ann get in", "does not get in")
    assert (as_question("Ann", "are/is late"), negate("may/may enter")) == ("Is Ann late", "may not enter")
    assert listing(["Ann", "Ben", "Leo"]) == "Ann, Ben and Leo"
    assert listing(["Ann"]) == "Ann"
    assert sentence("the hall is cleaned") == "The hall is cleaned."


# --- all seeds


@NO_LIMIT
@given(st.integers(0, 2**32), st.sampled_from(FAMILIES))
def test_every_family_makes_provable_questions(seed: int, family: Any) -> None:
    rng = Random(seed)
    puzzle = family(rng)
    trimmed = [question for one in puzzle.questions if (question := trim(rng, puzzle, one))]
    assert trimmed
    for question in trimmed:
        placed = place(rng, puzzle, question, Letters(rng))
        texts = [option.text for option in placed.options]
        assert 2 <= len(texts) == len(set(texts)) <= 5
        verdicts = [puzzle.verdict(option) for option in placed.options]
        assert sorted(verdicts, key=bool) == [False] * (len(texts) - 1) + [True]
        assert right_letter(puzzle, placed) == LETTERS[verdicts.index(True)]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 15))
@example(382548, 9, 1)  # the misprinted name was already an option
def test_every_label_of_a_set_is_proved_except_the_corrected_ones(seed: int, train: int, test: int) -> None:
    check(make(seed, train, test), train, test)


def check(made: PuzzleSet, train: int, test: int) -> None:
    """The solver proves every label after the corrections; before them, exactly the corrected labels are wrong."""
    assert [item.id for item in made.train] == [f"train-{n:04}" for n in range(1, train + 1)]
    assert [item.id for item in made.test] == [f"test-{n:04}" for n in range(1, test + 1)]
    rows = {(row.id, row.question): row for row in made.corrections}
    assert len(rows) == len(made.corrections)
    assert {row.id for row in made.corrections} <= {item.id for item in made.train}
    for item in made.train + made.test:
        assert len({question.text for question in item.puzzle.questions}) == len(item.answers)
        dropped = rows.get((item.id, None))
        assert dropped is None or (dropped.action, dropped.old, dropped.new) == ("drop", "", "")
        for index, (question, answer) in enumerate(zip(item.puzzle.questions, item.answers, strict=True)):
            texts = [option.text for option in question.options]
            assert 2 <= len(texts) == len(set(texts)) <= 5
            assert answer in LETTERS[: len(texts)]
            assert len(item.puzzle.text + question.text + "".join(texts)) <= 440  # about 110 tokens
            right, row = item.puzzle.right_option(question), rows.get((item.id, index))
            if dropped or (row and row.action == "drop"):
                assert right is None
                assert dropped or len(item.answers) > 1  # the last question is never dropped
            else:
                assert right is not None
                proved = LETTERS[texts.index(right.text)]
                if row:
                    assert (row.action, row.old, row.new) == ("answer", answer, proved)
                    assert answer != proved
                else:
                    assert answer == proved
    texts = [normalized(item.puzzle) for item in made.train + made.test]
    assert len(set(texts)) == len(texts)


# --- the committed files


def test_the_generator_makes_the_committed_files(tmp_path: Path) -> None:
    run(defaults("--output", str(tmp_path)))
    for name in ("train.jsonl", "test.jsonl", "corrections.csv"):
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name


def test_the_default_folder_is_the_committed_one() -> None:
    assert defaults().output == Path("data/puzzles")


def test_a_set_without_test_problems_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--train and --test"):
        run(defaults("--output", str(tmp_path), "--test", "0"))
    assert not list(tmp_path.iterdir())


def test_committed_labels_are_proved_after_corrections(made: PuzzleSet) -> None:
    check(made, defaults().train, defaults().test)
    assert [item.record() for item in made.train] == committed("train")
    assert [item.record() for item in made.test] == committed("test")
    assert as_csv(made.corrections) == (DATA / "corrections.csv").read_text(encoding="utf-8")


def test_committed_corrections_fit_the_file() -> None:
    records = {record["id"]: record for record in committed("train")}
    rows = corrections()
    assert list(rows[0]) == ["id", "question", "action", "old", "new", "reason"]
    left = sum(len(record["questions"]) for record in records.values())
    for row in rows:
        if row["action"] == "drop":
            left -= 1 if row["question"] else len(records[row["id"]]["questions"])
    assert left == 298  # as the README says
    actions = [row["action"] for row in rows]
    assert (actions.count("answer"), actions.count("drop")) == (10, 2)
    assert [row["question"] == "" for row in rows if row["action"] == "drop"].count(True) == 1
    for row in rows:
        assert row["reason"]
        if row["action"] == "answer":
            assert records[row["id"]]["questions"][int(row["question"])]["answer"] == row["old"] != row["new"]


def test_no_test_problem_occurs_in_the_training_data() -> None:
    def plain(record: dict[str, Any]) -> str:
        return re.sub(r"\W+", " ", record["problem"].lower()).strip()

    train, test = committed("train"), committed("test")
    assert not {record["problem"] for record in train} & {record["problem"] for record in test}
    assert not {plain(record) for record in train} & {plain(record) for record in test}
    assert len({plain(record) for record in train}) == len(train)


def test_families_are_mixed_in_every_prefix(made: PuzzleSet) -> None:
    for items in (made.train, made.test):
        families = [item.puzzle.family for item in items]
        for start in range(0, len(families), len(FAMILIES)):
            assert len(set(families[start : start + len(FAMILIES)])) == len(FAMILIES)


def test_sizes_and_lengths() -> None:
    for split, problems, questions in (("train", 150, 300), ("test", 102, 204)):
        records = committed(split)
        assert (len(records), sum(len(record["questions"]) for record in records)) == (problems, questions)
        for record in records:
            assert 1 <= len(record["questions"]) <= 4
            assert len(record["problem"].split()) <= 60
            for question in record["questions"]:
                assert len(question["question"].split()) <= 15
                assert all(len(option.split()) <= 3 for option in question["options"])


def test_right_options_are_spread_over_the_letters(made: PuzzleSet) -> None:
    """For each number of options, the counts of the letters differ by at most one, apart from the mistakes."""
    for items in (made.train, made.test):
        right: dict[int, list[str]] = {}
        for item in items:
            for question, given_answer in zip(item.puzzle.questions, item.answers, strict=True):
                proved = right_letter(item.puzzle, question) if item.puzzle.right_option(question) else given_answer
                right.setdefault(len(question.options), []).append(proved)
        assert sorted(right) == [2, 3, 4, 5]
        for options, answers in right.items():
            counts = [answers.count(each) for each in LETTERS[:options]]
            assert max(counts) - min(counts) <= 1


def test_no_rule_of_thumb_scores_well() -> None:
    everything = committed("train") + committed("test")
    assert {name: score for name, score in score_baselines(everything).items() if score > 0.45} == {}


def test_baselines_of_a_hand_written_record() -> None:
    question = {"question": "Who wins?", "options": ["Leo", "Ann", "Max"], "answer": "B"}
    scores = score_baselines([{"problem": "Ann, Max and Leo race. Leo is behind Ann.", "questions": [question]}])
    assert scores["chance"] == pytest.approx(1 / 3)
    assert scores["most common letter (B)"] == 1
    assert scores["option mentioned first in the text"] == 1
    assert scores["option mentioned last in the text"] == 1
    assert scores["option mentioned least often in the text"] == 0
    assert scores["last option"] == 0


def test_the_readme_has_the_baselines_and_an_example_of_each_family() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    for (name, train), test in zip(
        score_baselines(committed("train")).items(), score_baselines(committed("test")).values(), strict=True
    ):
        assert f"| {name} | {train:.1%} | {test:.1%} |" in readme
    for family in ("orderings", "kinship", "chains", "schedules", "sets", "arithmetic"):
        [row] = [line for line in readme.splitlines() if line.startswith(f"| {family} |")]
        assert any(record["problem"] in row for record in committed("test"))
