import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from errata.config import trainer_keys
from errata.core.errors import Faults, UserError
from errata.training import llamafactory, train, work_folder
from errata.training.distributed import World
from errata.training.runs import Spent
from errata.training.train import Launch
from helpers import REPOSITORY
from trainers import fake_launch

CPU = {"use_cpu": True}


def configured(
    settings: dict[str, Any], rows: int = 100, hardware: dict[str, Any] | None = None, stage: str = "sft"
) -> dict[str, Any]:
    return train.configure(
        settings,
        base=Path("base"),
        dataset=Path("sft/self.json"),
        rows=rows,
        template="smollm2",
        stage=stage,
        seed=7,
        trust_remote_code=False,
        hardware=CPU if hardware is None else hardware,
    )


def test_qlora_by_default() -> None:
    configuration = configured({})
    assert configuration["quantization_bit"] == 4
    assert configuration["quantization_method"] == "bnb"
    assert configuration["double_quantization"] is True
    assert (configuration["dataset"], configuration["stage"], configuration["seed"]) == ("self", "sft", 7)
    assert configuration["use_cpu"] is True
    assert configuration["trust_remote_code"] is False


def test_null_bits_mean_plain_lora() -> None:
    assert not [key for key in configured({"quantization_bit": None}) if "quant" in key]


def test_settings_win_and_one_number_format_stays() -> None:
    configuration = configured({"lora_rank": 8, "fp16": True}, hardware={"bf16": True})
    assert configuration["lora_rank"] == 8
    assert configuration["fp16"] is True
    assert "bf16" not in configuration


def test_preferences_have_defaults_of_their_own_that_the_user_may_change() -> None:
    configuration = configured({"pref_beta": 0.3}, stage="dpo")
    assert (configuration["stage"], configuration["pref_beta"], configuration["pref_loss"]) == ("dpo", 0.3, "sigmoid")
    assert configuration["quantization_bit"] == 4
    assert not [key for key in configured({}) if "pref" in key]
    with pytest.raises(Faults, match="ref_model: what a training starts from is its reference"):
        trainer_keys.check_settings({"ref_model": "other"})


def test_tiny_training_set_is_not_validated_on() -> None:
    assert not [key for key in configured({"do_eval": True}, rows=5) if "eval" in key or key == "val_size"]
    assert configured({"val_size": 0.1}, rows=10)["val_size"] == 0.1


