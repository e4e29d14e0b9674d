"""The strategies of a configuration: the start of each, and which of them share completions.

A strategy's name is part of paths. Its later rounds and its folds are strategies of their own: `self-round2` starts
from the tuned model of `self`, `self.fold2` is trained on everything except fold 2, `self-round2.fold2` is both.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from errata.config.configuration import Configuration
from errata.config.methods import METHODS, MethodSpec, Stage
from errata.config.strategy_options import StrategyOptions
from errata.config.variants import BASE, fold_name, round_name


@dataclass(frozen=True)
class Strategy:
    """A way of making training data and of training on it.

    Attributes:
        name: with round and fold.
        method: of `METHODS`.
        questions: which questions it is about: `wrong` at first, or `all`; only some methods have the choice.
        teacher: the model that is given the answers; None for the model itself.
        keep: at most so many different completions of a question are trained on.
        replay: the share of first-right questions that are trained on too.
        pairs: at most so many of a question.
        start_from: the strategy whose tuned model is trained; None for the base.
        train: LLaMA-Factory's keys, which take precedence over those of all strategies.
        rounds: how many rounds there are.
        round: from 1.
        respondent: the variant that answers and is asked again: `base`, or the strategy of the round before.
        fold: the fold that is left out, from 1; None for a training on everything.
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
    respondent: str = BASE
    fold: int | None = None

    @classmethod
    def of(cls, name: str, options: StrategyOptions, rounds: int, keep: int) -> Self:
        """The first round of a strategy of the configuration, trained on everything.

        Args:
            keep: used where the options have no `keep`.
        """
        return cls(
            name,
            options.method or name,
            options.questions,
            options.teacher,
            options.keep or keep,
            options.replay,
            options.pairs,
            options.start_from,
            options.train,
            rounds,
        )

    @property
    def spec(self) -> MethodSpec:
        """The facts of its method."""
        return METHODS[self.method]

    @property
    def stage(self) -> Stage:
        """LLaMA-Factory's name of the kind of training."""
        return self.spec.stage

    @property
    def requests(self) -> tuple[str | None, ...]:
        """The settings that determine its requests. Strategies that agree in these and in `keep` share completions.

        One that keeps more asks for longer, and has a file of its own, so that its cost is not shown as that of the
        others. The journals give it what the others have asked already.
        """
        method = self.spec.completions
        # the respondent belongs to it even with a teacher: the first-wrong questions differ from round to round
        chosen = (self.teacher, self.questions) if "teacher" in METHODS[method].options else ()
        return (method, *chosen, self.respondent)


class Strategies(Mapping[str, Strategy]):
    """All strategies of a configuration by name, with their rounds and folds.

    Attributes:
        full: the strategies that run through the whole pipeline, each with its number of rounds.
        ablation: the strategies of target `ablation`, those of `full` included, each with its number of rounds.
        folds: how many folds there are; 0 for none.
    """

    def __init__(self, strategies: Mapping[str, Strategy], full: Mapping[str, int], folds: int) -> None:
        self.full, self.folds = full, folds
        self.ablation = {name: strategy.rounds for name, strategy in strategies.items()}
        rounds = {each.name: each for strategy in strategies.values() for each in _rounds(strategy)}
        leaving_out = [_without_fold(strategy, fold) for strategy in rounds.values() for fold in range(1, folds + 1)]
        self._all = {**rounds, **{strategy.name: strategy for strategy in leaving_out}}

    @classmethod
    def of(cls, configuration: Configuration) -> Self:
        """The strategies of a configuration."""
        full, more = configuration.strategies, configuration.ablation
        # those of the whole pipeline first
        options = {**full, **{name: each for name, each in more.items() if name not in full}}
        strategies = {}
        for name, each in options.items():
            rounds = max(section[name].rounds for section in (full, more) if name in section)
            strategies[name] = Strategy.of(name, each, rounds, configuration.generate.keep)
        rounds_in_full = {name: each.rounds for name, each in full.items()}
        return cls(strategies, rounds_in_full, configuration.dataset.folds or 0)

    def distinct_retries(self, names: Iterable[str]) -> list[str]:
        """The files of retries that several strategies cost together, by name.

        Of strategies with the same requests only the one that keeps most counts: its requests include the others'.
        """
        longest: dict[tuple[str | None, ...], Strategy] = {}
        for strategy in map(self.__getitem__, names):
            other = longest.setdefault(strategy.requests, strategy)
            if other.keep < strategy.keep:
                longest[strategy.requests] = strategy
        return [self.retries(strategy.name) for strategy in longest.values()]

    def __getitem__(self, name: str) -> Strategy:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def retries(self, name: str) -> str:
        """The name of the file with a strategy's completions: the first strategy that shares them."""
        wanted = self[name]
        return next(
            other
            for other, strategy in self._all.items()
            if (strategy.requests, strategy.keep) == (wanted.requests, wanted.keep)
        )


def _rounds(strategy: Strategy) -> list[Strategy]:
    """A strategy's first round and the later ones: each asks and trains the model of the one before."""
    rounds = [strategy]
    for number in range(2, strategy.rounds + 1):
        before = rounds[-1].name
        name = round_name(strategy.name, number)
        rounds.append(replace(strategy, name=name, round=number, respondent=before, start_from=before))
    return rounds


def _without_fold(strategy: Strategy, fold: int) -> Strategy:
    """The same strategy trained without a fold. Its start and its respondent are without that fold too."""
    start, respondent = strategy.start_from, strategy.respondent
    return replace(
        strategy,
        name=fold_name(strategy.name, fold),
        fold=fold,
        start_from=None if start is None else fold_name(start, fold),
        respondent=respondent if respondent == BASE else fold_name(respondent, fold),
    )
