"""The configuration: every fault at once, with the key and the remedy, before anything is started."""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from snakemake.utils import update_config

from errata.config.configuration import Configuration, Take
from errata.config.section import Section
from errata.config.validation import validate
from errata.core.errors import Faults
from helpers import REPOSITORY

CONFIGS = sorted((REPOSITORY / "config").glob("*.yaml"))
COMPLETE = [path for path in CONFIGS if path.name != "llm_reason.yaml"]
MINIMAL: dict[str, Any] = {"dataset": {"train": "a", "test": "b"}, "models": {"m": {"source": "org/model"}}}


def read(*paths: Path) -> dict[str, Any]:
    """Files as Snakemake merges them."""
    config: dict[str, Any] = {}
    for path in paths:
        update_config(config, yaml.safe_load(path.read_text(encoding="utf-8")))
    return config


def changed(**changes: Any) -> dict[str, Any]:
    """The smallest configuration with `section__key=value` set."""
    config = deepcopy(MINIMAL)
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = config
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return config


def faults_of(config: dict[str, Any]) -> list[str]:
    with pytest.raises(Faults) as error:
        validate(config, "my.yaml")
    assert str(error.value).startswith("my.yaml: ")
    assert "config/README.md" in str(error.value)
    return error.value.faults


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.name)
def test_every_committed_configuration_is_valid_alone_and_with_the_contests_data(path: Path) -> None:
    alone = validate(read(path), path.name).to_record()
    overlay = validate(read(path, REPOSITORY / "config" / "llm_reason.yaml"), path.name).to_record()
    assert overlay["dataset"]["language"] == "zh"
    assert overlay["dataset"]["corrections"] is None
    assert {**overlay, "dataset": None} == {**alone, "dataset": None}


def test_the_laptop_default_and_the_original_recipe_are_there() -> None:
    assert {path.name for path in COMPLETE} >= {"config.yaml", "llama3.1-70b.yaml"}


def test_the_original_recipe_contains_its_settings() -> None:
    config = validate(read(REPOSITORY / "config" / "llama3.1-70b.yaml")).to_record()
    train, (model,) = config["train"], config["models"].values()
    expected = {
        "quantization_bit": 4,
        "lora_target": "all",
        "lora_rank": 16,
        "lora_alpha": 32,
        "cutoff_len": 10240,
        "max_samples": 10000,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "learning_rate": 5e-5,
        "num_train_epochs": 10,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1,
        "bf16": True,
        "flash_attn": "auto",
        "logging_steps": 5,
        "save_steps": 20,
        "val_size": 0.01,
        "eval_steps": 10,
        "per_device_eval_batch_size": 1,
        "plot_loss": True,
        "preprocessing_num_workers": 16,
        "ddp_timeout": 180000000,
    }
    assert expected.items() <= train.items()
    # the name that LLaMA-Factory 0.9.5 does not silently ignore
    assert train["quantization_method"] == "bnb"
    assert model["template"] == "llama3"
    assert model["serve"]["max_model_len"] == 8192
    assert model["serve"]["max_num_seqs"] == 2048
    assert model["serve_quantized"]["3"]["quantization"] == "humming"
    assert model["serve_quantized"]["3"]["gpu_memory_utilization"] == 0.4
    for options in model["serve_quantized"].values():
        # float16 with an fp8 KV cache dies on Hopper
        assert (options["dtype"], options["kv_cache_dtype"]) == ("bfloat16", "fp8")
    quantize = config["quantize"]
    assert (quantize["bits"], quantize["samples"], quantize["max_length"]) == ([3, 4], 1024, 256)
    assert (quantize["group_size"], quantize["calibration"]) == (128, "prompts")
    assert config["generate"]["attempts"] == 6
    assert config["memory_budget_gib"] == {"3": 32, "4": 40}


