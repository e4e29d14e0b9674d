"""Checks a configuration, reports all its faults at once, and completes it with defaults."""

import copy
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from errata.config import scalars
from errata.config.checks import cross_faults
from errata.config.configuration import Configuration
from errata.config.faults import Fault
from errata.config.files import missing_files, repeated_keys
from errata.config.methods import METHODS
from errata.config.section import Section, sections_in
from errata.config.strategy_options import StrategyOptions
from errata.core.errors import Faults

_REMEDY = "config/README.md explains every key."


def read_configuration(
    config: Mapping[str, Any], files: Sequence[Path] = (), overrides: Mapping[str, Any] | None = None
) -> Configuration:
    """A checked and completed configuration, whose files were checked too.

    Args:
        config: the files as Snakemake read and merged them, with `--config` applied.
        files: from which Snakemake read it. They are read again to find repeated keys.
        overrides: the value of `--config`.

    Raises:
        Faults: as `validate`; a key is in a file twice; a file that the configuration names does not exist.
    """
    faults = repeated_keys(files)
    name = ", ".join(map(str, files)) or "configuration"
    configuration, more = _check(config, overrides)
    if configuration is not None:
        more += [fault for fault in missing_files(configuration) if not fault.follows_from({each.key for each in more})]
    if faults or more or configuration is None:
        raise Faults(name, [*faults, *map(str, more)], _REMEDY)
    return configuration


def validate(
    config: Mapping[str, Any], name: str = "configuration", overrides: Mapping[str, Any] | None = None
) -> Configuration:
    """A checked and completed configuration; YAML's number keys (`3: 32`) become texts, as in JSON.

    Args:
        config: as read from YAML.
        name: its name in the error message, such as the path of the file.
        overrides: the value of `--config`. Snakemake reads its inner values as texts, so they replace those of `config`
            again here, and the type of a key decides what a text means.

    Raises:
        Faults: unknown or missing keys, wrong types and values, keys that do not go together.
    """
    configuration, faults = _check(config, overrides)
    if faults or configuration is None:
        raise Faults(name, map(str, faults), _REMEDY)
    return configuration


def _check(config: Mapping[str, Any], overrides: Mapping[str, Any] | None) -> tuple[Configuration | None, list[Fault]]:
    """A configuration and all its faults. Defaults replace faulty keys; None where that is impossible.

    A fault that only follows from another one is left out.
    """
    given = _lay_over(_text_keys(config), scalars.mark(_text_keys(overrides or {})))
    try:
        configuration, faults = Configuration.model_validate(given), []
    except ValidationError as error:
        errors = sorted(error.errors(include_url=False), key=lambda each: [str(part) for part in each["loc"]])
        faults = [_explain(each) for each in errors]
        try:
            configuration = Configuration.model_validate(_without(given, [_path(each) for each in errors]))
        except ValidationError:
            # too faulty for further checks
            return None, faults
    configuration = _complete(configuration)
    faulty = {fault.key for fault in faults}
    return configuration, faults + [fault for fault in cross_faults(configuration) if not fault.follows_from(faulty)]


def _complete(configuration: Configuration) -> Configuration:
    """Fill in what follows from other keys: the method where a strategy's name is one, and for a strategy of the
    ablation that `strategies` contains too, the options from there."""
    ablation = {
        name: configuration.strategies[name].model_copy(
            update={key: getattr(options, key) for key in options.model_fields_set}
        )
        if name in configuration.strategies
        else options
        for name, options in configuration.ablation.items()
    }
    sections = {"strategies": configuration.strategies, "ablation": ablation}
    return configuration.model_copy(update={section: _with_methods(named) for section, named in sections.items()})


def _with_methods(strategies: Mapping[str, StrategyOptions]) -> dict[str, StrategyOptions]:
    return {
        name: options.model_copy(update={"method": name}) if options.method is None and name in METHODS else options
        for name, options in strategies.items()
    }


# Values for faulty required keys, so that the other keys can still be checked.
_STAND_INS: dict[tuple[str, ...], Any] = {
    ("dataset",): {"train": "", "test": ""},
    ("dataset", "train"): "",
    ("dataset", "test"): "",
    ("models",): {"model": {"source": "model"}},
}


def _without(given: Mapping[str, Any], paths: Sequence[tuple[str | int, ...]]) -> Any:
    """A configuration without some of its keys; required ones get a stand-in."""
    result = copy.deepcopy(given)
    for path in paths:
        place = result
        keys = [part for part in path if isinstance(part, str)]
        for key in keys[:-1]:
            place = place.get(key, {}) if isinstance(place, dict) else {}
        if isinstance(place, dict) and keys:
            place.pop(keys[-1], None)
            if tuple(keys) in _STAND_INS:
                place[keys[-1]] = _STAND_INS[tuple(keys)]
    return result


# Errors of pydantic in words. `{value}` is what the user wrote, the rest is the error's context.
_WORDS = {
    "string_type": "{value!r} is not a text",
    "int_type": "{value!r} is not a whole number",
    "float_type": "{value!r} is not a number",
    "bool_type": "{value!r} is not true or false",
    "list_type": "{value!r} is not a list",
    "dict_type": "{value!r} is not a mapping of keys",
    "model_type": "{value!r} is not a mapping of keys",
    "literal_error": "{value!r} is not one of {expected}",
    "greater_than_equal": "{value!r} is less than the minimum of {ge:g}",
    "greater_than": "{value!r} is not greater than {gt:g}",
    "less_than_equal": "{value!r} is greater than the maximum of {le:g}",
    "too_short": "must not be empty",
    "string_pattern_mismatch": (
        "{value!r} is not a name for a model: letters, digits, -, _ and ., and the first is a letter or a digit"
    ),
}


def _explain(error: ErrorDetails) -> Fault:
    """An error of pydantic in words, with the key."""
    path, kind = _path(error), error["type"]
    if error["loc"][-1:] == ("[key]",):
        # the fault is the name itself, which the text contains
        path = path[:-1]
    key = ".".join(map(str, path)) or "the file"
    if kind in ("extra_forbidden", "missing"):
        return Fault(key, _explain_key(path, kind))
    context = dict(error.get("ctx", {}))
    if "expected" in context:
        context["expected"] = context["expected"].replace("'", "").replace(" or ", ", ")
    words = _WORDS.get(kind)
    text = f"{error['input']!r} {error['msg']}" if words is None else words.format(value=error["input"], **context)
    return Fault(key, text)


def _explain_key(path: Sequence[str | int], kind: str) -> str:
    """Why a key is unknown or missing."""
    *above, last = map(str, path)
    keys = _section_at(above).model_fields
    if kind == "missing":
        return f"missing. {keys[last].description or ''}".rstrip()
    close = difflib.get_close_matches(last, keys, n=1)
    return "unknown key; " + (f"did you mean {close[0]!r}?" if close else f"there are {', '.join(keys)}")


def _path(error: ErrorDetails) -> tuple[str | int, ...]:
    """The path of keys and list indices to an error."""
    return tuple(part for part in error["loc"] if part not in ("[number]", "[list]", "[key]"))


def _section_at(path: Sequence[str]) -> type[Section]:
    """The section that a path of keys and names leads to."""
    section: type[Section] = Configuration
    for part in path:
        if part in section.model_fields:
            section = next(sections_in(section.model_fields[part].annotation), section)
    return section


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
