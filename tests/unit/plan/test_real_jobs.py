"""Real jobs: bad data, a whole run with stand-ins for the steps, and the jobs that a change plans again.

The stand-ins only check their flags and write something as their outputs (see stub_main.py), so that Snakemake has real
records of the inputs of every file.
"""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from dry_runs import LAPTOP, LOCAL, SLURM, SMOL, Dry, clone, snakemake

from helpers import REPOSITORY

AFTER_A_RUN = {
    "nothing": LOCAL,
    "concurrency": (*LOCAL, "--config", 'generate={"concurrency": 3}', "memory_budget_gib={3: 0.2}"),
    "samples": (*LOCAL, "--config", "quantize={samples: 7}"),
    "attempts": (*LOCAL, "--config", "generate={attempts: 9}"),
    "epochs": (*LOCAL, "--config", "train={num_train_epochs: 1}"),
    "temperature": (*LOCAL, "--config", "generate={temperature: 0.1}"),
    "slurm": SLURM,
}
# The rules after a rule, without all and report, which come last.
AFTER_QUANTIZE = {"quantize", "dequantize", "gguf", "answer_variant", "score", "submission"}
AFTER_TRAIN = AFTER_QUANTIZE | {"train", "merge_lora"}
AFTER_RETRY = AFTER_TRAIN | {"retry", "training_set", "calibration"}
END = {"all", "report"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which stand-ins have made everything."""
    folder = clone(tmp_path_factory.mktemp("workflow") / "made")
    package = folder / "workflow" / "errata"
    (package / "__main__.py").rename(package / "real_main.py")
    shutil.copy(REPOSITORY / "tests" / "stub_main.py", package / "__main__.py")
    # a benchmark of a strategy that was renamed
    old = folder / "results" / "benchmarks" / "smollm2-135m" / "train-renamed.tsv"
    old.parent.mkdir(parents=True)
    old.write_text("s\th:m:s\n1.0\t0:00:01\n")
    done = snakemake(folder, *LOCAL, "--cores", "2")
    assert done.status == 0, done.text
    return folder


@pytest.fixture(scope="module")
def replanned(made: Path) -> Iterator[dict[str, Future[Dry]]]:
    """The dry runs after everything was made, by the name of the change."""
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(snakemake, made, "-n", *words) for name, words in AFTER_A_RUN.items()}


# --- bad data


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Dry:
    """A real run, not a dry one, on data with faults."""
    folder = clone(tmp_path_factory.mktemp("workflow") / "bad")
    with (folder / "data/puzzles/train.jsonl").open("a") as file:
        file.write('{"id": "torn"\n{"id": "train-0", "problem": "p", "questions": []}\n')
    return snakemake(folder, *LOCAL, "--cores", "2", "results/data/train.jsonl")


def test_bad_data_fails_in_rule_fix_with_every_fault_shown(bad: Dry) -> None:
    assert bad.status != 0
    assert "errata fix: data/puzzles/train.jsonl: 3 faults" in bad.text
    assert "data/puzzles/train.jsonl:4: not valid JSON" in bad.text
    assert "data/puzzles/train.jsonl:5: id 'train-0' is already used in line 1" in bad.text
    assert "Remedy:" in bad.text
    assert "Traceback" not in bad.text


def test_a_step_that_fails_fails_its_job(bad: Dry) -> None:
    # through the pipe into its log; otherwise a failure looks like a success with a missing output
    assert "non-zero exit" in bad.text
    assert "missing files" not in bad.text.lower()


def test_the_message_of_a_failed_step_appears_once_and_a_few_lines_follow(bad: Dry) -> None:
    assert bad.text.count("3 faults") == 1
    after = bad.text.partition("Remedy:")[2].strip().splitlines()
    assert len(after) <= 13, after
    assert sum("-m errata fix" in line for line in after) == 1
    assert "prefix.sh" not in bad.text


# --- after a run


def test_every_rule_calls_its_step_with_flags_that_it_has_and_makes_all_its_outputs(made: Path) -> None:
    called = [json.loads(line) for line in (made / "calls.jsonl").read_text().splitlines()]
    steps = [call[0] for call in called]
    assert len(called) == sum(LAPTOP.values()) - LAPTOP["all"] - LAPTOP["base_answers"]
    assert {step: steps.count(step) for step in ("answer", "retry", "quantize", "score", "report")} == {
        "answer": 5,
        "retry": 1,
        "quantize": 2,
        "score": 4,
        "report": 1,
    }
    (report,) = (call for call in called if call[0] == "report")
    shown = {Path(word).stem for word in report if word.endswith(".tsv")}
    assert {"train-self", "answer-base-test", "fix-train", "environment-serve-cpu"} <= shown
    assert "train-renamed" not in shown
    (leaderboard,) = made.glob("results/leaderboard.csv")
    assert leaderboard.exists()
    assert not list((made / SMOL / "dequantized").glob("*")), "temporary outputs are removed"


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("nothing", set()),
        ("slurm", set()),
        ("samples", {"calibration"} | AFTER_QUANTIZE | END),
        ("attempts", AFTER_RETRY | END),
        ("epochs", AFTER_TRAIN | END),
        ("temperature", {"answer", "base_answers", "merge_questions"} | AFTER_RETRY | END),
        # also changes a memory budget: the report shows both, and no other job depends on them
        ("concurrency", END),
    ],
)
def test_a_change_repeats_only_the_jobs_that_depend_on_it(
    replanned: dict[str, Future[Dry]], name: str, rules: set[str]
) -> None:
    dry = replanned[name].result()
    assert dry.status == 0, dry.text
    assert set(dry.jobs) == rules, dry.text
    if not rules:
        assert "Nothing to be done" in dry.text


def test_each_quantized_checkpoint_is_made_again(replanned: dict[str, Future[Dry]]) -> None:
    jobs = replanned["samples"].result().jobs
    # base and tuned scores stay
    assert (jobs["quantize"], jobs["answer_variant"], jobs["score"]) == (2, 2, 2)


def test_corrected_labels_reach_everything_below_them(made: Path, replanned: dict[str, Future[Dry]]) -> None:
    for plan in replanned.values():
        plan.result()
    table = made / "data" / "puzzles" / "corrections.csv"
    table.write_text(table.read_text() + "train-1,0,drop,,,unclear\n")
    jobs = snakemake(made, "-n", *LOCAL).jobs
    assert jobs["fix"] == 2
    assert {"answer", "retry", "train", "quantize", "report"} <= jobs.keys()
    assert not {"environment", "fetch_gguf", "convert_gguf"} & jobs.keys()
