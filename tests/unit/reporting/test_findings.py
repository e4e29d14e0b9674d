"""The findings in sentences: accuracy, votes and their cost, what is held out, and what strategies share."""

import csv
import html
import json
from dataclasses import replace
from pathlib import Path

import pytest

from errata.reporting.findings import chance_accuracy, describe_held_out, describe_readable, summarize_model
from errata.reporting.leaderboard import read_rows
from made_up_run import Run, strategy

MODEL = "smollm2-135m"


def right(count: int, of: int = 20) -> list[bool]:
    return [place < count for place in range(of)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_a_vote_is_compared_with_a_single_completion_and_its_cost_is_shown(run: Run) -> None:
    run.score("self+maj8", "test", right(15), tokens=316, labelled_samples=160, right_samples=90)
    run.score("self", "test", right(8))
    run.score("base+maj8", "test", right(5), tokens=320)
    run.score("self-4bit", "test", right(8))
    run.score("base", "test", right(5))
    run.score("self-4bit+maj8", "test", right(9))
    run.score("self-round2", "test", right(8))
    rows = read_rows(run.scores, ["self", "self-round2"])
    assert [row.score.variant for row in rows] == [
        "base",
        "base+maj8",
        "self",
        "self+maj8",
        "self-4bit",
        "self-4bit+maj8",
        "self-round2",
    ]
    against = {row.score.variant: [each.against for each in (row.to_base, row.to_origin) if each] for row in rows}
    assert against == {
        "base": [],
        "base+maj8": ["base"],
        "self": ["base"],
        "self+maj8": ["base", "self"],
        "self-4bit": ["base", "self"],
        "self-4bit+maj8": ["base", "self-4bit"],
        "self-round2": ["base"],
    }
    voted = rows[3]
    assert voted.to_origin is not None
    assert voted.to_origin.test[:3] == (20, 7, 0)
    sentences = [sentence for sentence in summarize_model(rows, MODEL, {4: 1}, {}) if "self+maj8 answers" in sentence]
    assert sentences[0].endswith(
        "35.0 points more than self: significant, exact McNemar p = 0.0156 (7 questions right only here, 0 only "
        "there). 8 sampled completions a question: 7.9 times the completion tokens of self; a single sample is "
        "right in 56.2 % of cases on average."
    )
    base = next(each for each in summarize_model(rows, MODEL, {}, {}) if "base+maj8 answers" in each)
    assert base.endswith("8 sampled completions a question: 8.0 times the completion tokens of base.")
    page = html.unescape(run.report())
    assert sentences[0] in page
    with (run.results / "leaderboard.csv").open(newline="") as file:
        table = {row["variant"]: row for row in csv.DictReader(file)}
    assert (table["self+maj8"]["sampled_accuracy"], table["self"]["sampled_accuracy"]) == ("0.5625", "")
    assert {row["held_out"] for row in table.values()} == {"True"}


def test_folds_are_held_out_and_questions_of_the_training_are_not(run: Run) -> None:
    for split in ("train", "folds", "test"):
        for variant in ("base", "self"):
            run.score(variant, split, right(9), labelled=split != "test")
    run.config["dataset"]["folds"] = 5
    rows = read_rows(run.scores, ["self"])
    assert [(row.score.split, row.score.variant, row.score.held_out) for row in rows] == [
        ("test", "base", True),
        ("test", "self", True),
        ("folds", "base", True),
        ("folds", "self", True),
        ("train", "base", True),
        ("train", "self", False),
    ]
    assert describe_held_out(rows, 5, None) == [
        "test is held out: no model was trained on questions of this split.",
        "folds is held out: every question of train was answered by a model trained without its fold (5 folds, by "
        "problem).",
        "train is not held out: the model was trained on questions of this split (self; the others were not).",
    ]
    sentences = summarize_model(rows, MODEL, {}, {})
    assert sentences[0].startswith("Split test has no labelled question")
    assert any(sentence.startswith("On folds, self answers 9 of 20 right") for sentence in sentences)
    assert not any("On train" in sentence for sentence in sentences), "folds show more"
    page = run.report()
    assert "(5 folds, by problem)" in page
    assert page.count('<span class="line soft">held out</span>') == 5
    assert page.count('<span class="line soft">trained on</span>') == 1


def test_without_labels_and_folds_the_way_to_a_held_out_figure_is_shown(run: Run) -> None:
    for variant in ("base", "self"):
        run.score(variant, "test", right(0), labelled=False)
        run.score(variant, "train", right(9))
    rows = read_rows(run.scores, ["self"])
    sentences = describe_held_out(rows, None, None)
    assert len(sentences) == 3
    assert sentences[2].startswith("No tuned model was scored on labelled questions that it was not trained on")
    assert "`dataset.folds: 5` in the configuration would" in sentences[2]
    sentences = summarize_model(rows, MODEL, {}, {})
    assert "The figures of train say nothing about new questions: the models were trained on this split." in sentences
    assert any(sentence.startswith("On train, self answers 9 of 20 right") for sentence in sentences)
    # without a tuned model nothing needs folds
    assert not any("folds" in sentence for sentence in describe_held_out(rows[:1], None, None))


def test_strategies_that_share_their_completions_share_a_section(run: Run) -> None:
    run.config["strategies"] = {"self": strategy("self"), "prefer": strategy("dpo")}
    run.config["ablation"] = {"reflect": strategy("reflect"), "never": strategy("distill")}
    run.config["generate"]["keep"] = 1
    run.config["dataset"]["folds"] = None
    for variant in ("base", "self", "prefer", "reflect"):
        run.score(variant, "test", right(9))
    run.retries("self")
    path = run.results / MODEL / "retries" / "reflect.jsonl"
    attempt = {"attempt": 1, "completion": "So B.", "answer": "B", "correct": True, "finish_reason": "stop"}
    attempts = [
        {**attempt, "completion_tokens": 7, "rejected": "gives-away", "critique": "I forgot the lamp."},
        {**attempt, "completion_tokens": 7, "attempt": 2, "rejected": "inconclusive"},
        {**attempt, "completion_tokens": 7, "attempt": 3},
    ]
    row = {"id": "train-000", "question": 0, "expected": "B", "template": "aaaaaaaaaaaa"}
    rows = [
        {**row, "first": "A", "outcome": "solved", "attempts": attempts},
        {**row, "first": "B", "question": 1, "outcome": "rejected", "attempts": attempts[:2]},
    ]
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    (run.results / MODEL / "retries" / "reflect.summary.json").write_text(
        '{"template": "aaaaaaaaaaaa", "conclude_template": "cccccccccccc"}'
    )
    (run.results / MODEL / "answers" / "train.summary.json").write_text('{"template": "bbbbbbbbbbbb"}')
    page = run.report()
    assert "first got wrong, strategies self, prefer solved 20 (50.0 %)" in page
    assert f"Of 2 training questions, whatever {MODEL} first answered, strategy reflect solved 1 (50.0 %)" in page
    assert 'solved by attempt 3</th><td class="number">12</td><td class="number">1</td>' in page
    assert "attempt 1: B, right, but it mentions that the answer was given" in page
    assert "attempt 2: B, right, but without the given answer, its reasoning leads to another one" in page
    assert "attempt 3: B, right</h5>" in page
    assert "attempt 1: critique of the mistake" in page
    assert "train-000, question 1: rejected after 2 attempts" in page
    assert "<dt>prompt template, answers</dt><dd>bbbbbbbbbbbb</dd>" in page
    assert "<dt>prompt template, retries reflect</dt><dd>aaaaaaaaaaaa</dd>" in page
    assert "<dt>prompt template, retries reflect, verifying</dt><dd>cccccccccccc</dd>" in page
    assert "Strategy prefer: no training log yet" in page
    assert "Strategy never" not in page, "a strategy of target ablation without a score is not mentioned"


def test_summary_sets_unreadable_answers_apart(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.score("base", "test", [True] * 6 + [False] * 14)
    score = replace(read_rows(run.scores, ["self"])[0].score, unreadable=4)
    assert describe_readable(score) == "; 4 answers cannot be read, of the others 37.5 % are right"
    assert describe_readable(replace(score, unreadable=20, correct=0)) == "; no answer can be read"
    assert describe_readable(replace(score, unreadable=0)) == ""


def test_random_guesses_get_one_question_in_as_many_as_it_has_options(tmp_path: Path) -> None:
    questions = [
        {"options": ["a", "b"], "answer": "A"},
        {"options": list("abcd"), "answer": "A"},
        {"options": list("ab")},
    ]
    data = tmp_path / "test.jsonl"
    data.write_text(json.dumps({"questions": questions}) + "\n")
    assert chance_accuracy(data) == pytest.approx(0.375)
    assert chance_accuracy(tmp_path / "missing.jsonl") is None


def test_summary_of_many_quantized_variants_is_short(tmp_path: Path) -> None:
    run = Run(tmp_path)
    names = [f"{strategy}{bits}" for strategy in ("self", "dpo", "reflect") for bits in ("", "-4bit", "-3bit")]
    for name in ["base", *names]:
        run.score(name, "test", [name != "dpo-3bit"] * 40)
    sentences = summarize_model(read_rows(run.scores, ["self", "dpo", "reflect"]), "smollm2-135m", {3: 32, 4: 0.5}, {})
    assert len(sentences) == 5
    assert "of 6 quantized variants these differ significantly" in sentences[4]
    assert "(exact McNemar): dpo-3bit. Over their memory limit: dpo-4bit, reflect-4bit." in sentences[4]