def unset(section: Section) -> set[str]:
    """Keys of a section that its record lacks, at every depth."""
    record = section.to_record()
    inner = {key: getattr(section, key) for key in record}
    missing = set(type(section).model_fields) - set(record)
    return missing.union(*(unset(each) for each in inner.values() if isinstance(each, Section)))


def test_only_data_and_models_are_required_and_defaults_fill_the_rest() -> None:
    complete = validate(MINIMAL)
    # which splits are cut is the user's choice
    assert unset(complete) == {"train", "test"} == set(Take.model_fields)
    assert not unset(complete.models["m"])
    assert not unset(complete.strategies["self"])
    assert complete.generate.attempts == 6
    assert complete.models["m"].engine == "llamacpp"
    assert complete.quantize.bits == [3, 4]


def test_defaults_are_valid_and_not_shared() -> None:
    first, second = validate(MINIMAL).to_record(), validate(MINIMAL).to_record()
    first["generate"]["attempts"] = 99
    first["models"]["m"]["serve"]["x"] = 1
    assert second["generate"]["attempts"] == 6
    assert second["models"]["m"]["serve"] == {}
    assert validate(second).to_record() == second, "a completed configuration is complete"
    assert MINIMAL == {"dataset": {"train": "a", "test": "b"}, "models": {"m": {"source": "org/model"}}}


def test_the_record_has_the_users_keys_in_their_order_before_the_defaults() -> None:
    """Snakemake compares the record as text: another order would rebuild existing results."""
    config = {
        "models": {"m": {"template": "llama3", "source": "x"}},
        "dataset": {"test": "b", "train": "a", "take": {"test": 2}},
        "generate": {"seed": 2, "temperature": 0},
        "strategies": {"mine": {"replay": 1, "method": "self"}, "dpo": {}},
        "ablation": {"dpo": {"rounds": 2}},
    }
    record = validate(config).to_record()
    assert list(record)[:6] == ["models", "dataset", "generate", "strategies", "ablation", "prompts"]
    assert list(record["models"]["m"])[:4] == ["template", "source", "revision", "sha256"]
    assert list(record["dataset"]) == ["test", "train", "take", "corrections", "language", "prompt", "folds"]
    assert record["dataset"]["take"] == {"test": 2}
    assert list(record["generate"])[:3] == ["seed", "temperature", "max_tokens"]
    assert list(record["strategies"]["mine"])[:3] == ["replay", "method", "questions"]
    assert list(record["strategies"]["dpo"]) == list(record["ablation"]["dpo"])
    assert record["strategies"]["dpo"]["method"] == "dpo"
    assert json.dumps([record["generate"]["temperature"], record["generate"]["hedging"]]) == "[0, 0.1]"
    # without them the two sections of strategies come before the other defaults
    assert list(validate(MINIMAL).to_record())[:5] == ["dataset", "models", "strategies", "ablation", "prompts"]


def test_number_keys_of_yaml_become_names() -> None:
    config = changed(memory_budget_gib={3: 32, 4: 40}, models__m__serve_quantized={3: {"dtype": "bfloat16"}})
    complete = validate(config).to_record()
    assert complete["memory_budget_gib"] == {"3": 32, "4": 40}
    assert complete["models"]["m"]["serve_quantized"] == {"3": {"dtype": "bfloat16"}}


def test_an_exponent_without_a_point_is_a_number() -> None:
    read_from_file = yaml.safe_load("{learning_rate: 1e-4, num_train_epochs: 3e0, lora_target: all, lora_dropout: '1'}")
    assert read_from_file["learning_rate"] == "1e-4", "YAML 1.1"
    complete = validate(
        changed(train=read_from_file, generate={"temperature": "1e-1"}, models__m__revision="12e4567")
    ).to_record()
    assert complete["train"] == {
        "learning_rate": 1e-4,
        "num_train_epochs": 3.0,
        "lora_target": "all",
        "lora_dropout": "1",
    }
    assert complete["generate"]["temperature"] == 0.1
    assert complete["models"]["m"]["revision"] == "12e4567", "a commit, not a number"


