"""The leaderboard and the report, from a made-up run that has every kind of file."""

import csv
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from errata.core.wording import p_value
from errata.reporting.findings import summarize_model
from errata.reporting.leaderboard import COLUMNS, read_rows
from errata.reporting.report import LONGEST, shorten, show_unprintable
from helpers import REPOSITORY
from made_up_run import SERVED, Run, whole_run


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


def test_the_page_loads_nothing(page: str) -> None:
    checker = checked(page)
    assert checker.tags.count("svg") == 4
    assert "http" not in page
    assert "x://(not shown)@host/v1" in page
    assert "prefers-color-scheme: dark" in page
    assert "#0102" not in page, "every placeholder colour is replaced"


def test_text_of_a_model_is_escaped(page: str) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "[U+001B][31mred[U+001B][0m [U+0000] [U+D83D] half &amp; &#34;quoted&#34;" in page
    assert "[U+202E] rtl" in page
    assert not any(character < " " and character not in "\n\t" for character in page)


def test_secrets_are_not_shown(page: str) -> None:
    assert "hunter2" not in page
    assert "me:pw" not in page


def test_the_summary_says_which_differences_are_significant(run: Run, page: str) -> None:
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
    assert len(sentences) == 4, "the training split is left out"
    for sentence in sentences[:2]:
        assert sentence in html.unescape(page)


def test_dequantized_weights_are_marked(page: str) -> None:
    assert page.count(f'<span class="served notice">{SERVED["self-4bit"]}</span>') == 4


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("", "no model was trained on questions of this split. No problem of train occurs in it word for word."),
        ("7,t1\n7,t2\n", "1 problem of train occurs in it word for word (7); it is left out of the training sets"),
        ("7,t1\n8,t2\n", "2 problems of train occur in it word for word (7, 8); they are left out of the training"),
        (None, None),
    ],
)
def test_leaks_are_reported(tmp_path: Path, rows: str | None, sentence: str | None) -> None:
    run = Run(tmp_path)
    run.score("base", "test", [True])
    if rows is not None:
        (run.results / "data").mkdir()
        (run.results / "data" / "leaks.csv").write_text("train_id,test_id\n" + rows)
    page = run.report()
    assert sentence in page if sentence else "word for word" not in page


def test_failed_requests_are_counted(tmp_path: Path) -> None:
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


def test_missing_pieces_are_reported(tmp_path: Path) -> None:
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
            run.score(variant, "test", run.draw(60, 0.5), model=model)
        for strategy in ("self", "reflect"):
            run.retries(strategy, model)
            run.training(strategy, model)
    page = run.report()
    checked(page)
    assert '<h2 id="model-2">large</h2>' in page
    assert "large: reflect" in page


def test_only_named_benchmarks_and_summaries_are_shown(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.score("base", "test", [True], template="bbbbbbbbbbbb")
    run.benchmarks()
    page = run.report()
    assert "smollm2-135m/train/self" in page
    assert "bbbbbbbbbbbb" in page
    page = run.report("--benchmarks", str(run.results / "benchmarks" / "report.tsv"), "--summaries")
    assert "smollm2-135m/train/self" not in page
    assert '<th scope="row">report</th>' in page
    assert "bbbbbbbbbbbb" not in page


def test_a_report_of_the_contest_size_stays_small(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for variant in ("base", "self", "self-4bit", "self-3bit"):
        run.score(variant, "test", run.draw(1328, 0.85), completion="Because of this and that. " * 40)
        run.score(variant, "train", run.draw(1417, 0.86), completion="Because of this and that. " * 40)
    run.report()
    assert run.page.stat().st_size < 2_000_000


def test_p_values_for_people() -> None:
    assert [p_value(p) for p in (0.00002, 0.0003, 0.0499, 0.27, 1.0)] == [
        "p < 0.0001",
        "p = 0.0003",
        "p = 0.0499",
        "p = 0.27",
        "p = 1.00",
    ]


def test_unprintable_and_long_texts() -> None:
    assert show_unprintable("a\r\nb\tc\x07\x9b\udc00 \u200d 题 😀") == "a\nb\tc[U+0007][U+009B][U+DC00] \u200d 题 😀"
    assert shorten("x" * LONGEST) == "x" * LONGEST
    assert shorten("x" * (LONGEST + 7)).endswith("[... 7 more characters, not shown here]")


def test_rules_name_the_captions_that_exist() -> None:
    rules = (REPOSITORY / "workflow" / "rules").glob("*.smk")
    named = {name for rule in rules for name in re.findall(r'caption="\.\./report/([^"]+)"', rule.read_text("utf-8"))}
    existing = {path.name for path in (REPOSITORY / "workflow" / "report").glob("*.rst")}
    assert named == existing
