"""Step ablation: strategies compared."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from errata.__main__ import main
from made_up_run import Run, strategy, write_lines

MODEL = "smollm2-135m"


def right(*places: int) -> list[bool]:
    return [place in places for place in range(20)]


class Ablation(Run):
    """A made-up run with several strategies."""

    def __init__(self, folder: Path, folds: int | None = None) -> None:
        super().__init__(folder)
        self.config |= {
            "dataset": {"train": "train.jsonl", "test": "test.jsonl", "folds": folds},
            "baselines": {"large": {"source": "y"}},
            "strategies": {"self": strategy("self", rounds=2)},
            "ablation": {
                "distill": strategy("distill", teacher="large", questions="all", replay=0.2),
                "prefer": strategy("dpo", start_from="self", pairs=2),
            },
            "generate": {"keep": 1, "attempts": 6, "max_tokens": 96, "token_budget": 50000, "time_budget": None},
            "train": {"learning_rate": 5e-4, "num_train_epochs": 2, "save_steps": 10, "quantization_bit": None},
        }

    def write_training(self, name: str, rows: int, seconds: float, steps: int) -> None:
        """Write the files of a training that was never interrupted."""
        folder = self.results / MODEL
        self.write(folder / "sft" / f"{name}.json", [{}] * rows)
        self.write(folder / "adapter" / name / "all_results.json", {"train_runtime": seconds})
        self.write(folder / "adapter" / name / "trainer_state.json", {"global_step": steps})

    def write_runs(self, name: str, *runs: tuple[str, float, bool]) -> None:
        """Write the runs of a training: why each ended, its seconds, and whether it may have taken longer."""
        rows = [
            {"start": 5 * place, "why": why, "seconds": seconds, "at_least": at_least}
            for place, (why, seconds, at_least) in enumerate(runs)
        ]
        write_lines(self.results / MODEL / "adapter" / name / "runs.jsonl", rows)

    def write_retries(self, name: str, solved: int, prompts: int, completions: int, cancelled: int = 0) -> None:
        """Write the summary of a strategy's retries, with their tokens."""
        tokens = {"prompt_tokens": prompts, "completion_tokens": completions, "cancelled_tokens": cancelled}
        summary = {"solved": solved, **tokens}
        self.write(self.results / MODEL / "retries" / f"{name}.summary.json", summary)

    def write(self, path: Path, value: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))

    def table(self, *models: str) -> tuple[list[dict[str, str]], list[str]]:
        """Run step ablation.

        Args:
            models: in their order; the usual one where there are none.

        Returns:
            The rows of the CSV file, and the lines of the Markdown file.
        """
        output, page = self.folder / "ablation.csv", self.folder / "ablation.md"
        flags = ["--config", self.write_config(), "--results", str(self.results)]
        flags += ["--output", str(output), "--markdown", str(page)]
        scores = ["--scores", *map(str, self.scores)]
        assert main(["ablation", "--model", *(models or [MODEL]), *scores, *flags]) == 0
        with output.open(newline="") as file:
            return list(csv.DictReader(file)), page.read_text().splitlines()


def test_costs_and_accuracy_of_strategies(tmp_path: Path) -> None:
    run = Ablation(tmp_path)
    run.score("prefer", "test", right(*range(8)))
    run.score("base", "test", right(0, 1, 2, 19))
    run.score("self", "test", right(*range(12)))
    run.score("self-4bit", "test", right(*range(12)))
    run.score("self+maj8", "test", right(*range(12)))
    run.score("self-round2", "test", right(*range(11)))
    run.score("distill", "test", right(*range(4)))
    run.write_retries("self", 30, 9000, 4000)
    run.write_retries("self-round2", 8, 800, 300)
    run.write_retries("distill", 55, 20000, 10000)
    run.write_training("self", 30, 60.0, 16)
    run.write_training("self-round2", 8, 20.0, 4)
    run.write_training("distill", 66, 125.0, 34)
    run.write_training("prefer", 40, 90.5, 20)
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
        # includes the retries of the first round, and the answers of its model
        "self-round2": ["self-round2", "8", "8", "9900", "4350"],
        "distill": ["distill", "55", "66", "20000", "10000"],
        # starts from self and is trained on the same completions, which count once
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
        "| distill | distill, teacher large, all questions, plus 20 % of the first-right questions | 55 | 66 | 10,000 |"
    )
    assert page[7].endswith("| +0.0 points (+1 −1), p = 1.00 | **−40.0 points (+0 −8), p = 0.0078** |")
    assert page[8].startswith("| prefer | dpo, up to 2 pairs a question, starts from self |")
    assert page[10].startswith(
        "The same base and the same budget for every strategy: at most 6 attempts a question, 50,000 tokens of "
        "completions, at most 96 tokens a completion. Training: learning_rate 0.0005, num_train_epochs 2. Tokens "
        "and training time include those of the strategy that a row starts from; rows and steps do not. Training is"
    )
    assert "cancelled" not in page[10]
    assert "at least" not in page[6]


