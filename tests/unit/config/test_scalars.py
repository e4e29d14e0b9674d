"""Numbers in exponent form, and texts from `--config`: the type of a key decides how they are read."""

from copy import deepcopy
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from errata.config.configuration import Configuration
from errata.config.validation import validate
from errata.core.errors import Faults

MINIMAL = "{dataset: {train: a, test: b}, models: {m: {source: org/model}}, "


def read(text: str) -> Configuration:
    return validate(yaml.safe_load(MINIMAL + text + "}"))


def laid_over(config: dict[str, Any], overrides: dict[str, Any]) -> Configuration:
    """A configuration with the value of `--config`, as Snakemake merges them."""
    merged = deepcopy(config)
    update_config(merged, deepcopy(overrides))
    return validate(merged, overrides=overrides)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("generate: {retry_temperature: [6e-1, 0.8, 1e0]}", "generate.retry_temperature", [0.6, 0.8, 1.0]),
        ("generate: {retry_temperature: 8e-1}", "generate.retry_temperature", 0.8),
        ("generate: {token_budget: 1e6}", "generate.token_budget", 1_000_000),
        ("generate: {token_budget: 1.0e+6}", "generate.token_budget", 1_000_000),
        ("distributed: {grace: 1e2}", "distributed.grace", 100.0),
        ("score: {majority: [5e0]}", "score.majority", [5]),
        ("quantize: {bits: [3e0, 4]}", "quantize.bits", [3, 4]),
        ("quantize: {bits: [3, 4]}, memory_budget_gib: {3: 3e1}", "memory_budget_gib", {"3": 30.0}),
        ("train: {betas: [9e-1, {deep: 1e-8}]}", "train", {"betas": [0.9, {"deep": 1e-8}]}),
        ("train: {name: 12e4567}", "train", {"name": "12e4567"}),
        ("export: {export_size: 5e0}", "export", {"export_size": 5.0}),
    ],
)
def test_a_text_in_exponent_form_is_a_number_if_its_key_takes_one(text: str, path: str, value: Any) -> None:
    place: Any = read(text).to_record()
    for key in path.split("."):
        place = place[key]
    assert place == value
    assert type(place) is type(value)


@pytest.mark.parametrize(
    "text", ["generate: {attempts: '6'}", "generate: {attempts: 15e-1}", "distributed: {grace: x}"]
)
def test_other_texts_of_a_file_are_no_numbers(text: str) -> None:
    with pytest.raises(Faults, match=r"is not a (whole )?number"):
        read(text)


def test_numbers_keep_the_form_in_which_they_were_written() -> None:
    model = read("generate: {temperature: 1, hedging: 0.5}").generate
    assert (type(model.temperature), type(model.hedging)) == (int, float)


def test_a_key_whose_type_is_text_keeps_the_text_of_the_command_line() -> None:
    overrides = {"models": {"m": {"revision": "1.0", "served_name": "12e3", "template": "true", "sha256": "null"}}}
    model = laid_over(yaml.safe_load(MINIMAL + "}"), overrides).models["m"]
    assert (model.revision, model.served_name, model.template, model.sha256) == ("1.0", "12e3", "true", None)
    assert type(model.revision) is str


def test_texts_for_another_program_are_read_by_their_form() -> None:
    given = {"max_model_len": "4096", "enforce_eager": "true", "dtype": "bfloat16", "x": ["1", "null"], "y": "0.5"}
    made = laid_over(yaml.safe_load(MINIMAL + "}"), {"models": {"m": {"serve": given}}}).models["m"].serve
    assert made == {"max_model_len": 4096, "enforce_eager": True, "dtype": "bfloat16", "x": [1, None], "y": 0.5}
    assert {type(value) for value in made.values()} == {int, bool, str, list, float}


def test_the_command_line_changes_options_of_some_bits_and_keeps_the_others() -> None:
    text = "memory_budget_gib: {3: 1, 4: 2}}"
    config = yaml.safe_load(MINIMAL + text)
    config["models"]["m"]["serve_quantized"] = {3: {"quantization": "humming", "max_num_seqs": 256}, 4: {"a": 1}}
    overrides = {"models": {"m": {"serve_quantized": {"3": {"max_num_seqs": "16"}}}}, "memory_budget_gib": {"3": "2"}}
    made = laid_over(config, overrides)
    assert made.models["m"].serve_quantized == {"3": {"quantization": "humming", "max_num_seqs": 16}, "4": {"a": 1}}
    assert made.memory_budget_gib == {"3": 2, "4": 2}


@pytest.mark.parametrize("overlay", [{"take": None}, {"take": {"train": None}}])
def test_an_overlay_lifts_the_limit_on_problems(overlay: dict[str, Any]) -> None:
    config = yaml.safe_load(MINIMAL + "}")
    config["dataset"]["take"] = {"train": 20}
    update_config(config, {"dataset": overlay})
    assert validate(config).to_record()["dataset"]["take"] == {}


def test_the_command_line_lifts_it_too() -> None:
    config = yaml.safe_load(MINIMAL + "}")
    config["dataset"]["take"] = {"train": 20}
    assert laid_over(config, {"dataset": {"take": "null"}}).to_record()["dataset"]["take"] == {}


def test_strategies_without_options_may_be_null_on_the_command_line() -> None:
    made = laid_over(yaml.safe_load(MINIMAL + "}"), {"strategies": {"self": "null"}})
    assert made.strategies["self"].method == "self"
