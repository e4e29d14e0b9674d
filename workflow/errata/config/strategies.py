"""How training data is made: the strategies of a configuration, what each builds on, and what they share.

A strategy's name is a part of paths. Its later rounds and its folds are strategies of their own: `self-round2` starts
from the tuned model of `self`, `self.fold2` is trained on everything but fold 2, `self-round2.fold2` is both.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from errata.config.configuration import Configuration
from errata.config.sources import trained_here
from errata.config.variants import BASE, _of_fold

METHODS = ("self", "distill", "reflect", "dpo")
# Not what a round, a fold, a quantized or a voted variant is called.
NAME = re.compile(r"(?!base$)(?!.*-round\d+$)(?!.*-\d+bit$)[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Strategy:
    """One way of making training data, and of training on it.

    Attributes:
        method: `self` (asked again until right), `distill` (a teacher is told the answer), `reflect` (the model is
            shown its mistake), or `dpo` (right completions against wrong ones).
        questions: of which questions, `wrong` at first or `all`; only distill has the choice.
        teacher: the model that is told the answers; None is the model itself.
        keep: different completions of a question that are trained on, at most.
        replay: the share of first-right questions that are trained on too.
        pairs: of a question at most, for dpo.
        start_from: the strategy whose tuned model is trained; None for the base.
        train: LLaMA-Factory's keys, laid over those of all strategies.
        round: from 1.
        asked: the variant that answers and is asked again: `base`, or what the round before has made.
        fold: that is left out, from 1; None where all is trained on.
    """

    name: str
    method: str
    questions: str
    teacher: str | None
    keep: int
    replay: float
    pairs: int
    start_from: str | None
    train: Mapping[str, Any]
    rounds: int
    round: int = 1
    asked: str = BASE
    fold: int | None = None

    @property
    def stage(self) -> str:
        """LLaMA-Factory's name of the kind of training."""
        return "dpo" if self.method == "dpo" else "sft"

    @property
    def asking(self) -> tuple[str | int | None, ...]:
        """What completions are made by: strategies that agree in this share them. dpo takes those of self.

        One that keeps more asks for longer, and has a file of its own: what it needs is not to be charged to the
        others. It finds in the journals what they have asked already.
        """
        if self.method == "distill":
            # a teacher of its own does not change from round to round, but what was wrong at first does
            return ("distill", self.teacher, self.questions, self.asked, self.keep)
        return ("self" if self.method == "dpo" else self.method, self.asked, self.keep)


class Strategies(Mapping[str, Strategy]):
    """All strategies that a configuration allows for, by name, with their rounds and folds.

    Attributes:
        full: those that the whole pipeline is run for, and how many rounds of each.
        compared: those of target `ablation`, the former included.
        folds: how many there are; 0 for none.
    """

    def __init__(self, named: Mapping[str, Strategy], full: Mapping[str, int], folds: int) -> None:
        self.full, self.folds = full, folds
        self.compared = {name: strategy.rounds for name, strategy in named.items()}
        whole = {each.name: each for strategy in named.values() for each in _rounds(strategy)}
        without = [_without(strategy, fold) for strategy in whole.values() for fold in range(1, folds + 1)]
        self._all = {**whole, **{strategy.name: strategy for strategy in without}}

    @classmethod
    def of(cls, configuration: Configuration | Mapping[str, Any]) -> Self:
        """Those of a configuration, or of its record."""
        config = configuration.to_record() if isinstance(configuration, Configuration) else configuration
        full, more = config["strategies"], config["ablation"]
        named = {}
        for name, settings in {**more, **full}.items():
            most = max(each[name]["rounds"] for each in (full, more) if name in each)
            keep = settings["keep"] or config["generate"]["keep"]
            named[name] = Strategy(**{**settings, "name": name, "rounds": most, "keep": keep})
        # those of the whole pipeline first
        ordered = {name: named[name] for name in [*full, *more]}
        rounds = {name: settings["rounds"] for name, settings in full.items()}
        return cls(ordered, rounds, config["dataset"]["folds"] or 0)

    def charged(self, names: Iterable[str]) -> list[str]:
        """Under which names the completions are that several strategies together cost.

        Of those that ask alike the one that keeps most asks for longest, and what the others ask is part of that.
        """
        longest: dict[tuple[str | int | None, ...], Strategy] = {}
        for strategy in map(self.__getitem__, names):
            *alike, _ = strategy.asking
            other = longest.setdefault(tuple(alike), strategy)
            if other.keep < strategy.keep:
                longest[tuple(alike)] = strategy
        return [self.retries(strategy.name) for strategy in longest.values()]

    def __getitem__(self, name: str) -> Strategy:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def retries(self, name: str) -> str:
        """Under which name the completions are that a strategy is trained on: that of the first that makes the same."""
        wanted = self[name].asking
        return next(other for other, strategy in self._all.items() if strategy.asking == wanted)