def test_folds_show_the_mean_of_their_trainings(tmp_path: Path) -> None:
    run = Ablation(tmp_path, folds=2)
    run.score("base", "folds", right(0))
    run.score("self", "folds", right(0, 1))
    run.write_retries("self", 30, 9000, 4000)
    run.write_training("self", 99, 99.0, 99)
    for fold, rows in enumerate((20, 25), 1):
        run.write_training(f"self.fold{fold}", rows, 30.0 + fold, 5 + fold)
    rows, page = run.table()
    assert [rows[1][name] for name in ("rows", "completion_tokens", "train_seconds", "steps")] == [
        "22.5",
        "4000",
        "31.5",
        "6.5",
    ]
    assert page[0] == (
        f"{MODEL}: every training question, answered by a model trained without its fold (2 folds). Solved and tokens "
        "count the retries of all training questions, once for all folds; rows, training and steps are means over the "
        "2 trainings, each without its fold."
    )
    run.score("self-round2", "folds", right(0, 1))
    for fold in (1, 2):
        run.write_retries(f"self-round2.fold{fold}", 2 * fold, 90, 40 * fold)
        answered = {"prompt_tokens": 100, "completion_tokens": 50}
        run.write(run.results / MODEL / "scores" / f"self.fold{fold}" / "train.summary.json", answered)
    rows, page = run.table()
    assert [rows[2][name] for name in ("solved", "completion_tokens")] == ["3", "4110"], "the mean of 4090 and 4130"
    assert "A further round asks the model of each fold about all training questions" in page[0]


def test_each_model_has_a_table_and_missing_figures_are_dashes(tmp_path: Path) -> None:
    run = Ablation(tmp_path)
    for model in ("small", "large", "other"):
        run.score("base", "train", right(0), model=model)
        run.score("distill", "train", right(1), model=model)
    rows, page = run.table("large", "small")
    assert [row["model"] for row in rows] == ["large", "large", "small", "small"]
    assert [line for line in page if line.startswith(("large", "small"))] == [
        f"{model}: split train, **not held out** from the training of distill; "
        "differences are shown for held-out rows only."
        for model in ("large", "small")
    ]
    assert {row["p_base"] for row in rows} == {""}
    distilled = [line for line in page if line.startswith("| distill")]
    assert all("| – | – | – | – | – | – | 5.0 %" in line for line in distilled)


def test_a_strategy_with_nothing_to_train_on_is_shown_with_its_cost(tmp_path: Path) -> None:
    run = Ablation(tmp_path)
    run.score("base", "test", right(0))
    run.score("self", "test", right(0, 1))
    run.write_retries("self", 30, 9000, 4000)
    run.write_training("self", 30, 60.0, 16)
    run.write_retries("distill", 0, 700, 500)
    run.write(run.results / MODEL / "sft/distill.json", [])
    rows, page = run.table()
    # the second round and `prefer` were not reached
    assert [row["strategy"] for row in rows] == ["base", "self", "distill"]
    assert [rows[2][name] for name in ("rows", "completion_tokens", "accuracy", "p_base")] == ["0", "500", "", ""]
    (distilled,) = [line for line in page if line.startswith("| distill")]
    assert "| 0 | 0 | 500 | 700 |" in distilled
    assert "nothing to train on" in distilled


def test_strategies_that_cannot_start_are_shown_and_rounds_left_from_an_earlier_run_are_not(tmp_path: Path) -> None:
    run = Ablation(tmp_path)
    run.config["strategies"] = {"self": strategy("self", rounds=4)}
    run.config["ablation"] |= {"prefer": strategy("dpo", start_from="distill", rounds=2)}
    run.config["ablation"]["again"] = strategy("dpo", start_from="prefer")
    run.score("base", "test", right(0))
    run.score("self", "test", right(0, 1))
    for name in ("distill", "self-round2", "self-round3", "self-round4", "prefer-round2"):
        run.write(run.results / MODEL / f"sft/{name}.json", [])
    rows, page = run.table()
    # round 2 had nothing to train on, so no later round was reached: their training sets are from another run
    assert [row["strategy"] for row in rows] == ["base", "self", "self-round2", "distill", "prefer", "again"]
    why = {line.split("|")[1].strip(): line.split("|")[9].strip() for line in page if line.startswith("| ")}
    assert [why[name] for name in ("self-round2", "distill")] == ["nothing to train on"] * 2
    assert [why[name] for name in ("prefer", "again")] == ["nothing to start from"] * 2