def test_values_of_the_command_line_are_typed_and_replace_those_of_number_keys() -> None:
    config = changed(memory_budget_gib={3: 32, 4: 40}, generate__seed=7, quantize__bits=[3, 4])
    config["models"]["m"]["port"] = 8000
    # as Snakemake reads --config: every inner value is a string
    overrides = {
        "memory_budget_gib": {"3": "0.5"},
        "generate": {"attempts": "8", "temperature": "1e-1"},
        "quantize": {"bits": ["3", "4", "8"]},
        "models": {"m": {"source": "org/7", "port": "null", "trust_remote_code": "true"}},
        "train": {"learning_rate": "5.0e-5"},
    }
    update_config(config, overrides)
    complete = validate(config, overrides=overrides).to_record()
    assert complete["memory_budget_gib"] == {"3": 0.5, "4": 40}
    generate = complete["generate"]
    assert (generate["attempts"], generate["temperature"], generate["seed"]) == (8, 0.1, 7)
    assert complete["quantize"]["bits"] == [3, 4, 8]
    model = complete["models"]["m"]
    assert (model["source"], model["port"], model["trust_remote_code"]) == ("org/7", None, True)
    assert complete["train"] == {"learning_rate": 5e-5}


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (changed(generat={}), "generat: unknown key; did you mean 'generate'?"),
        (changed(generate__atempts=3), "generate.atempts: unknown key; did you mean 'attempts'?"),
        (changed(dataset__trian="x"), "dataset.trian: unknown key; did you mean 'train'?"),
        (changed(models__m__sorce="x"), "models.m.sorce: unknown key; did you mean 'source'?"),
        (changed(quantize__zzz=1), "quantize.zzz: unknown key; there are bits, group_size"),
        (changed(dataset__take__tset=1), "dataset.take.tset: unknown key; did you mean 'test'?"),
        ({"models": MINIMAL["models"]}, "dataset: missing. The questions."),
        ({"dataset": MINIMAL["dataset"]}, "models: missing."),
        (changed(dataset={"train": "a"}), "dataset.test: missing. Problems to score on"),
        (changed(dataset=None), "dataset: None is not a mapping of keys"),
        (changed(dataset__train=["a"]), "dataset.train: ['a'] is not a text"),
        (changed(models={}), "models: must not be empty"),
        (changed(models={"m": None}), "models.m: None is not a mapping of keys"),
        (changed(models__m=[]), "models.m: [] is not a mapping of keys"),
        (changed(models={"a/b": {"source": "x"}}), "models: 'a/b' is not a name for a model"),
        (changed(models={"../x": {"source": "x"}}), "models: '../x' is not a name for a model"),
        (changed(generate__attempts="six"), "generate.attempts: 'six' is not a whole number"),
        (changed(generate__attempts=0), "generate.attempts: 0 is less than the minimum of 1"),
        (changed(generate__temperature=-1), "generate.temperature: -1 is less than the minimum of 0"),
        (changed(generate__top_p=0), "generate.top_p: 0 is not greater than 0"),
        (changed(models__m__engine="vlm"), "models.m.engine: 'vlm' is not one of llamacpp, vllm, endpoint"),
        (changed(hardware="gpu"), "hardware: 'gpu' is not one of cpu, cuda"),
        (changed(strategies=["sefl"]), "strategies.sefl.method: missing, since the name is none of self, distill, "),
        (changed(strategies=[]), "strategies: must not be empty"),
        (changed(strategies=["self", "self"]), "strategies: ['self', 'self'] contains a value twice"),
        (changed(strategies__self={"repaly": 1}), "strategies.self.repaly: unknown key; did you mean 'replay'?"),
        (changed(strategies__self={"replay": 2}), "strategies.self.replay: 2 is greater than the maximum of 1"),
        (changed(quantize__bits=[3, 3]), "quantize.bits: [3, 3] contains a value twice"),
        (changed(quantize__bits=[5]), "quantize.bits.0: 5 is not one of 2, 3, 4, 8"),
        (changed(memory_budget_gib={5: 1}), "memory_budget_gib: '5' is not one of 2, 3, 4, 8"),
        (changed(memory_budget_gib={3: "32 GB"}), "memory_budget_gib.3: '32 GB' is not a number"),
        (changed(dataset__language="fr"), "dataset.language: 'fr' is not one of en, zh"),
        # contradictions
        (changed(models__m__source=None), "models.m.source: missing; engine llamacpp needs a model to serve"),
        (changed(models__m={"engine": "endpoint"}), "models.m.base_url: missing; engine endpoint asks"),
        (changed(models__m__base_url="http://x/v1"), "models.m.base_url: only engine endpoint has one"),
        (changed(hardware="cuda"), "models.m.engine: llamacpp serves on the CPU only; with hardware cuda use vllm"),
        (changed(memory_budget_gib={8: 1}), "memory_budget_gib.8: quantize.bits has no 8"),
        (changed(strategies={"self-4bit": {"method": "self"}}), "strategies.self-4bit: not a name for a strategy"),
        (changed(strategies={"base": {"method": "self"}}), "strategies.base: not a name for a strategy"),
        (changed(strategies={"a.fold1": {"method": "self"}}), "strategies.a.fold1: not a name for a strategy"),
        (changed(strategies__self={"teacher": "m"}), "strategies.self.teacher: only for method distill"),
        (changed(strategies__self={"questions": "all"}), "strategies.self.questions: only for method distill"),
        (
            changed(strategies__distill={"teacher": "x"}),
            "strategies.distill.teacher: no model 'x' in models or baselines",
        ),
        (
            changed(strategies__dpo={"replay": 0.1}),
            "strategies.dpo.replay: only for methods self, distill, reflect: dpo is trained on pairs",
        ),
        (changed(strategies__dpo={"start_from": "self"}), "strategies.dpo.start_from: no strategy 'self' yet; it must"),
        (
            changed(strategies__dpo={"start_from": "slef"}),
            "strategies.dpo.start_from: no strategy 'slef' yet; there are",
        ),
        (changed(strategies=["self"], ablation__self={"replay": 1}), "ablation.self: strategies has one of this name"),
        (changed(strategies__self={"pairs": 2}), "strategies.self.pairs: only for method dpo"),
        (
            changed(strategies={"self": {"rounds": 2}, "dpo": {"start_from": "self-round3"}}),
            "strategies.dpo.start_from: no strategy 'self-round3' yet",
        ),
        (
            changed(
                dataset__folds=2,
                baselines={"t": {"source": "results/m/tuned/self"}},
                strategies__distill={"teacher": "t"},
            ),
            "strategies.distill.teacher: t was trained on every fold",
        ),
        (changed(train={"stage": "dpo"}), "train.stage: Errata sets it"),
        (
            changed(strategies__self={"train": {"quantization_method": "bitsandbytes"}}),
            "strategies.self.train.quantization_method: 'bitsandbytes' is not bnb",
        ),
        (changed(ablation__dpo={"train": {"dataset": "x"}}), "ablation.dpo.train.dataset: Errata sets it"),
        (changed(score={"majority": [9]}), "score.samples: 8 are too few for the majority of 9"),
        (changed(baselines={"m": {"source": "y"}}), "baselines.m: models has one of this name"),
        (changed(baselines={"n": {}}), "baselines.n.source: missing; engine llamacpp needs a model to serve"),
    ],
    ids=lambda value: re.sub(r"\W+", "-", value.partition(";")[0])[:40] if isinstance(value, str) else "",
)
def test_a_fault_names_the_key_and_what_it_may_be(config: dict[str, Any], fault: str) -> None:
    (found,) = faults_of(config)
    assert found.startswith(fault)


