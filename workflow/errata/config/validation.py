"""The configuration: checked against its schema, with every fault at once, and completed with defaults."""

import copy
import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import jsonschema
import yaml

from errata.config import strategies
from errata.config.trainer_keys import setting_faults
from errata.core.errors import Faults
from errata.core.places import SCHEMAS

# Sections of strategies by name, of which a list of names does too.
_STRATEGIES = ("strategies", "ablation")
# Sections without free text: `1e-4` is a number there. YAML 1.1, which Snakemake reads, takes it for a string.
_NUMERIC_SECTIONS = ("generate", "score", "train", "export", "quantize", "memory_budget_gib", *_STRATEGIES)
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None}
SCHEMA = SCHEMAS / "config.schema.yaml"


def schema() -> dict[str, Any]:
    """The JSON Schema of the configuration."""
    loaded: dict[str, Any] = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return loaded


def validated(
    config: dict[str, Any], name: str = "configuration", overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A completed copy of a configuration; YAML's number keys (`3: 32`) become strings, as in JSON.

    Args:
        config: as read from YAML.
        name: what the error message calls it, best the path of the file.
        overrides: what came by `--config`. Snakemake reads numbers within it as strings, and keeps a number key of the
            file (`3: 32`) beside the one laid over it, so it is laid over the file again here.

    Raises:
        Faults: unknown or missing keys, wrong types and values, contradictions.
    """
    rules = schema()
    given = _laid_over(_string_keys(copy.deepcopy(config)), _typed(_string_keys(dict(overrides or {}))))
    given |= {name: _with_exponents(given[name]) for name in _NUMERIC_SECTIONS if name in given}
    for section in _STRATEGIES:
        given[section] = _named(given.get(section, rules["properties"][section]["default"]))
    more = copy.deepcopy(given["ablation"])
    complete: dict[str, Any] = _with_defaults(given, rules)
    validator = jsonschema.Draft202012Validator(rules)
    errors = sorted(validator.iter_errors(complete), key=lambda error: [str(part) for part in error.absolute_path])
    faults = [fault for error in errors for fault in _explained(error)]
    if not faults:
        for both in complete["ablation"].keys() & complete["strategies"].keys():
            # the same strategy, with what is said of it there
            complete["ablation"][both] = {**complete["strategies"][both], **more[both]}
        for section in _STRATEGIES:
            _methods(complete[section])
        faults = list(_contradictions(complete))
    if faults:
        raise Faults(name, faults, "config/README.md explains every key.")
    return complete


def _explained(error: jsonschema.ValidationError) -> Iterator[str]:
    """A schema error in words that name the key."""
    path = ".".join(str(part) for part in error.absolute_path)
    prefix = f"{path}." if path else ""
    rules = cast(dict[str, Any], error.schema)
    wanted = cast(Any, error.validator_value)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = rules.get("properties", {})
        for key in sorted(set(error.instance) - set(known)):
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            yield f"{prefix}{key}: unknown key; {hint}"
    elif error.validator == "required" and isinstance(error.instance, dict):
        for key in wanted:
            if key not in error.instance:
                about = rules["properties"][key].get("description", "")
                yield f"{prefix}{key}: missing. {about}".rstrip()
    elif error.validator == "enum":
        allowed = ", ".join(str(value) for value in wanted if value is not None)
        yield f"{path or 'key'}: {error.instance!r} is not one of {allowed}"
    else:
        yield f"{path or 'the file'}: {error.message}"


def _contradictions(config: dict[str, Any]) -> Iterator[str]:
    """What the schema cannot say."""
    yield from strategies.contradictions(config)
    for name in config["baselines"].keys() & config["models"].keys():
        yield f"baselines.{name}: models has one of this name; every model is scored there anyway"
    most = max(config["score"]["majority"], default=0)
    if most > config["score"]["samples"]:
        yield f"score.samples: {config['score']['samples']} are too few for the majority of {most}"
    for section, name, model in [(s, *each) for s in ("models", "baselines") for each in config[s].items()]:
        where = f"{section}.{name}"
        if model["engine"] == "endpoint":
            if not model["base_url"]:
                yield f"{where}.base_url: missing; engine endpoint asks a server that already runs"
        else:
            if not model["source"]:
                yield f"{where}.source: missing; engine {model['engine']} needs a model to serve"
            if model["base_url"]:
                yield f"{where}.base_url: only engine endpoint has one"
        if "llamacpp" in {model["engine"], model["tuned_engine"]} and config["hardware"] == "cuda":
            yield f"{where}.engine: llamacpp serves on the CPU only; with hardware cuda use vllm"
    strategy = config["distributed"]["strategy"]
    if strategy != "ddp" and config["hardware"] == "cpu":
        yield f"distributed.strategy: {strategy} needs GPUs; with hardware cpu use ddp"
    yield from (f"train.{fault}" for fault in setting_faults(config["train"], strategy))
    for section in _STRATEGIES:
        for name, settings in config[section].items():
            # what is said for both stands in strategies
            if section == "strategies" or name not in config["strategies"]:
                faults = setting_faults(settings["train"], strategy)
                yield from (f"{section}.{name}.train.{fault}" for fault in faults)
    budgets, bits = set(config["memory_budget_gib"]), {str(each) for each in config["quantize"]["bits"]}
    for unused in sorted(budgets - bits):
        yield f"memory_budget_gib.{unused}: quantize.bits has no {unused}"


def _named(value: Any) -> Any:
    """Strategies by name, each with its options; a list holds names alone."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value) and len(set(value)) == len(value):
        return {name: {} for name in value}
    if isinstance(value, dict):
        return {name: {} if settings is None else settings for name, settings in value.items()}
    return value


def _methods(named: dict[str, dict[str, Any]]) -> None:
    """Fill in the method where a strategy's name is one."""
    for name, settings in named.items():
        if settings["method"] is None and name in strategies.METHODS:
            settings["method"] = name


def _with_defaults(value: Any, rules: dict[str, Any]) -> Any:
    """Fill in what the schema gives a default for, at every depth."""
    if not isinstance(value, dict):
        return value
    for name, rule in rules.get("properties", {}).items():
        if name not in value and "default" in rule:
            value[name] = copy.deepcopy(rule["default"])
        if name in value:
            value[name] = _with_defaults(value[name], rule)
    others = rules.get("additionalProperties")
    if isinstance(others, dict):
        for name in value:
            if name not in rules.get("properties", {}):
                value[name] = _with_defaults(value[name], others)
    return value


def _laid_over(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{name: _laid_over(below.get(name), value) for name, value in above.items()}}


def _with_exponents(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_exponents(item) for name, item in value.items()}
    if isinstance(value, str) and "e" in value.lower() and _NUMBER.fullmatch(value):
        return float(value)
    return value


def _typed(value: Any) -> Any:
    """Numbers, booleans and null out of the strings that Snakemake makes of them."""
    if isinstance(value, dict):
        return {name: _typed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if not isinstance(value, str):
        return value
    if value in _WORDS:
        return _WORDS[value]
    if _NUMBER.fullmatch(value):
        return int(value) if value.lstrip("+-").isdecimal() else float(value)
    return value


def _string_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _string_keys(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_string_keys(item) for item in value]
    return value