@given(st.integers(1, 5000), st.one_of(st.none(), st.integers(1, 6000)), st.floats(0, 0.99))
def test_validation_leaves_rows_to_train_on(rows: int, max_samples: int | None, share: float) -> None:
    size = work_folder.validation_rows(rows, max_samples, share)
    used = min(rows, max_samples or rows)
    assert size in (0, share)
    if size:
        assert used * size >= 1
        assert -(-used * size // 1) < used


def test_validation_by_number() -> None:
    assert work_folder.validation_rows(10, None, 3) == 3
    assert work_folder.validation_rows(3, None, 3) == 0
    assert work_folder.validation_rows(100, 3, 3) == 0


def test_keys_that_would_not_do_what_they_say_are_refused_at_once() -> None:
    settings = {
        "quantization_method": "bitsandbytes",
        "quantization_bit": 3,
        "output_dir": "/x",
        "finetuning_type": "full",
        "lora_rank": 4,
    }
    with pytest.raises(Faults) as refused:
        trainer_keys.check_settings(settings)
    text = str(refused.value)
    assert len(refused.value.faults) == 4
    assert "'bitsandbytes' is not bnb (the trainer calls bitsandbytes so)" in text
    assert "lora_rank" not in text
    trainer_keys.check_settings({**trainer_keys.DEFAULTS, "quantization_bit": None})


@pytest.mark.parametrize("text", ["[1]", "{", "3"])
def test_settings_are_an_object(text: str) -> None:
    with pytest.raises(UserError, match="--settings"):
        trainer_keys.read_settings(text)


def test_configuration_survives_yaml() -> None:
    configuration = configured({"learning_rate": 5e-5, "run_name": "因此: #1"})
    assert yaml.safe_load(llamafactory.to_yaml(configuration)) == configuration
    assert "5.0e-05" in llamafactory.to_yaml(configuration), "YAML 1.1 takes 5e-05 for text"


def test_trainer_is_offline_with_caches_of_its_own(tmp_path: Path) -> None:
    variables = llamafactory.offline({"PATH": "/bin", "PYTHONPATH": "/p"}, tmp_path)
    assert variables["HF_HUB_OFFLINE"] == variables["HF_DATASETS_OFFLINE"] == variables["TRANSFORMERS_OFFLINE"] == "1"
    assert variables["HF_DATASETS_CACHE"].startswith(str(tmp_path))
    assert variables["PYTHONPATH"].split(os.pathsep)[:2] == [str(REPOSITORY / "workflow"), "/p"]
    assert variables["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/bin"
    stub = Path(variables["PYTHONPATH"].split(os.pathsep)[2])
    assert (stub / "torchaudio" / "__init__.py").is_file()


@pytest.mark.parametrize(("text", "message"), [("[]", "no rows"), ("{}", "not a JSON array"), ("[1]", "not a JSON")])
def test_training_set_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    dataset = tmp_path / "self.json"
    dataset.write_text(text)
    with pytest.raises(UserError, match=message):
        train.read_rows(dataset)


def make_checkpoint(folder: Path, step: int, leave_out: str = "") -> None:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        if name != leave_out:
            (path / name).touch()
    (path / "trainer_state.json").write_text('{"global' if leave_out == "state" else json.dumps({"global_step": step}))


def test_newest_checkpoint_is_the_newest_complete_one(tmp_path: Path) -> None:
    assert work_folder.newest_checkpoint(tmp_path) is None
    make_checkpoint(tmp_path, 9)
    make_checkpoint(tmp_path, 20)
    make_checkpoint(tmp_path, 100, leave_out="optimizer.pt")
    make_checkpoint(tmp_path, 120, leave_out="state")
    make_checkpoint(tmp_path, 140, leave_out="rng_state.pth")
    found = work_folder.newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 20
    assert [point.step for point in work_folder.checkpoints(tmp_path)] == [9, 20, 100, 120, 140]


def test_sealed_checkpoint_has_all_files_in_their_sizes(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, 9, leave_out="rng_state.pth")
    point = work_folder.checkpoints(tmp_path)[0]
    (point.path / "rng_state_0.pth").write_bytes(b"state")
    assert work_folder.newest_checkpoint(tmp_path) is None, "the other process may still write"
    work_folder.seal(point.path, 2)
    assert work_folder.newest_checkpoint(tmp_path) == point
    assert work_folder.processes_of(point) == 2
    (point.path / "rng_state_0.pth").write_bytes(b"")
    assert work_folder.newest_checkpoint(tmp_path) is None, "a node lost its power"


def test_log_is_cut_to_the_checkpoint(tmp_path: Path) -> None:
    log = tmp_path / "trainer_log.jsonl"
    log.write_text("".join(json.dumps({"current_steps": step}) + "\n" for step in (2, 4, 6)) + '{"current')
    work_folder.cut_log(log, 4)
    assert [json.loads(line)["current_steps"] for line in log.read_text().splitlines()] == [2, 4]
    work_folder.cut_log(tmp_path / "none", 4)


def test_seconds_are_those_of_the_steps_of_the_last_run(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    log = output / "trainer_log.jsonl"
    lines = [(2, "0:05:00"), (4, "0:00:09"), (6, "1 day, 2:00:05")]
    log.write_text("".join(f'{{"current_steps": {step}, "elapsed_time": "{text}"}}\n' for step, text in lines))
    assert work_folder.spent(tmp_path, 0) == Spent(0.0), "it never came to a step"
    (tmp_path / "training").touch()
    assert work_folder.spent(tmp_path, 2) == Spent(26 * 3600.0 + 5, at_least=True)
    (tmp_path / "stopped.json").write_text('{"step": 6, "total": 8}')
    assert work_folder.spent(tmp_path, 2) == Spent(26 * 3600.0 + 5)
    assert work_folder.spent(tmp_path, 6) == Spent(0.0, at_least=True), "steps were made, but none is in the log"
    (output / "all_results.json").write_text('{"train_runtime": 77.125}')
    assert work_folder.spent(tmp_path, 2, finished=True) == Spent(77.125)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "sft" / "self.json"
    path.parent.mkdir()
    path.write_text(json.dumps([{"instruction": "a", "output": "b"}]))
    return path


def test_fingerprint_changes_with_what_is_trained(base: Path, dataset: Path) -> None:
    marks = {work_folder.fingerprint({"lr": 1}, dataset, base), work_folder.fingerprint({"lr": 2}, dataset, base)}
    assert work_folder.fingerprint({"lr": 1}, dataset, base) in marks
    (base / "model.safetensors").write_text("other")
    marks.add(work_folder.fingerprint({"lr": 1}, dataset, base))
    dataset.write_text("[{}]")
    marks.add(work_folder.fingerprint({"lr": 1}, dataset, base))
    assert len(marks) == 4


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_the_trainer_is_told_of_its_own_set_alone(base: Path, dataset: Path, tmp_path: Path, stage: str) -> None:
    (tmp_path / "work").mkdir()
    train.prepare({"stage": stage}, base, dataset, tmp_path / "work", World())
    (described,) = json.loads((tmp_path / "work" / "dataset_info.json").read_text()).items()
    name, entry = described
    assert name == dataset.stem
    assert Path(entry["file_name"]) == dataset.resolve()
    assert entry.get("ranking", False) == (stage == "dpo")


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    return fake_launch(tmp_path)


class TestTraining:
    def test_progress_shows_new_steps_only(
        self,
        tmp_path: Path,
        base: Path,
        dataset: Path,
        launch: Launch,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("STOP_AFTER", "2")
        with pytest.raises(UserError):
            train.train(configured({}), base, dataset, tmp_path / "work", tmp_path / "adapter", launch)
        capsys.readouterr()
        monkeypatch.delenv("STOP_AFTER")
        monkeypatch.setenv("PAUSE", "1")
        train.train(configured({}), base, dataset, tmp_path / "work", tmp_path / "adapter", launch)
        shown = capsys.readouterr().err
        assert "resuming after step 2" in shown
        assert "step 3/3, loss 0.333" in shown
        assert "step 2/3" not in shown

    def test_finished_adapter(self, tmp_path: Path, base: Path, dataset: Path, launch: Launch) -> None:
        work, output = tmp_path / "work", tmp_path / "adapter"
        train.train(configured({}), base, dataset, work, output, launch)
        assert sorted(path.name for path in output.iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
            "runs.jsonl",
            "tokenizer.json",
            "train.yaml",
            "trainer_log.jsonl",
            "training_loss.png",
        ]
        assert json.loads((output / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
        assert not work.exists()

    def test_failure_shows_the_log_and_the_next_run_resumes(
        self, tmp_path: Path, base: Path, dataset: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work, output = tmp_path / "work", tmp_path / "adapter"
        monkeypatch.setenv("STOP_AFTER", "2")
        with pytest.raises(UserError, match=r"status 3(.|\n)*out of memory"):
            train.train(configured({}), base, dataset, work, output, launch)
        assert not output.exists()
        (work / "output" / "checkpoint-2" / "optimizer.pt").unlink()
        monkeypatch.setenv("STOP_AFTER", "3")
        with pytest.raises(UserError, match="resumed from 1"):
            train.train(configured({}), base, dataset, work, output, launch)
        monkeypatch.delenv("STOP_AFTER")
        train.train(configured({}), base, dataset, work, output, launch)
        log = [json.loads(line) for line in (output / "trainer_log.jsonl").read_text().splitlines()]
        assert [entry["current_steps"] for entry in log] == [1, 2, 3], "steps after the checkpoint count once"

    def test_other_training_starts_anew(
        self, tmp_path: Path, base: Path, dataset: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work, output = tmp_path / "work", tmp_path / "adapter"
        monkeypatch.setenv("STOP_AFTER", "2")
        with pytest.raises(UserError):
            train.train(configured({}), base, dataset, work, output, launch)
        with pytest.raises(UserError, match="resumed from 0"):
            train.train(configured({"learning_rate": 1e-3}), base, dataset, work, output, launch)
        assert [json.loads(line)["start"] for line in (work / "runs.jsonl").read_text().splitlines()] == [0]

    def test_ignored_quantization_is_noticed(
        self, tmp_path: Path, base: Path, dataset: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NOT_QUANTIZED", "1")
        with pytest.raises(UserError, match="no QLoRA"):
            train.train(configured({}), base, dataset, tmp_path / "work", tmp_path / "adapter", launch)

    def test_checkpoints_of_another_number_of_gpus_are_kept(
        self, tmp_path: Path, base: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        work = tmp_path / "work"
        work.mkdir()
        train.prepare(configured({}), base, dataset, work, World(each=4, gpus=4))
        make_checkpoint(work / "output", 9)
        work_folder.seal(work / "output" / "checkpoint-9", 4)
        assert train.prepare(configured({}), base, dataset, work, World(each=4, gpus=4)) == 9
        with pytest.raises(UserError, match="4 processes trained up to here and this job has 3"):
            train.prepare(configured({}), base, dataset, work, World(each=3, gpus=3))
        assert work_folder.newest_checkpoint(work / "output")
        assert train.prepare(configured({}), base, dataset, work, World(each=3, gpus=4, chosen=True)) == 0
        assert not work_folder.checkpoints(work / "output")
        assert "of 4 processes, and distributed.processes now makes 3" in capsys.readouterr().err


@pytest.mark.parametrize(("job", "processes", "each"), [("128", 8, 16), ("2", 1, 2), ("2", 0, 2), ("4", 8, 1)])
def test_the_processes_of_a_training_share_its_threads(job: str, processes: int, each: int) -> None:
    """What Snakemake tells other libraries too, or two processes on two cores would have four threads."""
    told = train.thread_variables({"OMP_NUM_THREADS": job, "MKL_NUM_THREADS": job, "HOME": "/"}, processes)
    assert told == {"OMP_NUM_THREADS": str(each), "MKL_NUM_THREADS": str(each)}


def test_threads_are_counted_where_nobody_says_how_many() -> None:
    assert train.thread_variables({}, 1) == {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
