"""What a run is for: the variants of each model that are made and scored, as far as there is something to train on."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from errata.config.variants import BASE, Variant, round_name
from errata.core.errors import UserError
from errata.core.files import read_jsonl
from errata.plan.plan import Plan, Wildcards


class Targets:
    """The files that the target rules ask for; their methods are input functions.

    Args:
        rows: how many rows the training set of a strategy of a model has, once it is made.
    """

    def __init__(self, plan: Plan, rows: Callable[[str, str], int]) -> None:
        self.plan = plan
        self._rows = rows

    def there_is(self, model: str, strategy: str) -> bool:
        """Whether a strategy has something to train on, and so has what it starts from."""
        start = self.plan.strategies[strategy].start_from
        if start is not None and not self.there_is(model, start):
            return False
        # where an empty set would be a fault, it ends the run
        return not self.plan.may_be_empty(strategy) or self._rows(model, strategy) > 0

    def trained(self, model: str, strategies: Mapping[str, int], folds: int = 0) -> list[str]:
        """Of these strategies with so many rounds, all that there is of a model; none where there is nothing to train.

        With folds those of which there is something without each of them.
        """
        made = []
        for strategy, rounds in strategies.items() if model in self.plan.trained else []:
            for number in range(1, rounds + 1):
                name = round_name(strategy, number)
                without = [f"{name}.fold{fold}" for fold in range(1, folds + 1)]
                if not all(self.there_is(model, each) for each in without or [name]):
                    break
                made.append(name)
        return made

    def variants(self, model: str) -> list[str]:
        """What is scored of a model on test; only the base where there is nothing to train."""
        tuned = self.trained(model, self.plan.strategies.full)
        quantized = [f"{name}-{bits}bit" for name in tuned for bits in self.plan.bits]
        return self._with_majorities([BASE, *tuned, *quantized])

    def folded(self, model: str) -> list[str]:
        """What is scored on all folds: k times as many trainings are enough, without quantizing each."""
        strategies = self.plan.strategies
        if not strategies.folds:
            return []
        return self._with_majorities([BASE, *self.trained(model, strategies.full, strategies.folds)])

    def _with_majorities(self, variants: Iterable[str]) -> list[str]:
        counted = [None, *self.plan.config["score"]["majority"]]
        return [str(Variant.parse(variant)._replace(votes=votes)) for variant in variants for votes in counted]

    def scores(self, _: Wildcards) -> list[str]:
        """The scores of the report."""
        splits = {"test": self.variants, "folds": self.folded}
        return [
            f"results/{model}/scores/{variant}/{split}.json"
            for model in self.plan.models
            for split, scored in splits.items()
            for variant in scored(model)
        ]

    def submissions(self, _: Wildcards) -> list[str]:
        return [
            f"results/{model}/submission/{variant}/test.jsonl"
            for model in self.plan.models
            for variant in self.variants(model)
        ]

    def adapters(self, _: Wildcards) -> list[str]:
        return [f"results/{model}/adapter/{name}" for model, name in self._full()]

    def retries(self, _: Wildcards) -> list[str]:
        """The completions that the strategies of the report are trained on."""
        names = {(model, self.plan.strategies.retries(name)) for model, name in self._full()}
        return sorted(f"results/{model}/retries/{name}.jsonl" for model, name in names)

    def _full(self) -> list[tuple[str, str]]:
        """The trainings of the whole pipeline."""
        return [(model, name) for model in self.plan.trained for name in self.trained(model, self.plan.strategies.full)]

    def compared(self, _: Wildcards) -> list[str]:
        """The scores of the ablation: of every strategy on questions that no training has seen.

        Raises:
            UserError: nothing can be trained, or nothing of it could be scored.
        """
        strategies, test = self.plan.strategies, Path(self.plan.config["dataset"]["test"])
        if not self.plan.trained:
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
            f"results/{model}/scores/{variant}/{split}.json"
            for model in self.plan.trained
            for variant in [BASE, *self.trained(model, strategies.ablation, strategies.folds)]
        ]


def _has_answers(data: Path) -> bool:
    """Whether a question of a raw data file has one; what cannot be read is for step fix to tell."""
    try:
        return any(question.get("answer") for row in read_jsonl(data) for question in row["questions"])
    except (UserError, AttributeError, KeyError, TypeError):
        return True
