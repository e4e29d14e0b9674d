"""The table of base models."""

import csv
from pathlib import Path

import pytest

from errata.__main__ import main
from made_up_run import Run


def right(count: int, of: int = 20) -> list[bool]:
    return [place < count for place in range(of)]


def table(run: Run, *scores: Path) -> tuple[list[dict[str, str]], list[str]]:
    """The rows of the CSV file, and the lines of the Markdown file."""
    csv_file, page = run.folder / "baselines.csv", run.folder / "baselines.md"
    run.config["generate"] = {"max_tokens": 96, "temperature": 0.0}
    flags = ["--config", run.write_config(), "--output", str(csv_file), "--markdown", str(page)]
    assert main(["baselines", "--scores", *map(str, scores or run.scores), *flags]) == 0
    with csv_file.open(newline="") as file:
        return list(csv.DictReader(file)), page.read_text().splitlines()


def test_models_are_compared_with_the_best_on_test(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for model, train, test in (("tiny", 5, 4), ("large", 15, 12), ("middle", 16, 10)):
        run.score("base", "train", right(train), model=model, tokens=30)
        run.score("base", "test", right(test), model=model, tokens=50)
    rows, page = table(run)
    assert [row["model"] for row in rows] == ["tiny", "large", "middle"], "the order of the scores"
    assert (rows[0]["train_correct"], rows[0]["train_questions"], rows[0]["train_accuracy"]) == ("5", "20", "0.25")
    assert (rows[0]["test_accuracy"], rows[0]["best"], rows[0]["right_only_best"]) == ("0.2", "large", "8")
    assert (rows[0]["right_only_here"], float(rows[0]["p"])) == ("0", pytest.approx(2 / 2**8, abs=1e-6))
    # 20 questions on each split, 30 and 50 tokens of completion and 120 of prompt each
    assert (rows[0]["tokens_per_question"], rows[0]["tokens"]) == ("40.0", str(20 * (30 + 50 + 2 * 120)))
    assert rows[0]["seconds"] == "190.6"
    assert (rows[1]["best"], rows[1]["p"]) == ("", "")
    assert page[0] == ("| model | GiB | train | test | against the best | tokens a question | tokens | time |")
    assert page[1] == "| --- | ---: | --- | --- | --- | ---: | ---: | ---: |"
    assert page[2] == (
        "| tiny (llama.cpp, the GGUF as shipped) | 0.251 | 25.0 % (11.2 to 46.9), 5 of 20 "
        "| 20.0 % (8.1 to 41.6), 4 of 20 | **−40.0 points (+0 −8), p = 0.0078** | 40 | 6,400 | 3 min 11 s |"
    )
    assert "| **60.0 % (38.7 to 78.1), 12 of 20** | is the best |" in page[3]
    assert "| −10.0 points (+0 −2), p = 0.50 |" in page[4]
    assert page[6].startswith("One completion a question, of at most 96 tokens, at temperature 0. Tokens a question")
    assert (
        "Best on test: large. Significantly different from it: tiny. Not significantly different from it: middle. "
        "It was chosen by the accuracy that is shown here, which makes that accuracy look too good." in page[6]
    )
    assert "†" not in page[6]


def test_without_labels_train_decides(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for model, train in (("a", 9), ("b", 9), ("c", 3)):
        run.score("base", "train", right(train), model=model)
        run.score("base", "test", right(0), model=model, labelled=False)
    rows, page = table(run)
    assert (rows[0]["test_accuracy"], rows[0]["test_questions"]) == ("", "0")
    assert "9 of 20** | – | is the best |" in page[2]
    assert "9 of 20** | – | +0.0 points (+0 −0), p = 1.00 |" in page[3], "both models with this accuracy are best"
    assert "Best on train: a." in page[6]


def test_one_split_is_enough_and_questions_of_a_training_are_marked(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.score("base", "train", right(9), model="tuned")
    path = run.scores[0]
    path.write_text(path.read_text().replace('"held_out": true', '"held_out": false'))
    rows, page = table(run)
    assert (rows[0]["test_correct"], rows[0]["train_held_out"]) == ("", "False")
    assert "9 of 20 † | – | – |" in page[2]
    assert "No row of train is held out, so none is called best." in page[4]
    assert page[4].endswith(
        "† The model was trained on questions of this split; on train such a model is neither called best nor compared."
    )


def test_a_model_that_was_trained_on_the_questions_is_never_best(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for model, train, test in (("tiny", 5, 4), ("tuned", 19, 18), ("large", 15, 12)):
        run.score("base", "train", right(train), model=model)
        run.score("base", "test", right(test), model=model)
    for path in run.scores[2:4]:
        path.write_text(path.read_text().replace('"held_out": true', '"held_out": false'))
    rows, page = table(run)
    assert [row["best"] for row in rows] == ["large", "", ""]
    assert "18 of 20 † | – |" in page[3]
    assert "12 of 20** | is the best |" in page[4]
    assert "Best on test: large. Significantly different from it: tiny. It was chosen" in page[6]
    assert "on test such a model is neither called best nor compared" in page[6]
    # the model was trained on the other split only, so it takes part here
    run.scores[3].write_text(run.scores[3].read_text().replace('"held_out": false', '"held_out": true'))
    rows, page = table(run)
    assert [row["best"] for row in rows] == ["tuned", "", "tuned"]
    assert page[6].endswith("† The model was trained on questions of this split.")


def test_scores_of_other_variants_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path)
    run.score("self", "test", right(3))
    with pytest.raises(AssertionError):
        table(run)
    assert "smollm2-135m, self: not a base model" in capsys.readouterr().err