def test_training_time_is_that_of_all_runs_and_cancelled_tokens_are_shown(tmp_path: Path) -> None:
    run = Ablation(tmp_path)
    for name in ("base", "self", "distill", "prefer"):
        run.score(name, "test", right(0))
    run.write_retries("self", 30, 9000, 4000, cancelled=1234)
    run.write_retries("distill", 30, 9000, 5000)
    for name in ("self", "distill", "prefer"):
        run.write_training(name, 30, 10.0, 16)
    run.write_runs("self", ("deadline", 50.0, False), ("finished", 10.0, False))
    run.write_runs("prefer", ("", 20.0, True), ("finished", 10.0, False))
    rows, page = run.table()
    assert [(row["train_seconds"], row["train_at_least"]) for row in rows] == [
        ("", ""),
        ("60", "False"),
        ("10", "False"),  # trained by a version without runs.jsonl
        ("90", "True"),
    ]
    assert [row["cancelled_tokens"] for row in rows] == ["", "1234", "0", "1234"]
    assert "| 4,000 + about 1,234 cancelled | 9,000 | 1 min 00 s |" in page[5]
    assert "| 5,000 | 9,000 | 10 s |" in page[6]
    assert "| at least 1 min 30 s |" in page[7]
    assert "Where it says at least, a run failed or was killed" in page[9]
    assert "Tokens of cancelled attempts are an estimate" in page[9]


@pytest.mark.parametrize(
    ("strategies", "wanted"),
    [
        ({"mine": "self", "other": "self"}, "mine"),
        ({"mine": "self", "self": "self"}, "self"),
        ({"self": "distill", "mine": "self"}, "mine"),
        ({"self": "distill"}, None),
    ],
)
def test_the_others_are_compared_with_a_strategy_of_method_self(
    tmp_path: Path, strategies: dict[str, str], wanted: str | None
) -> None:
    run = Ablation(tmp_path)
    run.config["strategies"] = {name: strategy(method) for name, method in strategies.items()}
    run.config["ablation"] = {"more": strategy("reflect")}
    run.score("base", "test", right(0))
    for name in (*strategies, "more"):
        run.score(name, "test", right(0, 1))
    rows, page = run.table()
    compared = {row["strategy"] for row in rows if wanted and row[f"p_{wanted}"]}
    assert compared == ({*strategies, "more"} - {wanted} if wanted else set())
    assert [name for name in rows[0] if name.startswith("p_")] == ["p_base", *([f"p_{wanted}"] if wanted else [])]
    titles = ["accuracy", "against base", *([f"against {wanted}"] if wanted else [])]
    assert page[2].endswith(f"| {' | '.join(titles)} |")
    assert len({line.count("|") for line in page[2 : 6 + len(strategies)]}) == 1


def test_without_an_answer_there_is_nothing_to_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Ablation(tmp_path)
    for name in ("base", "self"):
        run.score(name, "test", right(), labelled=False)
    with pytest.raises(AssertionError):
        run.table()
    assert "no question of test has an answer, so there is nothing to compare; set dataset.folds" in (
        capsys.readouterr().err
    )


def test_a_configuration_is_completed_with_its_defaults(tmp_path: Path) -> None:
    run = Ablation(tmp_path)
    run.score("base", "test", right(0))
    run.score("reflect", "test", right(0, 1))
    del run.config["ablation"], run.config["generate"], run.config["train"]
    rows, page = run.table()
    assert [(row["strategy"], row["method"]) for row in rows] == [("base", ""), ("reflect", "reflect")]
    assert "at most 6 attempts a question, at most 1,024 tokens a completion. Training: the defaults." in page[7]


def test_models_without_scores_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Ablation(tmp_path)
    run.score("base", "test", right(0))
    with pytest.raises(AssertionError):
        run.table("nobody")
    assert "--scores: no score of a base or a strategy of these models" in capsys.readouterr().err
