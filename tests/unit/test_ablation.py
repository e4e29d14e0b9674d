"""The table of strategies."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from made_up_run import Run, strategy

from errata.__main__ import main

MODEL = "smollm2-135m"


def right(*places: int) -> list[bool]:
    return [place in places for place in range(20)]


class Ablation(Run):
    """A made-up run with several strategies."""

    def __init__(self, folder: Path, folds: int | None = None) -> None:
        super().__init__(folder)
        self.config = {
            "dataset": {"folds": folds},
            "strategies": {"self": strategy("self", rounds=2)},
            "ablation": {
                "distill": strategy("distill", teacher="large", questions="all", replay=0.2),
                "prefer": strategy("dpo", start_from="self", pairs=2),
            },
            "generate": {"keep": 1, "attempts": 6, "max_tokens": 96, "token_budget": 50000, "time_budget": None},
            "train": {"learning_rate": 5e-4, "num_train_epochs": 2, "save_steps": 10, "quantization_bit": None},
        }

    def made(self, name: str, rows: int, seconds: float, steps: int) -> None:
        """What a training leaves."""
        folder = self.results / MODEL
        self.write(folder / "sft" / f"{name}.json", [{}] * rows)
        self.write(folder / "adapter" / name / "all_results.json", {"train_runtime": seconds})
        self.write(folder / "adapter" / name / "trainer_state.json", {"global_step": steps})

    def asked(self, name: str, solved: int, prompts: int, completions: int) -> None:
        """What asking for a strategy's completions leaves."""
        summary = {"solved": solved, "prompt_tokens": prompts, "completion_tokens": completions}
        self.write(self.results / MODEL / "retries" / f"{name}.summary.json", summary)

    def write(self, path: Path, value: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))

    def table(self, *models: str) -> tuple[list[dict[str, str]], list[str]]:
        """The rows of the CSV file, and the lines of the Markdown file."""
        output, page = self.folder / "ablation.csv", self.folder / "ablation.md"
        flags = ["--config", json.dumps(self.config), "--results", str(self.results)]
        flags += ["--output", str(output), "--markdown", str(page)]
        scores = ["--scores", *map(str, self.scores)]
        assert main(["ablation", "--model", *(models or [MODEL]), *scores, *flags]) == 0
        with output.open(newline="") as file:
            return list(csv.DictReader(file)), page.read_text().splitlines()


def test_what_strategies_cost_and_came_to(tmp_path: Path) -> None:
    run = Ablation(tmp_path)
    run.score("prefer", "test", right(*range(8)))
    run.score("base", "test", right(0, 1, 2, 19))
    run.score("self", "test", right(*range(12)))
    run.score("self-4bit", "test", right(*range(12)))
    run.score("self+maj8", "test", right(*range(12)))
    run.score("self-round2", "test", right(*range(11)))
    run.score("distill", "test", right(*range(4)))
    run.asked("self", 30, 9000, 4000)
    run.asked("self-round2", 8, 800, 300)
    run.asked("distill", 55, 20000, 10000)
    run.made("self", 30, 60.0, 16)
    run.made("self-round2", 8, 20.0, 4)
    run.made("distill", 66, 125.0, 34)
    run.made("prefer", 40, 90.5, 20)
    answered = {"prompt_tokens": 100, "completion_tokens": 50}
    run.write(run.results / MODEL / "scores" / "self" / "train.summary.json", answered)
    rows, page = run.table()
    found = {row["strategy"]: row for row in rows}
    assert list(found) == ["base", "self", "self-round2", "distill", "prefer"]
    assert all(row["held_out"] == "True" for row in rows)
    costs = {
        name: [row[each] for each in ("retries", "solved", "rows", "prompt_tokens", "completion_tokens")]
        for name, row in found.items()
    }
    assert costs == {
        "base": ["", "", "", "", ""],
        "self": ["self", "30", "30", "9000", "4000"],
        # what was asked before is in it, and the answers of the model of the first round
        "self-round2": ["self-round2", "8", "8", "9900", "4350"],
        "distill": ["distill", "55", "66", "20000", "10000"],
        # it builds on self and takes its completions: they were made once
        "prefer": ["self", "30", "40", "9000", "4000"],
    }
    assert [row["train_seconds"] for row in rows] == ["", "60", "80", "125", "150.5"]
    assert [row["steps"] for row in rows] == ["", "16", "4", "34", "20"]
    first = found["self"]
    assert (first["gained_base"], first["lost_base"], first["gained_self"]) == ("9", "1", "")
    assert float(first["p_base"]) == pytest.approx(2 * 11 / 2**10, abs=1e-6)
    assert (found["distill"]["lost_self"], float(found["distill"]["p_self"])) == (
        "8",
        pytest.approx(2 / 2**8, abs=1e-6),
    )
    assert page[0] == f"{MODEL}: split test, held out from training."
    assert page[4].startswith("| base | – | – | – | – | – | – | – | 20.0 % (8.1 to 41.6), 4 of 20 | – | – |")
    assert page[5] == (
        "| self | self | 30 | 30 | 4,000 | 9,000 | 1 min 00 s | 16 | 60.0 % (38.7 to 78.1), 12 of 20 "
        "| **+40.0 points (+9 −1), p = 0.0215** | – |"
    )
    assert page[6].startswith("| self-round2 | self, round 2 | 8 | 8 | 4,350 |")
    assert page[7].startswith(
        "| distill | distill, teacher large, all questions, 20 % of the first-right ones too | 55 | 66 | 10,000 |"
    )
    assert page[7].endswith("| +0.0 points (+1 −1), p = 1.00 | **−40.0 points (+0 −8), p = 0.0078** |")
    assert page[8].startswith("| prefer | dpo, up to 2 pairs a question, starts from self |")
    assert page[10].startswith(
        "The same base and the same budget for every strategy: at most 6 attempts a question, 50,000 tokens of "
        "completions, at most 96 tokens a completion. Training: learning_rate 0.0005, num_train_epochs 2. What a "
        "strategy starts from is in its tokens and its training time"
    )


