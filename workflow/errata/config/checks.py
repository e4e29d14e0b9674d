"""Faults that no single key has: keys of a configuration that do not go together."""

import re
from collections.abc import Iterator

from errata.config.configuration import Configuration, Model
from errata.config.faults import Fault
from errata.config.methods import METHODS, methods_with
from errata.config.sources import trained_here
from errata.config.strategy_options import StrategyOptions
from errata.config.trainer_keys import trainer_faults
from errata.config.variants import round_name

# It excludes the names of rounds, folds, quantized and voted variants.
_STRATEGY_NAME = re.compile(r"(?!base$)(?!.*-round\d+$)(?!.*-\d+bit$)[A-Za-z0-9][A-Za-z0-9_-]*")


def cross_faults(configuration: Configuration) -> Iterator[Fault]:
    """A fault for all keys that do not go together."""
    yield from _strategy_faults(configuration)
    yield from _model_faults(configuration)
    yield from _training_faults(configuration)
    most = max(configuration.score.majority, default=0)
    if most > configuration.score.samples:
        text = f"{configuration.score.samples} are too few for the majority of {most}"
        yield Fault("score.samples", text, ("score.majority",))
    bits = {str(each) for each in configuration.quantize.bits}
    for unused in sorted(set(configuration.memory_budget_gib) - bits):
        yield Fault(f"memory_budget_gib.{unused}", f"quantize.bits has no {unused}", ("quantize.bits",))


def _model_faults(configuration: Configuration) -> Iterator[Fault]:
    for name in sorted(configuration.baselines.keys() & configuration.models.keys()):
        yield Fault(f"baselines.{name}", "models has one of this name; every model is scored there anyway")
    for section, models in (("models", configuration.models), ("baselines", configuration.baselines)):
        for name, model in models.items():
            for fault in _serving_faults(model, configuration.hardware):
                yield fault.below(f"{section}.{name}")._replace(
                    reads=(f"{section}.{name}.engine", f"{section}.{name}.tuned_engine", "hardware")
                )


def _serving_faults(model: Model, hardware: str) -> Iterator[Fault]:
    if model.engine == "endpoint":
        if not model.base_url:
            yield Fault("base_url", "missing; engine endpoint asks a server that already runs")
    else:
        if not model.source:
            yield Fault("source", f"missing; engine {model.engine} needs a model to serve")
        if model.base_url:
            yield Fault("base_url", "only engine endpoint has one")
    if hardware == "cuda" and "llamacpp" in (model.engine, model.tuned_engine):
        yield Fault("engine", "llamacpp serves on the CPU only; with hardware cuda use vllm")


def _training_faults(configuration: Configuration) -> Iterator[Fault]:
    strategy = configuration.distributed.strategy
    if strategy != "ddp" and configuration.hardware == "cpu":
        yield Fault("distributed.strategy", f"{strategy} needs GPUs; with hardware cpu use ddp", ("hardware",))
    sections = {"train": configuration.train}
    sections |= {f"strategies.{name}.train": each.train for name, each in configuration.strategies.items()}
    sections |= {
        f"ablation.{name}.train": each.train
        for name, each in configuration.ablation.items()
        # a name in both sections is reported for `strategies` only
        if name not in configuration.strategies
    }
    for section, options in sections.items():
        for fault in trainer_faults(options, strategy):
            yield fault.below(section)._replace(reads=("distributed.strategy",))


def _strategy_faults(configuration: Configuration) -> Iterator[Fault]:
    """Faults of strategies' names, methods and starts."""
    full, more = configuration.strategies, configuration.ablation
    defined = {**more, **full}
    earlier: list[str] = []
    for section, strategies in (("strategies", full), ("ablation", more)):
        for name, options in strategies.items():
            where = f"{section}.{name}"
            if not _STRATEGY_NAME.fullmatch(name):
                yield Fault(
                    where, "not a name for a strategy: letters, digits, - and _; not base, ...-round2 or ...-4bit"
                )
            if section == "ablation" and name in full:
                if options.model_copy(update={"rounds": 1}) != full[name].model_copy(update={"rounds": 1}):
                    text = "strategies has one of this name; only `rounds` may differ here"
                    yield Fault(where, text, (f"strategies.{name}",))
            else:
                yield from _method_faults(where, options, configuration)
                start = options.start_from
                if start is not None and start not in earlier:
                    hint = "it must come before this one" if start in defined else f"there are {', '.join(defined)}"
                    text = f"no strategy {start!r} yet; {hint}"
                    yield Fault(f"{where}.start_from", text, ("strategies", "ablation"))
            earlier += [round_name(name, number) for number in range(1, options.rounds + 1)]


# Options that only some methods take, and why.
_REASONS = {
    "teacher": "",
    "questions": "",
    "pairs": "",
    "replay": ": dpo is trained on pairs, and a first-right question has no wrong completion",
}


def _method_faults(where: str, options: StrategyOptions, configuration: Configuration) -> Iterator[Fault]:
    if options.method is None:
        yield Fault(f"{where}.method", f"missing, since the name is none of {', '.join(METHODS)}")
        return
    for option, reason in _REASONS.items():
        if option not in METHODS[options.method].options and options.differs(option) and getattr(options, option):
            methods = methods_with(option)
            word = "method" if len(methods) == 1 else "methods"
            text = f"only for {word} {', '.join(methods)}{reason}"
            yield Fault(f"{where}.{option}", text, (f"{where}.method",))
    if options.teacher and "teacher" in METHODS[options.method].options:
        models = {**configuration.models, **configuration.baselines}
        sources = {name: model.source for name, model in models.items()}
        if options.teacher not in models:
            text = f"no model {options.teacher!r} in models or baselines"
            yield Fault(f"{where}.teacher", text, ("models", "baselines"))
        elif configuration.dataset.folds and trained_here(sources, options.teacher):
            text = f"{options.teacher} was trained on every fold; with dataset.folds take another"
            yield Fault(f"{where}.teacher", text, ("models", "baselines", "dataset.folds"))