def of_round(name: str, number: int) -> str:
    """What a round of a strategy is called."""
    return name if number == 1 else f"{name}-round{number}"


def _rounds(strategy: Strategy) -> list[Strategy]:
    """A strategy's first round and those that follow: each asks and trains what the one before has made."""
    made = [strategy]
    for number in range(2, strategy.rounds + 1):
        before = made[-1].name
        name = of_round(strategy.name, number)
        made.append(replace(strategy, name=name, round=number, asked=before, start_from=before))
    return made


def _without(strategy: Strategy, fold: int) -> Strategy:
    """The same without a fold; what it builds on is without it too."""
    start, asked = strategy.start_from, strategy.asked
    return replace(
        strategy,
        name=_of_fold(strategy.name, fold),
        fold=fold,
        start_from=None if start is None else _of_fold(start, fold),
        asked=asked if asked == BASE else _of_fold(asked, fold),
    )


def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """What the schema cannot say about the strategies of a configuration."""
    defined = {**config["ablation"], **config["strategies"]}
    known: list[str] = []
    for section in ("strategies", "ablation"):
        for name, settings in config[section].items():
            where = f"{section}.{name}"
            if not NAME.fullmatch(name):
                yield f"{where}: no name for a strategy: letters, digits, - and _; not base, ...-round2 or ...-4bit"
            if section == "ablation" and name in config["strategies"]:
                if {**settings, "rounds": 0} != {**config["strategies"][name], "rounds": 0}:
                    yield f"{where}: strategies has one of this name; only `rounds` may be another here"
                known += _rounds_of(name, settings)
                continue
            yield from _faults(where, settings, config)
            start = settings["start_from"]
            if start is not None and start not in known:
                hint = "it has to stand before this one" if start in defined else f"there are {', '.join(defined)}"
                yield f"{where}.start_from: no strategy {start!r} yet; {hint}"
            known += _rounds_of(name, settings)


def _rounds_of(name: str, settings: Mapping[str, Any]) -> list[str]:
    return [of_round(name, number) for number in range(1, settings["rounds"] + 1)]


def _faults(where: str, settings: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    method = settings["method"]
    if method is None:
        yield f"{where}.method: missing, since the name is none of {', '.join(METHODS)}"
    if method != "distill":
        if settings["teacher"]:
            yield f"{where}.teacher: only method distill has one"
        if settings["questions"] != "wrong":
            yield f"{where}.questions: only method distill has the choice"
    elif teacher := settings["teacher"]:
        models = {**config["models"], **config["baselines"]}
        if teacher not in models:
            yield f"{where}.teacher: no model {teacher!r} in models or baselines"
        elif config["dataset"]["folds"] and trained_here(models, teacher):
            yield f"{where}.teacher: {teacher} was trained on every fold; with dataset.folds take another"
    if method != "dpo" and settings["pairs"] != 1:
        yield f"{where}.pairs: only method dpo is trained on pairs"
    if method == "dpo" and settings["replay"]:
        yield f"{where}.replay: dpo is trained on pairs, and a first-right question has no wrong completion"
