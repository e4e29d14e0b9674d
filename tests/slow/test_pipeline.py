"""The whole workflow for real on a part of the puzzles: llama.cpp's server, LLaMA-Factory, GPTQModel, the report."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import copy_run, read_jsonl, snakemake

pytestmark = pytest.mark.slow

MODEL = Path("results/smollm2-135m")
VARIANTS = ["base", "self", "self-3bit", "self-4bit"]


def planned(pipeline: Path, *arguments: str) -> dict[str, int]:
    """The jobs of a dry run by rule."""
    run = snakemake(pipeline, "--quiet", "host", "-n", *arguments)
    assert run.returncode == 0, run.stdout + run.stderr
    table = re.search(r"Job stats:\n(.*?)\ntotal", run.stdout, re.DOTALL)
    rows = [line.split() for line in table[1].splitlines()[2:]] if table else []
    return {rule: int(count) for rule, count in rows}


def command_in(folder: Path) -> Callable[[Path], str]:
    """Tell the command of a process that stands in this folder; nothing of the others."""

    def command(process: Path) -> str:
        try:
            here = (process / "cwd").readlink() == folder
            return (process / "cmdline").read_text(errors="replace") if here else ""
        except OSError:
            return ""  # it has ended, or is not ours to look at

    return command


def test_every_variant_is_on_the_leaderboard_with_its_interval(pipeline: Path) -> None:
    with (pipeline / "results/leaderboard.csv").open() as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    assert sorted(rows) == VARIANTS
    asked = {row["questions"] for row in rows.values()}
    assert len(asked) == 1
    for row in rows.values():
        assert float(row["ci_low"]) <= float(row["accuracy"]) <= float(row["ci_high"])
        assert float(row["accuracy"]) == pytest.approx(
            int(row["correct"]) / int(row["questions"]), abs=1e-6
        )  # six digits
    assert float(rows["self-3bit"]["weights_gib"]) < float(rows["self-4bit"]["weights_gib"])
    assert float(rows["self-4bit"]["weights_gib"]) < float(rows["self"]["weights_gib"])
    assert all(("dequantized" in rows[name]["served"]) == ("bit" in name) for name in VARIANTS)


def test_the_report_stands_alone_and_says_how_quantized_checkpoints_were_served(pipeline: Path) -> None:
    page = (pipeline / "results/report.html").read_text()
    assert "dequantized" in page
    assert "McNemar" in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert not re.search(r"url\((?!#|[\"']?data:)", page)


def test_exactly_the_first_wrong_questions_are_retried_and_the_solved_ones_trained_on(pipeline: Path) -> None:
    answers = read_jsonl(pipeline / MODEL / "answers/train.jsonl")
    retries = read_jsonl(pipeline / MODEL / "retries/self.jsonl")
    wrong = [(row["id"], row["question"]) for row in answers if not row["correct"]]
    assert [(row["id"], row["question"]) for row in retries] == wrong
    right = {
        (row["id"], row["question"]): [attempt for attempt in row["attempts"] if attempt["correct"]] for row in retries
    }
    assert [bool(attempts) for attempts in right.values()] == [row["outcome"] == "solved" for row in retries]
    # of attempts side by side two may be right: the first of them is trained on
    solved = {key: attempts[0] for key, attempts in right.items() if attempts}
    training = json.loads((pipeline / MODEL / "sft/self.json").read_text())
    prompts = {(row["id"], row["question"]): row["prompt"] for row in answers}
    assert {(row["id"], row["question"]): (row["instruction"], row["output"]) for row in training} == {
        key: (prompts[key], attempt["completion"]) for key, attempt in solved.items()
    }


def test_the_labels_are_the_corrected_ones(pipeline: Path) -> None:
    with (pipeline / "results/data/train.changes.csv").open() as file:
        changes = [row for row in csv.DictReader(file) if row["action"] == "answer"]
    labels = {
        (record["id"], question["index"]): question["answer"]
        for record in read_jsonl(pipeline / "results/data/train.jsonl")
        for question in record["questions"]
    }
    inside = [row for row in changes if (row["id"], int(row["question"])) in labels]
    assert inside
    assert all(labels[row["id"], int(row["question"])] == row["new"] for row in inside)


def test_calibration_never_sees_the_test_split(pipeline: Path) -> None:
    test_ids = {record["id"] for record in read_jsonl(pipeline / "results/data/test.jsonl")}
    texts = json.loads((pipeline / MODEL / "calibration/self.json").read_text())
    assert texts
    assert not test_ids & {text["id"] for text in texts}


def test_checkpoints_are_complete_and_hold_no_pickles(pipeline: Path) -> None:
    for folder in ["base/checkpoint", "tuned/self", "quantized/self-3bit", "quantized/self-4bit"]:
        names = {path.name for path in (pipeline / MODEL / folder).iterdir()}
        assert {"config.json", "tokenizer.json"} <= names
        assert any(name.endswith(".safetensors") for name in names)
        assert not any(name.endswith((".bin", ".pt", ".pth", ".pkl")) for name in names)
    for bits in (3, 4):
        config = json.loads((pipeline / MODEL / f"quantized/self-{bits}bit/config.json").read_text())
        settings = config["quantization_config"]
        assert (settings["bits"], settings["sym"], settings["desc_act"]) == (bits, True, False)


def test_a_merged_checkpoint_has_the_tokenizer_of_its_base_and_other_weights(pipeline: Path) -> None:
    base, tuned, adapter = (pipeline / MODEL / name for name in ("base/checkpoint", "tuned/self", "adapter/self"))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (tuned / name).read_bytes() == (base / name).read_bytes()
    assert json.loads((tuned / "config.json").read_text())["dtype"] == "float32"
    assert (tuned / "model.safetensors").read_bytes() != (base / "model.safetensors").read_bytes()
    assert (adapter / "training_loss.png").stat().st_size > 1000
    assert not (pipeline / MODEL / "checkpoints/self").exists(), "the work folder goes when the training is done"


def test_submissions_are_the_input_records_with_answers(pipeline: Path) -> None:
    given = read_jsonl(pipeline / "data/puzzles/test.jsonl")[:6]
    for variant in VARIANTS:
        submitted = read_jsonl(pipeline / MODEL / f"submission/{variant}/test.jsonl")
        assert [record["id"] for record in submitted] == [record["id"] for record in given]
        for ours, theirs in zip(submitted, given, strict=True):
            assert ours["problem"] == theirs["problem"]
            for question, original in zip(ours["questions"], theirs["questions"], strict=True):
                letters = "ABCDEFGHIJ"[: len(original["options"])]
                assert question["answer"] is None or question["answer"] in letters
                assert {**question, "answer": original["answer"]} == original


def test_afterwards_nothing_is_to_be_done_and_nothing_runs(pipeline: Path) -> None:
    assert planned(pipeline) == {}
    commands = [command for command in map(command_in(pipeline), Path("/proc").glob("[0-9]*")) if command]
    assert commands == []


def test_one_target_by_its_path_makes_only_that(pipeline: Path) -> None:
    target = str(MODEL / "quantized/self-3bit")
    assert planned(pipeline, target) == {}
    assert planned(pipeline, "--forcerun", "quantize", "--", target) == {"quantize": 1}


def test_a_changed_setting_makes_only_what_depends_on_it_again(pipeline: Path) -> None:
    again = planned(pipeline, "--config", 'quantize={"samples": 5}')
    assert again["quantize"] == 2
    assert not {"answer", "retry", "train", "merge_lora", "convert_gguf"} & set(again)
    # the report shows the whole configuration; nothing is asked anew
    assert set(planned(pipeline, "--config", 'generate={"concurrency": 4}')) <= {"report", "all"}
    again = planned(pipeline, "--config", 'generate={"attempts": 1}')
    assert again["retry"] == 1
    assert "answer" not in again


def test_answering_again_asks_nothing_twice(pipeline: Path, tmp_path: Path) -> None:
    # in a copy: other sessions use the run
    run = copy_run(pipeline, tmp_path / "errata")
    answers = run / MODEL / "answers/test.jsonl"
    before = answers.read_text()
    done = snakemake(run, "--forcerun", "answer", "--", str(answers.relative_to(run)))
    assert done.returncode == 0, done.stderr
    assert answers.read_text() == before
    summary = json.loads(answers.with_suffix(".summary.json").read_text())
    assert summary["reused"] == summary["questions"]
