"""What LLaMA-Factory gets: its configuration, the user's keys that are refused, and its environment variables."""

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
from errata.training import alpaca, llamafactory
from helpers import REPOSITORY

CPU = {"use_cpu": True}


def make_configuration(
    settings: dict[str, Any], rows: int = 100, hardware: dict[str, Any] | None = None, stage: str = "sft"
) -> dict[str, Any]:
    return llamafactory.configure(
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
    configuration = make_configuration({})
    assert configuration["quantization_bit"] == 4
    assert configuration["quantization_method"] == "bnb"
    assert configuration["double_quantization"] is True
    assert (configuration["dataset"], configuration["stage"], configuration["seed"]) == ("self", "sft", 7)
    assert configuration["use_cpu"] is True
    assert configuration["trust_remote_code"] is False


def test_null_bits_mean_plain_lora() -> None:
    assert not [key for key in make_configuration({"quantization_bit": None}) if "quant" in key]


def test_settings_win_and_one_number_format_stays() -> None:
    configuration = make_configuration({"lora_rank": 8, "fp16": True}, hardware={"bf16": True})
    assert configuration["lora_rank"] == 8
    assert configuration["fp16"] is True
    assert "bf16" not in configuration


def test_preferences_have_their_own_defaults_which_the_user_may_change() -> None:
    configuration = make_configuration({"pref_beta": 0.3}, stage="dpo")
    assert (configuration["stage"], configuration["pref_beta"], configuration["pref_loss"]) == ("dpo", 0.3, "sigmoid")
    assert configuration["quantization_bit"] == 4
    assert not [key for key in make_configuration({}) if "pref" in key]
    with pytest.raises(Faults, match="ref_model: the reference is the model that the training starts from"):
        trainer_keys.check_options({"ref_model": "other"})


def test_tiny_training_set_is_not_validated_on() -> None:
    assert not [key for key in make_configuration({"do_eval": True}, rows=5) if "eval" in key or key == "val_size"]
    assert make_configuration({"val_size": 0.1}, rows=10)["val_size"] == 0.1


@given(st.integers(1, 5000), st.one_of(st.none(), st.integers(1, 6000)), st.floats(0, 0.99))
def test_validation_leaves_rows_to_train_on(rows: int, max_samples: int | None, share: float) -> None:
    size = llamafactory.validation_size(rows, max_samples, share)
    used = min(rows, max_samples or rows)
    assert size in (0, share)
    if size:
        assert used * size >= 1
        assert -(-used * size // 1) < used


def test_validation_by_number() -> None:
    assert llamafactory.validation_size(10, None, 3) == 3
    assert llamafactory.validation_size(3, None, 3) == 0
    assert llamafactory.validation_size(100, 3, 3) == 0


def test_all_keys_and_values_that_cannot_be_used_are_refused_at_once() -> None:
    settings = {
        "quantization_method": "bitsandbytes",
        "quantization_bit": 3,
        "output_dir": "/x",
        "finetuning_type": "full",
        "lora_rank": 4,
    }
    with pytest.raises(Faults) as refused:
        trainer_keys.check_options(settings)
    text = str(refused.value)
    assert len(refused.value.faults) == 4
    assert "'bitsandbytes' is not bnb (the trainer's name for bitsandbytes)" in text
    assert "lora_rank" not in text
    trainer_keys.check_options({**trainer_keys.DEFAULTS, "quantization_bit": None})


@pytest.mark.parametrize("text", ["[1]", "{", "3"])
def test_settings_are_an_object(text: str) -> None:
    with pytest.raises(UserError, match="--settings"):
        trainer_keys.read_options(text)


def test_configuration_survives_yaml() -> None:
    configuration = make_configuration({"learning_rate": 5e-5, "run_name": "因此: #1"})
    assert yaml.safe_load(llamafactory.to_yaml(configuration)) == configuration
    assert "5.0e-05" in llamafactory.to_yaml(configuration), "YAML 1.1 reads 5e-05 as text"


def test_the_trainer_is_offline_and_has_its_own_caches(tmp_path: Path) -> None:
    variables = llamafactory.offline({"PATH": "/bin", "PYTHONPATH": "/p"}, tmp_path)
    assert variables["HF_HUB_OFFLINE"] == variables["HF_DATASETS_OFFLINE"] == variables["TRANSFORMERS_OFFLINE"] == "1"
    assert variables["HF_DATASETS_CACHE"].startswith(str(tmp_path))
    assert variables["PYTHONPATH"].split(os.pathsep)[:2] == [str(REPOSITORY / "workflow"), "/p"]
    assert variables["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/bin"
    stub = Path(variables["PYTHONPATH"].split(os.pathsep)[2])
    assert (stub / "torchaudio" / "__init__.py").is_file()


@pytest.mark.parametrize(("text", "message"), [("[]", "no rows"), ("{}", "not a JSON array"), ("[1]", "not a JSON")])
def test_a_file_that_is_no_training_set_is_refused(tmp_path: Path, text: str, message: str) -> None:
    dataset = tmp_path / "self.json"
    dataset.write_text(text)
    with pytest.raises(UserError, match=message):
        alpaca.read_texts(dataset)


@pytest.mark.parametrize(("job", "processes", "each"), [("128", 8, 16), ("2", 1, 2), ("2", 0, 2), ("4", 8, 1)])
def test_the_processes_of_a_training_share_its_threads(job: str, processes: int, each: int) -> None:
    """Every variable that Snakemake sets is changed: else two processes on two cores would have four threads."""
    variables = llamafactory.thread_variables({"OMP_NUM_THREADS": job, "MKL_NUM_THREADS": job, "HOME": "/"}, processes)
    assert variables == {"OMP_NUM_THREADS": str(each), "MKL_NUM_THREADS": str(each)}


def test_without_a_number_of_threads_the_usable_cores_are_counted() -> None:
    assert llamafactory.thread_variables({}, 1) == {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
