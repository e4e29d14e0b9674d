"""The options of a strategy in the sections `strategies` and `ablation`."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from errata.config import scalars
from errata.config.methods import METHODS
from errata.config.section import Section
from errata.config.values import Count, Share, TrainerOptions, describe_default, refuse_repeated

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]


class StrategyOptions(Section):
    """How training data is made, and trained on."""

    method: MethodName | None = Field(
        default=None,
        description=f"{', '.join(f'`{name}`' for name in METHODS)}; see above.",
        json_schema_extra=describe_default("the name"),
    )
    questions: Literal["wrong", "all"] = Field(
        default="wrong", description="Of `distill`: ask about the first-wrong questions, or about `all`."
    )
    teacher: str | None = Field(
        default=None,
        description="Of `distill`: any of `models` and `baselines`, an endpoint too.",
        json_schema_extra=describe_default("the model itself"),
    )
    keep: Count | None = Field(
        default=None,
        description="How many different right completions of a question are trained on, at most.",
        json_schema_extra=describe_default("`generate.keep`"),
    )
    replay: Share = Field(
        default=0,
        description="Share of the first-right questions that is trained on too, with the first completion, against forgetting.",
    )
    pairs: Count = Field(default=1, description="Of `dpo`: pairs of a question, at most.")
    start_from: str | None = Field(
        default=None,
        description="An earlier strategy, or a round of one (`self-round2`), whose tuned model is trained. For `dpo` it is the reference as well.",
        json_schema_extra=describe_default("the base"),
    )
    train: TrainerOptions = Field(
        default_factory=dict,
        description="LLaMA-Factory's keys for this strategy alone. They take precedence over those of `train`: dpo needs a lower `learning_rate`.",
    )
    rounds: Count = Field(
        default=1,
        description="How often answer, retry and train are repeated, each time with the tuned model: `self-round2` is trained on what `self` still got wrong. A round that solves no question beyond those of the earlier training sets is not trained, and is the last. A dry run shows the rounds as far as that is known.",
    )


def _name_strategies(value: Any) -> Any:
    """Strategies by name, each with its options; a list contains names alone."""
    if isinstance(value, list):
        if not all(isinstance(name, str) for name in value):
            raise PydanticCustomError("not_names", "is neither names with options nor a list of names")
        return {str(name): {} for name in refuse_repeated(value)}
    if isinstance(value, dict):
        return {name: {} if scalars.is_null(options) else options for name, options in value.items()}
    return value


_Named = dict[str, StrategyOptions | None]
NamedStrategies = Annotated[
    dict[str, StrategyOptions], BeforeValidator(_name_strategies, json_schema_input_type=_Named | list[MethodName])
]
SomeStrategies = Annotated[
    dict[str, StrategyOptions],
    Field(min_length=1),
    BeforeValidator(
        _name_strategies,
        json_schema_input_type=Annotated[_Named, Field(min_length=1)]
        | Annotated[list[MethodName], Field(min_length=1)],
    ),
]
