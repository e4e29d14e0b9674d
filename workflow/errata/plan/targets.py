"""The targets of a run: the files of all variants that are scored, as far as there is something to train on."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from errata.config.variants import BASE, Variant, fold_name, round_name
from errata.core.errors import UserError
from errata.core.files import read_jsonl
from errata.plan import layout
from errata.plan.plan import Plan, Wildcards, fetched_weights


class Targets:
    """The files that the target rules request. Methods that take wildcards are input functions.

    Args:
        rows: returns the number of rows in the training set of a model and a strategy. It first lets Snakemake make the
            set.
    """

    def __init__(self, plan: Plan, rows: Callable[[str, str], int]) -> None:
        self.plan = plan
        self._rows = rows

    def can_be_trained(self, model: str, strategy: str) -> bool:
        """Whether a strategy, and the one it starts from, have something to train on."""
        if not self._can_start(model, strategy):
            return False
        # if an empty set is a fault, the step that makes it ends the run
        return not self.plan.may_be_empty(strategy) or self._rows(model, strategy) > 0

    def trainings(self, model: str, strategies: Mapping[str, int], folds: int = 0) -> list[str]:
        """The strategies of a model that are trained, round after round, until a round has nothing to train on.

        Args:
            strategies: the number of rounds of each strategy.
            folds: the number of folds. A round counts only if there is something to train on without each fold.
        """
        return [name for name, empty in self._rounds(model, strategies, folds) if empty is None]

    def _rounds(self, model: str, strategies: Mapping[str, int], folds: int) -> Iterator[tuple[str, str | None]]:
        """The rounds of each strategy up to the first that cannot be trained.

        Yields:
            The name of a round, and the training that has nothing to train on; None if all can be trained.
        """
        for strategy, rounds in strategies.items() if model in self.plan.trainable else []:
            for number in range(1, rounds + 1):
                name = round_name(strategy, number)
                stopped = (each for each in _by_fold(name, folds) if not self.can_be_trained(model, each))
                empty = next(stopped, None)
                yield name, empty
                if empty is not None:
                    break

    def variants(self, model: str) -> list[str]:
        """The variants of a model that are scored on test; only the base if nothing can be trained."""
        tuned = self.trainings(model, self.plan.strategies.full)
        quantized = [str(Variant(name, bits)) for name in tuned for bits in self.plan.bits]
        return self._with_majorities([BASE, *tuned, *quantized])

    def fold_variants(self, model: str) -> list[str]:
        """The variants that are scored on all folds: no quantized ones, since each fold would need its own."""
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
        splits = {"test": self.variants, "folds": self.fold_variants}
        return [
            layout.SCORE.format(model=model, variant=variant, split=split)
            for model in self.plan.models
            for split, scored in splits.items()
            for variant in scored(model)
        ]

    def scored_answers(self, wildcards: Wildcards) -> list[str]:
        """The answers beside the scores of the report."""
        return _answers_of(self.scores(wildcards))

    def adapters(self, _: Wildcards) -> list[str]:
        return [layout.ADAPTER.format(model=model, strategy=name) for model, name in self._report_trainings()]

    def retries(self, _: Wildcards) -> list[str]:
        """The completions that the strategies of the report are trained on."""
        names = {(model, self.plan.strategies.retries(name)) for model, name in self._report_trainings()}
        return sorted(layout.RETRIES.format(model=model, strategy=name) for model, name in names)

    def first_answers(self, _: Wildcards) -> list[str]:
        """The first answers that these completions are retries of."""
        asked = [(model, self.plan.strategies[name].respondent) for model, name in self._report_trainings()]
        return list(dict.fromkeys(self.plan.answers(model, variant, "train") for model, variant in asked))

    def summaries(self, wildcards: Wildcards) -> list[str]:
        """The summaries beside everything that the report shows. They name the prompts."""
        asked = [*self.first_answers(wildcards), *self.scored_answers(wildcards), *self.retries(wildcards)]
        return [layout.summary(path) for path in asked]

    def questions(self, _: Wildcards) -> list[str]:
        """The questions of the splits that the report shows; the folds together are the training questions."""
        splits = ["test", *(["train"] if self.plan.strategies.folds else [])]
        return [layout.DATA.format(split=split) for split in splits]

    def base_weights(self, _: Wildcards) -> list[str]:
        """The fetched weights of the models that are served here; the report names their sources."""
        return [fetched_weights(self.plan, model) for model in self.plan.models if self.plan.all_models[model].source]

    def _report_trainings(self) -> list[tuple[str, str]]:
        """The models and strategies of all trainings of the report."""
        full = self.plan.strategies.full
        return [(model, name) for model in self.plan.trainable for name in self.trainings(model, full)]

    # Rule ablation

    def ablation_scores(self, _: Wildcards) -> list[str]:
        """The scores of every strategy on questions that its training has not seen.

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

    def ablation_answers(self, wildcards: Wildcards) -> list[str]:
        """The answers beside the scores of the ablation."""
        return _answers_of(self.ablation_scores(wildcards))

    def ablation_adapters(self, _: Wildcards) -> list[str]:
        return [layout.ADAPTER.format(model=model, strategy=name) for model, name in self._ablation_trainings()]

    def ablation_sets(self, _: Wildcards) -> list[str]:
        """The training sets of the ablation, including empty ones: the table names strategies without any rows."""
        return [
            layout.TRAINING_SET.format(model=model, strategy=name)
            for model, name in self._ablation_trainings(empty=True)
        ]

    def ablation_summaries(self, _: Wildcards) -> list[str]:
        """The summaries with the costs of these training sets, and of the answers that later rounds start from."""
        strategies, made = self.plan.strategies, self._ablation_trainings(empty=True)
        retries = [layout.RETRIES.format(model=model, strategy=strategies.retries(name)) for model, name in made]
        asked = [(model, strategies[name].respondent) for model, name in made]
        rounds = [self.plan.answers(model, variant, "train") for model, variant in asked if variant != BASE]
        return [layout.summary(path) for path in dict.fromkeys([*retries, *rounds])]

    def _ablation_trainings(self, empty: bool = False) -> list[tuple[str, str]]:
        """The models and strategies of all trainings of the ablation, with folds one for each fold.

        Args:
            empty: whether trainings that had nothing to train on are included.
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
    """The trainings of a strategy: without folds the strategy itself, else one that leaves out each fold."""
    return [fold_name(strategy, fold) for fold in range(1, folds + 1)] or [strategy]


def _answers_of(scores: Iterable[str]) -> list[str]:
    return [f"{path.removesuffix('.json')}.jsonl" for path in scores]


def _has_answers(data: Path) -> bool:
    """Whether any question of a raw data file has an answer. Step fix reports a file that cannot be read."""
    try:
        return any(question.get("answer") for row in read_jsonl(data) for question in row["questions"])
    except (UserError, AttributeError, KeyError, TypeError):
        return True
