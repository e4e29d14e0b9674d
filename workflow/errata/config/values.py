"""The types of the configuration's values, and how they are read from YAML and the command line."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, Tag, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from errata.config import scalars

DEFAULT_TEXT = "x-default"


def describe_default(text: str) -> dict[str, JsonValue]:
    """The extra of a field whose default the tables of keys show as this text, not as its value."""
    return {DEFAULT_TEXT: text}


def refuse_repeated(items: list[Any]) -> list[Any]:
    """Refuse a list that contains an item twice."""
    if len(set(items)) < len(items):
        raise PydanticCustomError("repeated", "contains a value twice")
    return items


def empty_if_null(value: Any) -> Any:
    """A section without keys in place of null."""
    return {} if scalars.is_null(value) else value


def _keep_type(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """A checked number as the user wrote it: an integer stays one, since rules write it on command lines."""
    check(value)
    return value


AS_INTEGER = BeforeValidator(scalars.read_integer)
Integer = Annotated[int, AS_INTEGER]
Natural = Annotated[int, Field(ge=0), AS_INTEGER]
Count = Annotated[int, Field(ge=1), AS_INTEGER]
NotNegative = Annotated[float, Field(ge=0), WrapValidator(_keep_type), BeforeValidator(scalars.read_number)]
Positive = Annotated[float, Field(gt=0), WrapValidator(_keep_type), BeforeValidator(scalars.read_number)]
Share = Annotated[float, Field(ge=0, le=1), WrapValidator(_keep_type), BeforeValidator(scalars.read_number)]
# Not 0: nothing could be sampled.
Nucleus = Annotated[float, Field(gt=0, le=1), WrapValidator(_keep_type), BeforeValidator(scalars.read_number)]
Switch = Annotated[bool, BeforeValidator(scalars.read_switch)]
# Keys of other programs, passed on.
TrainerOptions = Annotated[dict[str, Any], BeforeValidator(scalars.read_trainer_options)]
EngineOptions = Annotated[dict[str, Any], BeforeValidator(scalars.read_engine_options)]
QuantizedBits = Annotated[Literal[2, 3, 4, 8], AS_INTEGER]
# Texts, since the keys of JSON are texts.
Bits = Literal["2", "3", "4", "8"]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
# The tags keep pydantic from reporting a fault once for each of the two types.
Temperatures = Annotated[
    Annotated[NotNegative, Tag("[number]")] | Annotated[list[NotNegative], Field(min_length=1), Tag("[list]")],
    Discriminator(lambda value: "[list]" if isinstance(value, list) else "[number]"),
]
