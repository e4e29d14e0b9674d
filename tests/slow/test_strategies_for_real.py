"""Every strategy, rounds, folds, votes and the tables that compare them, on what the small pipeline has made."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from errata.reading.answers import read_answer
from errata.reading.giveaway import gives_away
from helpers import copy_run, read_jsonl, snakemake

pytestmark = pytest.mark.slow

MODEL = Path("results/smollm2-135m")
MORE = {
    "ablation": {
        "self": {"rounds": 2},
        "distill": {"questions": "all"},
        "reflect": {},
        "self-dpo": {"method": "dpo", "start_from": "self"},
    },
    "baselines": {
        "q8": {"source": f"{MODEL}/base/checkpoint", "gguf": "q8_0", "serve": {"context": 1024}},
        "tuned": {"source": f"{MODEL}/tuned/self", "serve": {"context": 1024}},
    },
}


@pytest.fixture(scope="module")
def compared(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small pipeline's run, and on top of it the tables, votes, and folds."""
    folder = copy_run(pipeline, tmp_path_factory.mktemp("strategies") / "errata")
    config = folder / "config" / "config.yaml"
    settings = yaml.safe_load(config.read_text()) | MORE
    config.write_text(yaml.safe_dump(settings))
    run = snakemake(folder, "--", "ablation", "baselines", f"{MODEL}/scores/self+maj3/test.json")
    print(run.stdout[-20000:], run.stderr[-20000:])
    assert run.returncode == 0
    settings["dataset"]["folds"] = 2
    config.write_text(yaml.safe_dump(settings))
    run = snakemake(folder, "--", f"{MODEL}/scores/self/folds.json")
    print(run.stdout[-20000:], run.stderr[-20000:])
    assert run.returncode == 0
    return folder


def training_set(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / MODEL / f"sft/{name}.json").read_text())
    return rows


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_strategy_is_trained_on_checked_completions_alone(compared: Path) -> None:
    answers = {
        (record["id"], question["index"]): question["answer"]
        for record in read_jsonl(compared / "results/data/train.jsonl")
        for question in record["questions"]
    }
    for name in ("self", "distill", "reflect", "self-dpo", "self-round2"):
        rows = training_set(compared, name)
        # of so few questions this model may not have solved one by every method
        assert rows or name in ("reflect", "self-dpo", "self-round2"), name
        for row in rows:
            chosen = row["chosen" if name == "self-dpo" else "output"]
            right = answers[row["id"], row["question"]]
            assert read_answer(chosen, "ABCDEFGH") == right, (name, row)
            if name in ("distill", "reflect"):
                assert not gives_away(chosen)


def test_the_ablation_has_a_row_of_every_strategy_and_says_where_there_was_nothing_to_learn(compared: Path) -> None:
    rows = {row["strategy"]: row for row in table(compared / "results/ablation.csv")}
    assert list(rows) == ["base", "self", "self-round2", "distill", "reflect", "self-dpo"]
    for name, row in rows.items():
        if name == "base":
            continue
        made = training_set(compared, name)
        assert int(row["rows"]) == len(made)
        assert int(row["completion_tokens"]) > 0
        trained = compared / MODEL / f"adapter/{name}"
        assert bool(row["accuracy"]) == bool(made) == trained.is_dir()
        if made:
            assert int(row["steps"]) == 3
            assert float(row["ci_low"]) <= float(row["accuracy"]) <= float(row["ci_high"])
            assert row["held_out"] == "True"
            assert 0 <= float(row["p_base"]) <= 1


def test_a_strategy_on_top_of_another_is_trained_from_its_model(compared: Path) -> None:
    started = [name for name in ("self-round2", "self-dpo") if training_set(compared, name)]
    assert started, "neither had anything to train on: the test shows nothing"
    for name in started:
        adapter = json.loads((compared / MODEL / f"adapter/{name}/adapter_config.json").read_text())
        assert adapter["base_model_name_or_path"] == f"{MODEL}/tuned/self"


def test_base_models_are_compared_on_both_splits(compared: Path) -> None:
    rows = {row["model"]: row for row in table(compared / "results/baselines.csv")}
    assert list(rows) == ["smollm2-135m", "q8", "tuned"]
    scored = [json.loads((compared / f"results/{name}/scores/base/test.json").read_text()) for name in rows]
    assert [score["held_out"] for score in scored] == [True, True, True]
    assert json.loads((compared / "results/tuned/scores/base/train.json").read_text())["held_out"] is False
    sizes = {score["model"]: score["weights_gib"] for score in scored}
    assert sizes["smollm2-135m"] < sizes["q8"] < sizes["tuned"]
    # the same weights under another name give the same answers
    answers = [
        [row["completion"] for row in read_jsonl(compared / f"results/{path}.jsonl")]
        for path in ("tuned/scores/base/test", "smollm2-135m/scores/self/test")
    ]
    assert answers[0] == answers[1]


def test_the_majority_of_samples_is_a_variant_with_its_cost(compared: Path) -> None:
    voted = json.loads((compared / MODEL / "scores/self+maj3/test.json").read_text())
    greedy = json.loads((compared / MODEL / "scores/self/test.json").read_text())
    assert voted["questions"] == greedy["questions"]
    assert voted["completion_tokens"] > greedy["completion_tokens"]
    assert 0 <= voted["sampled_accuracy"] <= 1
    for row in read_jsonl(compared / MODEL / "scores/self+maj3/test.jsonl"):
        assert sum(row["votes"].values()) <= 3
        assert row["answer"] is None or row["votes"][row["answer"]] == max(row["votes"].values())


def test_every_training_question_is_answered_by_a_model_that_has_not_seen_it(compared: Path) -> None:
    folds = [{row["id"] for row in read_jsonl(compared / f"results/data/fold{number}.jsonl")} for number in (1, 2)]
    every = {row["id"] for row in read_jsonl(compared / "results/data/train.jsonl")}
    assert not folds[0] & folds[1]
    assert folds[0] | folds[1] == every
    for number, fold in enumerate(folds, 1):
        assert not fold & {row["id"] for row in training_set(compared, f"self.fold{number}")}
        answered = read_jsonl(compared / MODEL / f"scores/self.fold{number}/fold{number}.jsonl")
        assert {row["id"] for row in answered} == fold
        assert {row["model"] for row in answered} == {f"smollm2-135m-self.fold{number}"}
    score = json.loads((compared / MODEL / "scores/self/folds.json").read_text())
    assert score["questions"] == sum(len(row["questions"]) for row in read_jsonl(compared / "results/data/train.jsonl"))
    assert score["held_out"] is True


def test_more_strategies_and_folds_make_nothing_anew(compared: Path) -> None:
    plan = snakemake(compared, "-n", "--", f"{MODEL}/quantized/self-4bit", f"{MODEL}/scores/self/test.json")
    assert plan.returncode == 0
    assert "Nothing to be done" in plan.stdout + plan.stderr
