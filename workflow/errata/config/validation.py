"""The configuration: checked with all faults at once, and completed with defaults."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from errata.config import scalars, strategies
from errata.config.configuration import Configuration, Section, StrategySettings, sections_in
from errata.config.trainer_keys import setting_faults
from errata.core.errors import Faults

_STRATEGIES = ("strategies", "ablation")


def validated(
    config: Mapping[str, Any], name: str = "configuration", overrides: Mapping[str, Any] | None = None
) -> Configuration:
    """A checked and completed configuration; YAML's number keys (`3: 32`) become strings, as in JSON.

    Args:
        config: as read from YAML.
        name: what the error message calls it, best the path of the file.
        overrides: what came by `--config`. Snakemake reads what is within as strings, so it is laid over the file again
            here, marked as what a key's type decides about.

    Raises:
        Faults: unknown or missing keys, wrong types and values, contradictions.
    """
    given = _lay_over(_text_keys(config), scalars.mark(_text_keys(overrides or {})))
    faults: list[str] = []
    try:
        configuration = _complete(Configuration.model_validate(given))
        faults += _contradictions(configuration.to_record())
    except ValidationError as error:
        errors = sorted(error.errors(include_url=False), key=lambda each: [str(part) for part in each["loc"]])
        faults += [_explain(each, given) for each in errors]
    if faults:
        raise Faults(name, faults, "config/README.md explains every key.")
    return configuration


def _complete(configuration: Configuration) -> Configuration:
    """Fill in what follows from other keys: the method where a strategy's name is one, and for a strategy of the
    ablation that `strategies` has too, what is said of it there."""
    ablation = {
        name: configuration.strategies[name].model_copy(update=_given(settings))
        if name in configuration.strategies
        else settings
        for name, settings in configuration.ablation.items()
    }
    sections = {"strategies": configuration.strategies, "ablation": ablation}
    return configuration.model_copy(update={section: _with_methods(named) for section, named in sections.items()})


def _given(settings: StrategySettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def _with_methods(named: dict[str, StrategySettings]) -> dict[str, StrategySettings]:
    return {
        name: settings.model_copy(update={"method": name})
        if settings.method is None and name in strategies.METHODS
        else settings
        for name, settings in named.items()
    }


# Errors of pydantic in words. `{value}` is what the user wrote, the rest is the error's context.
_WORDS = {
    "string_type": "{value!r} is not a text",
    "int_type": "{value!r} is not a whole number",
    "float_type": "{value!r} is not a number",
    "bool_type": "{value!r} is not true or false",
    "list_type": "{value!r} is not a list",
    "dict_type": "{value!r} is not a mapping of keys",
    "model_type": "{value!r} is not a mapping of keys",
    "literal_error": "{value!r} is not one of {allowed}",
    "greater_than_equal": "{value!r} is less than the minimum of {ge}",
    "greater_than": "{value!r} is not greater than {gt}",
    "less_than_equal": "{value!r} is greater than the maximum of {le}",
    "too_short": "{value!r} must not be empty",
    "string_pattern_mismatch": (
        "{value!r} is no name of a model: letters, digits, -, _ and . are allowed, and the first is a letter or a digit"
    ),
}


def _explain(error: ErrorDetails, given: Any) -> str:
    """An error in words that name the key."""
    path = _path(error["loc"], given)
    value, kind = error["input"], error["type"]
    *above, last = [*map(str, path)] or [""]
    where = ".".join(map(str, path)) or "the file"
    if kind == "extra_forbidden":
        keys = list(_section_at(above).model_fields)
        close = difflib.get_close_matches(last, keys, n=1)
        return f"{where}: unknown key; " + (f"did you mean {close[0]!r}?" if close else f"there are {', '.join(keys)}")
    if kind == "missing":
        return f"{where}: missing. {_section_at(above).model_fields[last].description or ''}".rstrip()
    if kind not in _WORDS:
        return f"{where}: {value!r} {error['msg']}"
    context = error.get("ctx", {})
    allowed = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
    return f"{where}: " + _WORDS[kind].format(
        value=value, allowed=allowed, **{name: f"{limit:g}" for name, limit in context.items() if name in _LIMITS}
    )


_LIMITS = {"ge", "gt", "le"}


def _path(loc: tuple[int | str, ...], given: Any) -> list[int | str]:
    """Where an error is in what was given. pydantic adds which member of a union it tried, and marks errors of keys."""
    path: list[int | str] = []
    for part in loc:
        if isinstance(given, dict):
            if part == "[key]":
                continue
            given = given.get(part)
        elif isinstance(given, list) and isinstance(part, int) and part < len(given):
            given = given[part]
        else:
            continue
        path.append(part)
    return path[:-1] if loc and loc[-1] == "[key]" else path


def _section_at(path: list[str]) -> type[Section]:
    """The section that a path of keys and names leads to."""
    section: type[Section] = Configuration
    for part in path:
        if part in section.model_fields:
            section = next(sections_in(section.model_fields[part].annotation), section)
    return section


def _contradictions(config: dict[str, Any]) -> Iterator[str]:
    """What a single key's type cannot say."""
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


def _lay_over(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{name: _lay_over(below.get(name), value) for name, value in above.items()}}


def _text_keys(value: Any) -> Any:
    """Keys as texts. `3` and `"3"` become one: Snakemake keeps that of a file beside that of `--config`."""
    if isinstance(value, Mapping):
        texts: dict[str, Any] = {}
        for name, item in value.items():
            texts[str(name)] = _lay_over(texts.get(str(name)), _text_keys(item))
        return texts
    if isinstance(value, list):
        return [_text_keys(item) for item in value]
    return value
