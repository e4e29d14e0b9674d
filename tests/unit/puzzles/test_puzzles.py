"""The puzzle set: solvers on hand-written cases, properties over seeds, and the committed files."""

import argparse
import csv
import json
import re
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from errata.core.errors import UserError
from errata.data.records import LETTERS
from errata.puzzles import PuzzleSet, add_arguments, as_csv, make, run
from errata.puzzles.baselines import baselines
from errata.puzzles.closure import Claim, Closure, closure, literals, rule
from errata.puzzles.kinship import KINSHIP
from errata.puzzles.mistakes import letter
from errata.puzzles.puzzle import Option, Puzzle, Question, Statement, yes_or_no
from errata.puzzles.splits import FAMILIES, Letters, normalized, place, trim
from errata.puzzles.words import asked, denied, listing, many, one, sentence
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


# Solver: worlds


def test_an_order_proves_what_follows_and_refutes_its_reverse() -> None:
    worlds = Worlds(("Ann", "Ben", "Leo"), range(1, 4))
    facts = (Comparison("Ann", "<", "Ben"), Comparison("Ben", "<", "Leo"))
    assert worlds.verdict(facts, (Comparison("Ann", "<", "Leo"),)) is True
    assert worlds.verdict(facts, (Comparison("Leo", "<", "Ann"),)) is False
    assert worlds.verdict(facts, (Comparison("Ben", "=", plus=2),)) is True


def test_what_an_order_leaves_open_is_neither_proved_nor_refuted() -> None:
    worlds = Worlds(("Ann", "Ben", "Leo"), range(1, 4))
    facts = (Comparison("Ann", "<", "Ben"), Comparison("Ann", "<", "Leo"))
    assert worlds.verdict(facts, (Comparison("Ben", "<", "Leo"),)) is None
    assert worlds.verdict(facts, (Comparison("Ann", "=", plus=1),)) is True


def test_contradictory_statements_prove_nothing() -> None:
    facts = (Comparison("Ann", "<", "Ben"), Comparison("Ben", "<", "Ann"))
    assert Worlds(("Ann", "Ben"), range(1, 3)).verdict(facts, (Comparison("Ann", "<", "Ben"),)) is None


def test_a_schedule_is_settled_by_elimination() -> None:
    worlds = Worlds(("Ann", "Ben", "Leo"), range(3))
    facts = (Comparison("Ann", "=", plus=1), Comparison("Ben", "!=", plus=0))
    assert worlds.verdict(facts, (Comparison("Leo", "=", plus=0),)) is True
    assert worlds.verdict(facts, (Comparison("Ben", "=", plus=2),)) is True
    assert worlds.verdict(facts[:1], (Comparison("Ben", "=", plus=2),)) is None


def test_amounts_follow_from_each_other_and_may_be_equal() -> None:
    worlds = Worlds(("unit", "Ann", "Ben", "Leo"), range(21), distinct=False)
    facts = (
        Comparison("unit", "=", plus=3),  # a ticket costs 3 coins
        Comparison("Ann", "=", "unit", times=2),  # Ann buys 2 tickets
        Comparison("Ben", "=", "Ann", times=2),  # Ben pays twice as many coins
        Comparison("Leo", "=", "Ben", plus=-4),
    )
    assert worlds.verdict(facts, (Comparison("Ben", "=", plus=12),)) is True
    assert worlds.verdict(facts, (Comparison("Leo", "=", "Ann", times=-1, plus=14),)) is True  # together 14
    assert worlds.verdict(facts, (Comparison("Ben", ">", "Ann"), Comparison("Ben", ">", "Leo"))) is True
    assert worlds.verdict(facts, (Comparison("Ben", ">", "Ann"), Comparison("Leo", ">", "Ben"))) is False


@NO_LIMIT
@given(st.data())
def test_worlds_agree_with_trying_all_permutations(data: st.DataObject) -> None:
    """The solver prunes as it goes; plain enumeration must come to the same verdicts."""
    names = ("Ann", "Ben", "Leo", "Mia")
    comparison = st.builds(
        Comparison,
        st.sampled_from(names),
        st.sampled_from(["<", ">", "=", "!="]),
        st.just(""),
        st.just(1),
        st.integers(1, 4),
    ) | st.permutations(names).flatmap(
        lambda order: st.builds(
            Comparison, st.just(order[0]), st.sampled_from("<>="), st.just(order[1]), st.just(1), st.integers(-1, 1)
        )
    )
    facts = data.draw(st.lists(comparison, max_size=3))
    claim = data.draw(comparison)
    worlds = [dict(zip(names, order, strict=True)) for order in permutations(range(1, 5))]
    allowed = [world for world in worlds if all(fact.holds(world) for fact in facts)]
    verdicts = {claim.holds(world) for world in allowed}
    expected = verdicts.pop() if len(verdicts) == 1 else None
    assert Worlds(names, range(1, 5)).verdict(facts, (claim,)) is expected


# Solver: closure


