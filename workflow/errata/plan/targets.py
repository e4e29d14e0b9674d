"""The targets of a run: the variants of each model that are scored, as far as there is something to train on."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from errata.config.variants import BASE, Variant, fold_name, round_name
from errata.core.errors import UserError
from errata.core.files import read_jsonl
from errata.plan import layout
from errata.plan.plan import Plan, Wildcards, fetched


class Targets:
    """The files that the target rules ask for; the methods that take wildcards are input functions.

    Args:
        rows: gives the number of rows in the training set of a model and a strategy, once it is made.
    """

    def __init__(self, plan: Plan, rows: Callable[[str, str], int]) -> None:
        self.plan = plan
        self._rows = rows

    def can_be_trained(self, model: str, strategy: str) -> bool:
        """Whether a strategy, and the one it starts from, have something to train on."""
        if not self._can_start(model, strategy):
            return False
        # where an empty set is a fault, its own step ends the run
        return not self.plan.may_be_empty(strategy) or self._rows(model, strategy) > 0

    def trainings(self, model: str, strategies: Mapping[str, int], folds: int = 0) -> list[str]:
        """The strategies of a model that are trained, round after round, until a round has nothing to train on.

        Args:
            strategies: how many rounds each has.
            folds: with folds, a strategy counts when it has something to train on without each of them.
        """
        return [name for name, empty in self._rounds(model, strategies, folds) if empty is None]

    def _rounds(self, model: str, strategies: Mapping[str, int], folds: int) -> Iterator[tuple[str, str | None]]:
        """The rounds of strategies up to the first that cannot be trained, with the training that stops it, if any."""
        for strategy, rounds in strategies.items() if model in self.plan.trainable else []:
            for number in range(1, rounds + 1):
                name = round_name(strategy, number)
                stopped = (each for each in _by_fold(name, folds) if not self.can_be_trained(model, each))
                empty = next(stopped, None)
                yield name, empty
                if empty is not None:
                    break

    def variants(self, model: str) -> list[str]:
        """The variants of a model that are scored on test; only the base where there is nothing to train."""
        tuned = self.trainings(model, self.plan.strategies.full)
        quantized = [str(Variant(name, bits)) for name in tuned for bits in self.plan.bits]
        return self._with_majorities([BASE, *tuned, *quantized])

    def folded(self, model: str) -> list[str]:
        """The variants that are scored on all folds. Quantized ones are not: each fold would need its own."""
        strategies = self.plan.strategies
        if not strategies.folds:
            return []
        return self._with_majorities([BASE, *self.trainings(model, strategies.full, strategies.folds)])

    def _with_majorities(self, variants: Iterable[str]) -> list[str]:
        votes = [None, *self.plan.configuration.score.majority]
        return [str(Variant.parse(variant).with_votes(number)) for variant in variants for number in votes]

    # Rule all

    def submissions(self, _: Wildcards) -> list[str]:
        return [
            layout.SUBMISSION.format(model=model, variant=variant, split="test")
            for model in self.plan.models
            for variant in self.variants(model)
        ]

    # Rule report

    def scores(self, _: Wildcards) -> list[str]:
        """The scores of the report."""
        splits = {"test": self.variants, "folds": self.folded}
        return [
            layout.SCORE.format(model=model, variant=variant, split=split)
            for model in self.plan.models
            for split, scored in splits.items()
            for variant in scored(model)
        ]

    def scored_answers(self, wildcards: Wildcards) -> list[str]:
        """The answers beside these scores."""
        return _answers_of(self.scores(wildcards))

    def adapters(self, _: Wildcards) -> list[str]:
        return [layout.ADAPTER.format(model=model, strategy=name) for model, name in self._full()]

    def retries(self, _: Wildcards) -> list[str]:
        """The completions on which the strategies of the report are trained."""
        names = {(model, self.plan.strategies.retries(name)) for model, name in self._full()}
        return sorted(layout.RETRIES.format(model=model, strategy=name) for model, name in names)

    def first_answers(self, _: Wildcards) -> list[str]:
        """The answers to which these completions are the retries."""
        strategies = self.plan.strategies
        return list(
            dict.fromkeys(
                self.plan.answers(model, strategies[name].respondent, "train") for model, name in self._full()
            )
        )

    def summaries(self, wildcards: Wildcards) -> list[str]:
        """The summaries beside everything that the report shows, which say with what prompts it was asked."""
        asked = [*self.first_answers(wildcards), *self.scored_answers(wildcards), *self.retries(wildcards)]
        return [layout.summary(path) for path in asked]

    def questions(self, _: Wildcards) -> list[str]:
        """The questions of the splits that the report shows; those of all folds are the training questions."""
        splits = ["test", *(["train"] if self.plan.strategies.folds else [])]
        return [layout.DATA.format(split=split) for split in splits]

    def base_weights(self, _: Wildcards) -> list[str]:
        """The fetched weights of the models that are served here: the report says where they are from."""
        return [fetched(self.plan, model) for model in self.plan.models if self.plan.all_models[model].source]

    def _full(self) -> list[tuple[str, str]]:
        """The trainings of the whole pipeline."""
        full = self.plan.strategies.full
        return [(model, name) for model in self.plan.trainable for name in self.trainings(model, full)]

    # Rule ablation

    def compared(self, _: Wildcards) -> list[str]:
        """The scores of the ablation: of every strategy, on questions that no training has seen.

        Raises:
            UserError: nothing can be trained, or no question that could be scored has an answer.
        """
        strategies, test = self.plan.strategies, Path(self.plan.configuration.dataset.test)
        if not self.plan.trainable:
            raise UserError(
                "ablation: no model has a `source`, so none can be trained. An endpoint can only be scored."
            )
        if not strategies.folds and not _has_answers(test):
            raise UserError(
                f"ablation: no question of {test} has an answer, so there is nothing to compare strategies on. "
                "Set dataset.folds, or bring a labelled test file."
            )
        split = "folds" if strategies.folds else "test"
        return [
            layout.SCORE.format(model=model, variant=variant, split=split)
            for model in self.plan.trainable
            for variant in [BASE, *self.trainings(model, strategies.ablation, strategies.folds)]
        ]

    def compared_answers(self, wildcards: Wildcards) -> list[str]:
        """The answers beside these scores."""
        return _answers_of(self.compared(wildcards))

    def compared_adapters(self, _: Wildcards) -> list[str]:
        return [layout.ADAPTER.format(model=model, strategy=name) for model, name in self._compared()]

    def compared_sets(self, _: Wildcards) -> list[str]:
        """The training sets of the ablation, also the empty ones: the table names what had nothing to train on."""
        return [layout.TRAINING_SET.format(model=model, strategy=name) for model, name in self._compared(empty=True)]

    def compared_summaries(self, _: Wildcards) -> list[str]:
        """What it cost to ask for these training sets, and to have later rounds answer the training questions."""
        strategies, made = self.plan.strategies, self._compared(empty=True)
        retries = [layout.RETRIES.format(model=model, strategy=strategies.retries(name)) for model, name in made]
        asked = [(model, strategies[name].respondent) for model, name in made]
        rounds = [self.plan.answers(model, variant, "train") for model, variant in asked if variant != BASE]
        return [layout.summary(path) for path in dict.fromkeys([*retries, *rounds])]

    def _compared(self, empty: bool = False) -> list[tuple[str, str]]:
        """The trainings of the ablation, one for each fold where there are folds.

        Args:
            empty: also those that had nothing to train on.
        """
        strategies = self.plan.strategies
        found = []
        for model in self.plan.trainable:
            for name, stopped in self._rounds(model, strategies.ablation, strategies.folds):
                if stopped is None:
                    found += [(model, each) for each in _by_fold(name, strategies.folds)]
                elif empty and self._can_start(model, stopped):
                    found.append((model, stopped))
        return found

    def _can_start(self, model: str, strategy: str) -> bool:
        start = self.plan.strategies[strategy].start_from
        return start is None or self.can_be_trained(model, start)


def _by_fold(strategy: str, folds: int) -> list[str]:
    """The trainings of a strategy: one, or one without each fold."""
    return [fold_name(strategy, fold) for fold in range(1, folds + 1)] or [strategy]


def _answers_of(scores: Iterable[str]) -> list[str]:
    return [f"{path.removesuffix('.json')}.jsonl" for path in scores]


def _has_answers(data: Path) -> bool:
    """Whether a question of a raw data file has one; a file that cannot be read is reported by step fix."""
    try:
        return any(question.get("answer") for row in read_jsonl(data) for question in row["questions"])
    except (UserError, AttributeError, KeyError, TypeError):
        return True