def test_of_folds_the_mean_of_the_trainings_is_shown(tmp_path: Path) -> None:
    run = Ablation(tmp_path, folds=2)
    run.score("base", "folds", right(0))
    run.score("self", "folds", right(0, 1))
    run.asked("self", 30, 9000, 4000)
    run.made("self", 99, 99.0, 99)
    for fold, rows in enumerate((20, 25), 1):
        run.made(f"self.fold{fold}", rows, 30.0 + fold, 5 + fold)
    rows, page = run.table()
    assert [rows[1][name] for name in ("rows", "completion_tokens", "train_seconds", "steps")] == [
        "22.5",
        "4000",
        "31.5",
        "6.5",
    ]
    assert page[0].startswith(f"{MODEL}: every training question, by a model trained without its fold (2 folds);")


def test_several_models_each_have_a_table_and_what_is_missing_a_dash(tmp_path: Path) -> None:
    run = Ablation(tmp_path)
    for model in ("small", "large", "other"):
        run.score("base", "train", right(0), model=model)
        run.score("distill", "train", right(1), model=model)
    rows, page = run.table("large", "small")
    assert [row["model"] for row in rows] == ["large", "large", "small", "small"]
    assert [line for line in page if line.startswith(("large", "small"))] == [
        f"{model}: split train, **not held out** from the training of distill." for model in ("large", "small")
    ]
    distilled = [line for line in page if line.startswith("| distill")]
    assert all("| – | – | – | – | – | – | 5.0 %" in line for line in distilled)


def test_a_strategy_that_had_nothing_to_train_on_is_told_with_what_it_cost(tmp_path: Path) -> None:
    run = Ablation(tmp_path)
    run.score("base", "test", right(0))
    run.score("self", "test", right(0, 1))
    run.asked("self", 30, 9000, 4000)
    run.made("self", 30, 60.0, 16)
    run.asked("distill", 0, 700, 500)
    run.write(run.results / MODEL / "sft/distill.json", [])
    rows, page = run.table()
    # the second round and `prefer` were not reached
    assert [row["strategy"] for row in rows] == ["base", "self", "distill"]
    assert [rows[2][name] for name in ("rows", "completion_tokens", "accuracy", "p_base")] == ["0", "500", "", ""]
    (told,) = [line for line in page if line.startswith("| distill")]
    assert "| 0 | 0 | 500 | 700 |" in told
    assert "nothing to train on" in told


def test_a_configuration_without_its_defaults_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Ablation(tmp_path)
    run.score("base", "test", right(0))
    del run.config["ablation"]
    with pytest.raises(AssertionError):
        run.table()
    assert "--config: no 'ablation'. Give the configuration with its defaults filled in" in capsys.readouterr().err
    with pytest.raises(AssertionError):
        Ablation.table(run, "nobody")