def test_what_is_not_derivable_is_false() -> None:
    facts = tuple(
        rule(text)
        for text in (
            "person Ann",
            "person Ben",
            "ticket Ann",
            "ticket Ben",
            "late Ben",
            "enters ?x if ticket ?x and not late ?x",
            "home ?x if person ?x and not enters ?x",
        )
    )
    assert ("enters", "Ann") in closure(facts)
    assert ("enters", "Ben") not in closure(facts)
    assert ("home", "Ben") in closure(facts)
    assert ("home", "Ann") not in closure(facts)
    assert Closure().verdict(facts, (Claim(literals("late Ann")),)) is False
    assert Closure().verdict(facts, (Claim(literals("person ?x and not late ?x"), 1),)) is True
    assert Closure().verdict(facts, (Claim(literals("person ?x and enters ?x and home ?x"), 0),)) is True


def test_strata_do_not_depend_on_the_order_of_the_rules() -> None:
    texts = [
        "c ?x if p ?x and not b ?x",
        "b ?x if p ?x and not a ?x",
        "a ?x if p ?x and q ?x",
        "p Ann",
        "p Ben",
        "q Ann",
    ]
    for order in permutations(texts):
        assert {atom for atom in closure(tuple(rule(text) for text in order)) if atom[0] in "abc"} == {
            ("a", "Ann"),
            ("b", "Ben"),
            ("c", "Ann"),
        }


def test_a_rule_may_be_used_again_on_what_it_gave() -> None:
    facts = "edge a b", "edge b c", "edge c d", "path ?x ?y if edge ?x ?y", "path ?x ?z if path ?x ?y and edge ?y ?z"
    assert ("path", "a", "d") in closure(tuple(rule(text) for text in facts))


@pytest.mark.parametrize("text", ["odd ?x if person ?x and not odd ?x", "alone ?x if not friend ?x ?y"])
def test_rules_without_a_clear_meaning_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"negation|under not"):
        closure((rule("person Ann"), rule(text)))


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("grandmother Ann Mia", True),
        ("grandfather Ann Mia", False),
        ("mother Ann Leo", True),
        ("aunt Rosa Mia", True),
        ("uncle Leo Mia", False),
        ("brother Leo Rosa", True),
        ("brother Leo Leo", False),
        ("sister Rosa Leo", True),
        ("daughter Mia Leo", True),
        ("son Leo Ann", True),
        ("father Leo Ann", False),
    ],
)
def test_family_relations_follow_from_parents(claim: str, expected: bool) -> None:
    facts = "parent Ann Leo", "parent Ann Rosa", "parent Leo Mia", "female Ann", "male Leo", "female Rosa", "female Mia"
    people = (f"person {name}" for name in ("Ann", "Leo", "Rosa", "Mia"))
    stated = tuple(rule(text) for text in (*facts, *people))
    assert Closure(KINSHIP).verdict(stated, (Claim(literals(claim)),)) is expected


def test_members_of_both_sets_are_counted() -> None:
    facts = (
        "person Ann",
        "person Ben",
        "person Leo",
        "in Ann choir",
        "in Ben choir",
        "in ?x band if in ?x choir",
        "in Leo band",
    )
    stated = tuple(rule(text) for text in facts)
    both, neither = literals("in ?x choir and in ?x band"), literals("person ?x and not in ?x band")
    assert Closure().verdict(stated, (Claim(both, 2),)) is True
    assert Closure().verdict(stated, (Claim(both, 3),)) is False
    assert Closure().verdict(stated, (Claim(neither, 0),)) is True


# A puzzle


def race(*statements: Statement) -> Puzzle:
    return Puzzle("orderings", Worlds(("Ann", "Ben", "Leo"), range(1, 4)), statements, ())


def before(a: str, b: str) -> Statement:
    return Statement(f"{a} finishes before {b}.", (Comparison(a, "<", b),))


FIRST = Question("end", "Who wins?", tuple(Option(a, (Comparison(a, "=", plus=1),)) for a in ("Leo", "Ann", "Ben")))


def test_the_answer_is_the_only_proved_option() -> None:
    puzzle = race(before("Ann", "Ben"), before("Ben", "Leo"))
    assert puzzle.proved(FIRST) == FIRST.options[1]
    assert letter(puzzle, FIRST) == "B"
    no = puzzle.proved(yes_or_no("Does Leo finish before Ann?", Comparison("Leo", "<", "Ann")))
    assert no is not None
    assert no.text == "No"


def test_a_question_with_an_open_option_has_no_answer() -> None:
    assert race(before("Ann", "Ben")).proved(FIRST) is None
    assert race(before("Ann", "Ben")).proved(yes_or_no("?", Comparison("Leo", "<", "Ann"))) is None


def test_a_question_with_two_right_options_has_no_answer_until_trimmed() -> None:
    facts = Statement("", tuple(rule(text) for text in ("in Ann", "in Ben")))
    puzzle = Puzzle("sets", Closure(), (facts,), ())
    question = Question("which", "Who?", tuple(Option(a, (Claim(literals(f"in {a}")),)) for a in ("Ann", "Ben", "Leo")))
    assert puzzle.proved(question) is None
    trimmed = trim(Random(1), puzzle, question)
    assert trimmed is not None
    assert puzzle.proved(trimmed) in question.options[:2]


