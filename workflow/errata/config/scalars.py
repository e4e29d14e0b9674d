"""Reads numbers and switches of a configuration that YAML or `--config` gave as texts. A key's type decides how.

YAML 1.1, which Snakemake reads, reads `1e-4` as a text, and every value within `--config 'section={...}'` is a text.
"""

import math
import re
from typing import Any

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_SWITCHES = {"true": True, "True": True, "false": False, "False": False}


class CommandLineText(str):
    """A text from the command line. It may mean a number, true, false or null."""

    __slots__ = ()


def mark(value: Any) -> Any:
    """Mark every text of a value from `--config`, at every depth."""
    if isinstance(value, dict):
        return {name: mark(item) for name, item in value.items()}
    if isinstance(value, list):
        return [mark(item) for item in value]
    return CommandLineText(value) if isinstance(value, str) else value


def is_null(value: Any) -> bool:
    """Whether a value is null, in a file or on the command line."""
    return value is None or (isinstance(value, CommandLineText) and value == "null")


def read_number(value: Any) -> Any:
    """The number of a text in exponent form, or of any numeric text from the command line; anything else unchanged."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    if "e" not in value.lower():
        if not isinstance(value, CommandLineText):
            return value
        if value.lstrip("+-").isdecimal():
            return int(value)
    number = float(value)
    return number if math.isfinite(number) else value


def read_integer(value: Any) -> Any:
    """As `read_number`; a number without a fraction becomes an integer, so that `1e6` and `6.0` count as one."""
    number = read_number(value)
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number


def read_switch(value: Any) -> Any:
    """True or false from the command line; anything else unchanged."""
    return _SWITCHES.get(value, value) if isinstance(value, CommandLineText) else value


def read_engine_options(value: Any) -> Any:
    """Keys of another program, whose types are unknown. A text from the command line that looks like a number, a switch
    or null becomes one. Texts from a file stay texts."""
    if isinstance(value, dict):
        return {name: read_engine_options(item) for name, item in value.items()}
    if isinstance(value, list):
        return [read_engine_options(item) for item in value]
    if not isinstance(value, CommandLineText):
        return value
    if is_null(value):
        return None
    read = read_switch(read_number(value))
    return str(read) if isinstance(read, CommandLineText) else read


def read_trainer_options(value: Any) -> Any:
    """As `read_engine_options`; a file's numbers in exponent form are read too, as for a learning rate of `1e-4`."""
    if isinstance(value, dict):
        return {name: read_trainer_options(item) for name, item in value.items()}
    if isinstance(value, list):
        return [read_trainer_options(item) for item in value]
    return read_engine_options(read_number(value))
