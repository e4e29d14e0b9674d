"""Step train, with a trainer that only pretends: it finishes, fails, resumes or starts from the beginning."""

import json
from pathlib import Path

import pytest

from errata.core.errors import UserError
from fake_trainer import FakeTraining

QLORA = {"quantization_bit": 4}


@pytest.fixture
def training(tmp_path: Path) -> FakeTraining:
    return FakeTraining(tmp_path)


def test_finished_adapter(training: FakeTraining) -> None:
    training.run(QLORA)
    assert sorted(path.name for path in training.output.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "runs.jsonl",
        "tokenizer.json",
        "train.yaml",
        "trainer_log.jsonl",
        "training_loss.png",
    ]
    config = json.loads((training.output / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(training.base)
    assert not training.work.exists()


def test_progress_shows_new_steps_only(
    training: FakeTraining, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STOP_AFTER", "2")
    with pytest.raises(UserError):
        training.run()
    capsys.readouterr()
    monkeypatch.delenv("STOP_AFTER")
    monkeypatch.setenv("PAUSE", "1")
    training.run()
    shown = capsys.readouterr().err
    assert "resuming after step 2" in shown
    assert "step 3/3, loss 0.333" in shown
    assert "step 2/3" not in shown


def test_failure_shows_the_log_and_the_next_run_resumes(
    training: FakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOP_AFTER", "2")
    with pytest.raises(UserError, match=r"status 3(.|\n)*out of memory"):
        training.run()
    assert not training.output.exists()
    (training.work / "output" / "checkpoint-2" / "optimizer.pt").unlink()
    monkeypatch.setenv("STOP_AFTER", "3")
    with pytest.raises(UserError, match="resumed from 1"):
        training.run()
    monkeypatch.delenv("STOP_AFTER")
    training.run()
    log = [json.loads(line) for line in (training.output / "trainer_log.jsonl").read_text().splitlines()]
    assert [entry["current_steps"] for entry in log] == [1, 2, 3], "steps after the checkpoint count once"


def test_another_training_starts_from_the_beginning(
    training: FakeTraining, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STOP_AFTER", "2")
    with pytest.raises(UserError):
        training.run({"learning_rate": 1e-4})
    with pytest.raises(UserError, match="resumed from 0"):
        training.run({"learning_rate": 1e-3})
    assert "belong to another training (settings, data or base changed)" in capsys.readouterr().err
    assert [run["start"] for run in training.runs()] == [0]


def test_ignored_quantization_is_an_error(training: FakeTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOT_QUANTIZED", "1")
    with pytest.raises(UserError, match="no QLoRA"):
        training.run(QLORA)
