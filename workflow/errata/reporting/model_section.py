"""One model's section of the report: findings, figures, retries, trainings and examples."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from errata.config.strategies import Strategies
from errata.config.variants import BASE
from errata.data.records import Key
from errata.data.rows import AnswerRow
from errata.plan import layout
from errata.plan.layout import ModelResults, Results
from errata.reporting.examples import Example, Retries, find_flips, summarize_retries
from errata.reporting.findings import chance_accuracy, summarize_model
from errata.reporting.leaderboard import Row
from errata.reporting.plots import Loss, loss_figure, read_loss, retries_figure, size_figure
from errata.scoring.answers import read_answers_by_key


class Source(NamedTuple):
    """The origin of a strategy's training data.

    Attributes:
        retries: the name of its file of retries, which several strategies may share.
        respondent: the variant that was asked: `base`, or the strategy of the round before.
    """

    retries: str
    respondent: str


class Flips(NamedTuple):
    """Questions of a split that only one of base and variant answered right."""

    variant: str
    split: str
    gained: list[Example]
    gained_count: int
    lost: list[Example]
    lost_count: int


class Figure(NamedTuple):
    title: str
    svg: str


class Training(NamedTuple):
    """A strategy's training.

    Attributes:
        svg: the figure of its loss; None where the log contains no loss.
        loss: None where there is no log.
    """

    strategy: str
    svg: str | None
    loss: Loss | None


class ModelSection(NamedTuple):
    """A model's section of the report.

    Attributes:
        summary: the findings, in sentences.
        sizes: for each split, accuracy against size.
        retries_svg: None where there are no retries.
        no_retries: strategies without retries yet.
    """

    name: str
    summary: list[str]
    sizes: list[Figure]
    retries: list[Retries]
    retries_svg: str | None
    no_retries: list[str]
    trainings: list[Training]
    flips: list[Flips]


def find_source(strategies: Strategies, name: str) -> Source:
    """The source of a strategy's training data.

    Args:
        name: a strategy. One that the configuration no longer contains counts as a first round.
    """
    if name not in strategies:
        return Source(name, BASE)
    return Source(strategies.retries(name), strategies[name].respondent)


def collect_section(
    number: int,
    model: str,
    rows: Sequence[Row],
    sources: Mapping[str, Source],
    budgets: dict[int, float],
    results: Results,
) -> ModelSection:
    """Collect one model's section. Parts without files stay empty, and the template says so.

    Args:
        number: of the section, which makes the ids in its figures unique.
        rows: all rows of the leaderboard.
        sources: by strategy, in the order of the configuration.
        budgets: limit of the weights in GiB, by number of bits.
    """
    mine = [row for row in rows if row.score.model == model]
    own = ModelResults(results, model)
    order = list(sources)
    retries, no_retries = _collect_retries(own, sources)
    # the questions of all folds together are those of train
    files = {row.score.split: "train" if row.score.split == "folds" else row.score.split for row in mine}
    chance = {split: chance_accuracy(results.path(layout.DATA, split=file)) for split, file in files.items()}
    return ModelSection(
        name=model,
        summary=summarize_model(rows, model, budgets, chance),
        sizes=_draw_sizes(number, mine, budgets, order),
        retries=retries,
        retries_svg=retries_figure(retries, order, f"retries{number}") if retries else None,
        no_retries=no_retries,
        trainings=[
            _draw_training(own, strategy, place, f"loss{number}-{place}") for place, strategy in enumerate(order)
        ],
        flips=_collect_flips(mine),
    )


def _collect_retries(results: ModelResults, sources: Mapping[str, Source]) -> tuple[list[Retries], list[str]]:
    """A summary of each file of retries, and the strategies whose file does not exist."""
    retries: list[Retries] = []
    missing: list[str] = []
    for source in dict.fromkeys(sources.values()):
        strategies = [strategy for strategy, each in sources.items() if each == source]
        path = results.path(layout.RETRIES, strategy=source.retries)
        if path.exists():
            first_answers = _read_first_answers(results, source.respondent)
            retries.append(summarize_retries(path, strategies, source.respondent, first_answers))
        else:
            missing += strategies
    return retries, missing


def _read_first_answers(results: ModelResults, respondent: str) -> dict[Key, AnswerRow]:
    """A variant's answers to the training questions, which its retries refer to; empty where there is no file."""
    paths = [results.path(layout.SCORED_ANSWERS, variant=respondent, split="train")]
    if respondent == BASE:
        paths.insert(0, results.path(layout.ANSWERS, split="train"))
    for path in paths:
        if path.exists():
            return read_answers_by_key(path)
    return {}


def _draw_sizes(number: int, rows: Sequence[Row], budgets: dict[int, float], order: Sequence[str]) -> list[Figure]:
    """For each split, a figure of the rows with an accuracy and a size."""
    figures: list[Figure] = []
    for split in dict.fromkeys(row.score.split for row in rows):
        scores = [
            row.score
            for row in rows
            if row.score.split == split and row.score.weights_gib and row.score.accuracy is not None
        ]
        if scores:
            figures.append(Figure(split, size_figure(scores, budgets, order, f"size{number}-{len(figures)}")))
    return figures


def _draw_training(results: ModelResults, strategy: str, place: int, figure_id: str) -> Training:
    """A strategy's training with its loss.

    Args:
        place: of the strategy in the configuration, which decides its colour.
    """
    log = results.path(layout.ADAPTER, strategy=strategy) / "trainer_log.jsonl"
    if not log.exists():
        return Training(strategy, None, None)
    loss = read_loss(log)
    svg = loss_figure(loss, place, figure_id) if loss.training or loss.evaluation else None
    return Training(strategy, svg, loss)


def _collect_flips(rows: Sequence[Row]) -> list[Flips]:
    """Examples of questions that base and a tuned variant answered differently, without those of train."""
    base = {row.score.split: row.answers for row in rows if row.score.variant == BASE}
    flips = []
    for row in rows:
        split, variant = row.score.split, row.score.variant
        # quantized and voted variants answer almost like the variant they were made from, with almost the same examples
        if row.to_base and row.variant == row.variant.unquantized and split != "train":
            gained, gained_count = find_flips(base[split], row.answers, variant, to_right=True)
            lost, lost_count = find_flips(base[split], row.answers, variant, to_right=False)
            flips.append(Flips(variant, split, gained, gained_count, lost, lost_count))
    return flips