def test_support_is_what_the_proof_needs() -> None:
    spare, needed = before("Ben", "Leo"), (before("Ann", "Ben"), before("Ann", "Leo"))
    assert race(needed[0], spare, needed[1]).support(FIRST) == needed
    assert race(needed[0], needed[1]).support(FIRST) == needed


def test_letters_are_dealt_evenly() -> None:
    letters = Letters(Random(3))
    dealt = [letters.deal(4) for _ in range(40)]
    assert sorted(dealt) == sorted([0, 1, 2, 3] * 10)


def test_english_forms() -> None:
    assert (many("get/gets in"), one("get/gets in")) == ("get in", "gets in")
    assert (asked("Ann", "get/gets in"), denied("get/gets in")) == ("Does Ann get in", "does not get in")
    assert (asked("Ann", "are/is late"), denied("may/may enter")) == ("Is Ann late", "may not enter")
    assert listing(["Ann", "Ben", "Leo"]) == "Ann, Ben and Leo"
    assert listing(["Ann"]) == "Ann"
    assert sentence("the hall is cleaned") == "The hall is cleaned."


# Every seed


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
        assert letter(puzzle, placed) == LETTERS[verdicts.index(True)]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 15))
@example(382548, 9, 1)  # the name of a misprint was an option already
def test_every_set_is_proved_but_for_its_corrections(seed: int, train: int, test: int) -> None:
    check(make(seed, train, test), train, test)


def check(made: PuzzleSet, train: int, test: int) -> None:
    """Labels after corrections are what the solver proves; before, exactly the corrected ones were wrong."""
    assert [item.id for item in made.train] == [f"train-{n:04}" for n in range(1, train + 1)]
    assert [item.id for item in made.test] == [f"test-{n:04}" for n in range(1, test + 1)]
    rows = {(row.id, row.question): row for row in made.corrections}
    assert len(rows) == len(made.corrections)
    assert {row.id for row in made.corrections} <= {item.id for item in made.train}
    for item in made.train + made.test:
        assert len({question.text for question in item.puzzle.questions}) == len(item.answers)
        whole = rows.get((item.id, None))
        assert whole is None or (whole.action, whole.old, whole.new) == ("drop", "", "")
        for index, (question, answer) in enumerate(zip(item.puzzle.questions, item.answers, strict=True)):
            texts = [option.text for option in question.options]
            assert 2 <= len(texts) == len(set(texts)) <= 5
            assert answer in LETTERS[: len(texts)]
            assert len(item.puzzle.text + question.text + "".join(texts)) <= 440  # about 110 tokens
            right, row = item.puzzle.proved(question), rows.get((item.id, index))
            if whole or (row and row.action == "drop"):
                assert right is None
                assert whole or len(item.answers) > 1  # a problem without questions is no problem
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


# The committed files


def test_the_committed_files_are_what_the_generator_makes(tmp_path: Path) -> None:
    run(defaults("--output", str(tmp_path)))
    for name in ("train.jsonl", "test.jsonl", "corrections.csv"):
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name


def test_the_defaults_name_the_committed_folder() -> None:
    assert defaults().output == Path("data/puzzles")


def test_too_small_a_set_is_refused(tmp_path: Path) -> None:
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
    """For each number of options no letter is ahead of another by more than one, the mistakes apart."""
    for items in (made.train, made.test):
        right: dict[int, list[str]] = {}
        for item in items:
            for question, filed in zip(item.puzzle.questions, item.answers, strict=True):
                proved = letter(item.puzzle, question) if item.puzzle.proved(question) else filed
                right.setdefault(len(question.options), []).append(proved)
        assert sorted(right) == [2, 3, 4, 5]
        for options, answers in right.items():
            counts = [answers.count(each) for each in LETTERS[:options]]
            assert max(counts) - min(counts) <= 1


def test_no_rule_of_thumb_scores_well() -> None:
    everything = committed("train") + committed("test")
    assert {name: score for name, score in baselines(everything).items() if score > 0.45} == {}


def test_baselines_of_a_hand_written_record() -> None:
    question = {"question": "Who wins?", "options": ["Leo", "Ann", "Max"], "answer": "B"}
    scores = baselines([{"problem": "Ann, Max and Leo race. Leo is behind Ann.", "questions": [question]}])
    assert scores["chance"] == pytest.approx(1 / 3)
    assert scores["most common letter (B)"] == 1
    assert scores["option mentioned first in the text"] == 1
    assert scores["option mentioned last in the text"] == 1
    assert scores["option mentioned least often in the text"] == 0
    assert scores["last option"] == 0


def test_the_readme_has_the_baselines_and_one_example_a_family() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    for (name, train), test in zip(
        baselines(committed("train")).items(), baselines(committed("test")).values(), strict=True
    ):
        assert f"| {name} | {train:.1%} | {test:.1%} |" in readme
    for family in ("orderings", "kinship", "chains", "schedules", "sets", "arithmetic"):
        [row] = [line for line in readme.splitlines() if line.startswith(f"| {family} |")]
        assert any(record["problem"] in row for record in committed("test"))