def test_a_strategy_may_start_from_a_later_round_of_one_before() -> None:
    config = validate(
        changed(strategies=["self"], ablation={"self": {"rounds": 2}, "dpo": {"start_from": "self-round2"}})
    )
    assert config.ablation["dpo"].start_from == "self-round2"


def test_a_list_of_methods_is_short_for_strategies_without_options() -> None:
    listed = validate(changed(strategies=["self", "dpo"]))
    assert listed == validate(changed(strategies={"self": None, "dpo": {}}))
    assert listed.strategies["dpo"].method == "dpo"


def test_an_ablation_takes_the_options_of_a_strategy_that_it_names_too() -> None:
    config = changed(strategies__self={"replay": 0.5}, ablation={"self": {"rounds": 3}, "dpo": None})
    complete = validate(config).to_record()
    assert complete["ablation"]["self"] == {**complete["strategies"]["self"], "rounds": 3}
    assert list(complete["ablation"]) == ["self", "dpo"]


def test_all_faults_come_at_once() -> None:
    config = changed(generate={"atempts": 3, "max_tokens": "many", "seed": 1.5}, hardware="gpu", colour="red")
    config["models"]["other"] = {"engine": "x", "port": 0}
    del config["dataset"]["test"]
    named = {fault.split(":")[0] for fault in faults_of(config)}
    assert named == {
        "colour",
        "dataset.test",
        "generate.atempts",
        "generate.max_tokens",
        "generate.seed",
        "hardware",
        "models.other.engine",
        "models.other.port",
    }


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        # a fault that follows from another one is not reported
        ({"models__m": {"engine": "endpiont"}}, {"models.m.engine"}),
        ({"models__m__source": 3}, {"models.m.source"}),
        ({"hardware": "gpu", "distributed": {"strategy": "zero2"}}, {"hardware"}),
        ({"strategies": {"mine": {"method": "sefl"}, "distill": {"teacher": "m"}}}, {"strategies.mine.method"}),
        ({"models": {"a/b": {"source": "x"}}, "strategies": {"distill": {"teacher": "a/b"}}}, {"models"}),
        ({"score": {"majority": [9, 0]}}, {"score.majority.1"}),
        ({"strategies": 3, "ablation": {"dpo": {"start_from": "self"}}}, {"strategies"}),
        # an independent one is
        ({"generate__seed": "x", "score": {"majority": [9]}}, {"generate.seed", "score.samples"}),
        ({"dataset": 3, "models__m__base_url": "http://x/v1"}, {"dataset", "models.m.base_url"}),
        ({"models": 3, "train": {"stage": "dpo"}}, {"models", "train.stage"}),
        ({"strategies__self": {"keep": 0, "pairs": 2}}, {"strategies.self.keep", "strategies.self.pairs"}),
    ],
)
def test_keys_that_do_not_go_together_are_reported_beside_wrong_types(changes: dict[str, Any], keys: set[str]) -> None:
    assert {fault.split(":")[0] for fault in faults_of(changed(**changes))} == keys


def test_all_contradictions_come_at_once() -> None:
    config = changed(models={"a": {}, "b": {"engine": "endpoint"}}, memory_budget_gib={2: 1, 8: 1})
    assert {fault.split(":")[0] for fault in faults_of(config)} == {
        "models.a.source",
        "models.b.base_url",
        "memory_budget_gib.2",
        "memory_budget_gib.8",
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["m", "serve", "bits", "train"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(list(Configuration.model_fields)), JSON, max_size=5))
def test_nonsense_gives_faults_and_no_traceback(config: dict[str, Any]) -> None:
    try:
        complete = validate(config)
    except Faults:
        # reported, without a traceback; a configuration without its required keys can only end here
        return
    assert {"dataset", "models"} <= set(config)
    assert complete.models
