"""The base class of all sections of the configuration."""

from collections.abc import Iterator
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, model_validator

from errata.config import scalars


class Section(BaseModel):
    """A section of the configuration: unknown keys are refused, nothing is converted, nothing changes later.

    Its keys keep the user's order, followed by the defaults, since Snakemake compares texts that are made from them.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    _first_defaults: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _keep_order(cls, value: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(value, dict):
            return check(value)
        given = {name: None if scalars.is_null(item) else item for name, item in value.items()}
        section = check(given)
        values = dict(section.__dict__)
        section.__dict__.clear()
        section.__dict__.update({name: values[name] for name in [*given, *cls._first_defaults, *values]})
        return section

    def differs(self, key: str) -> bool:
        """Whether a key has another value than its default."""
        return bool(getattr(self, key) != type(self).model_fields[key].get_default(call_default_factory=True))

    def to_record(self) -> dict[str, Any]:
        """The section as JSON has it, defaults included."""
        return {name: _to_record(value) for name, value in self.__dict__.items()}


def _to_record(value: Any) -> Any:
    if isinstance(value, Section):
        return value.to_record()
    if isinstance(value, dict):
        return {name: _to_record(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_to_record(item) for item in value]
    return value


def sections_in(annotation: Any) -> Iterator[type[Section]]:
    """The classes of sections in a key's type: at most one in this configuration."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from sections_in(inner)
