"""Step `report`: the leaderboard as CSV, and one HTML file that shows what a run came to and what it was made with.

The HTML file stands alone: style and figures are in it, it loads nothing and runs no script. Everything a model
wrote is escaped by the template, and characters that a page cannot hold are made visible.
"""

import argparse
import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from errata.config.strategies import Strategies
from errata.config.variants import BASE, Variant
from errata.core.files import write_text
from errata.core.places import REPORT_TEMPLATES, REPOSITORY
from errata.core.wording import duration, p_value, percent
from errata.data.records import Key
from errata.data.rows import AnswerRow
from errata.reporting import provenance
from errata.reporting.examples import OUTCOMES, SHOWN, Example, Retries, find_flips, summarize_retries
from errata.reporting.findings import chance_accuracy, describe_held_out, summarize_model
from errata.reporting.leaderboard import COLUMNS, LEVEL, Row, read_rows, to_table
from errata.reporting.plots import Loss, loss_figure, read_loss, retries_figure, size_figure
from errata.reporting.tables import read_config
from errata.scoring.answers import read_answers_by_key

TEMPLATE = REPORT_TEMPLATES / "report.html.j2"
LONGEST = 8000
"""Characters of a prompt or completion that are shown; the page says how many were left out."""


class Flips(NamedTuple):
    """Questions that base and a variant answered differently, one right and one wrong, on one split."""

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
    """A strategy's training; `svg` is None where there is no usable log."""

    strategy: str
    svg: str | None
    loss: Loss | None


class Model(NamedTuple):
    """A section of the report."""

    name: str
    summary: list[str]
    sizes: list[Figure]
    retries: list[Retries]
    retries_svg: str | None
    no_retries: list[str]
    trainings: list[Training]
    flips: list[Flips]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scores", type=Path, nargs="+", required=True, metavar="FILE", help="the score files")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration, YAML or JSON")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="FOLDER", help="the run's results")
    parser.add_argument("--leaderboard", type=Path, required=True, metavar="CSV", help="the leaderboard to write")
    parser.add_argument("--output", type=Path, required=True, metavar="HTML", help="the report to write")
    parser.add_argument(
        "--locks", type=Path, nargs="*", metavar="FILE", help="lock files that were used (default: all of envs/)"
    )
    parser.add_argument(
        "--summaries", type=Path, nargs="*", metavar="FILE", help="summaries of the answers and retries (default: all)"
    )
    parser.add_argument(
        "--benchmarks", type=Path, nargs="*", metavar="FILE", help="Snakemake's benchmark files (default: all)"
    )


def run(arguments: argparse.Namespace) -> None:
    config = read_config(arguments.config)
    configured = in_order(config)
    rows = read_rows(arguments.scores, configured)
    scored = {row.variant.strategy for row in rows} - {BASE}
    # of those that only target ablation makes, and of rounds, what there is
    strategies = [name for name in configured if name in scored or name in (config.get("strategies") or [])]
    strategies += sorted(scored - set(strategies))
    locks = sorted((REPOSITORY / "envs").glob("*.txt")) if arguments.locks is None else arguments.locks
    page = render(rows, config, strategies, arguments.results, locks, arguments.summaries, arguments.benchmarks)
    write_text(arguments.leaderboard, to_table(rows).to_csv(index=False, lineterminator="\n"))
    write_text(arguments.output, page)


def known(config: dict[str, Any]) -> Strategies | None:
    """The strategies of a configuration; None of one as a user writes it, which lacks what is filled in."""
    try:
        return Strategies.of(config)
    except (KeyError, TypeError):
        return None


def in_order(config: dict[str, Any]) -> list[str]:
    """Every strategy of a configuration, rounds included."""
    strategies = known(config)
    if strategies is None:
        return list(config.get("strategies") or [])
    return [name for name, strategy in strategies.items() if strategy.fold is None]


class Source(NamedTuple):
    """What a strategy is trained on: the name of its completions, which several may share, and who was asked."""

    retries: str
    asked: str


def source_of(config: dict[str, Any], strategy: str) -> Source:
    strategies = known(config)
    if strategies and strategy in strategies:
        return Source(strategies.retries(strategy), strategies[strategy].respondent)
    return Source(strategy, BASE)


def budgets(config: dict[str, Any]) -> dict[int, float]:
    """GiB that the weights may take, by number of bits."""
    return {int(bits): float(limit) for bits, limit in (config.get("memory_budget_gib") or {}).items()}


def model_section(
    number: int,
    name: str,
    rows: Sequence[Row],
    strategies: Mapping[str, Source],
    limits: dict[int, float],
    results: Path,
) -> Model:
    """Collect one model's section; what is missing stays empty and is said by the template.

    Args:
        number: makes ids of the section's figures unique.
        rows: all rows of the leaderboard.
        strategies: in the order of the configuration.
    """
    mine = [row for row in rows if row.score.model == name]
    folder = results / name
    retries, no_retries, trainings = [], [], []
    for made in dict.fromkeys(strategies.values()):
        users = [strategy for strategy, source in strategies.items() if source == made]
        path = folder / "retries" / f"{made.retries}.jsonl"
        if path.exists():
            retries.append(summarize_retries(path, users, made.asked, _first_answers(folder, made.asked)))
        else:
            no_retries += users
    for place, strategy in enumerate(strategies):
        log = folder / "adapter" / strategy / "trainer_log.jsonl"
        loss = read_loss(log) if log.exists() else None
        drawn = loss is not None and (loss.training or loss.evaluation)
        svg = loss_figure(loss, place, f"loss{number}-{place}") if loss and drawn else None
        trainings.append(Training(strategy, svg, loss))
    order = list(strategies)
    sizes: list[Figure] = []
    for split in dict.fromkeys(row.score.split for row in mine):
        scores = [row.score for row in mine if row.score.split == split and row.score.weights_gib]
        scores = [score for score in scores if score.accuracy is not None]
        if scores:
            sizes.append(Figure(split, size_figure(scores, limits, order, f"size{number}-{len(sizes)}")))
    base = {row.score.split: row.answers for row in mine if row.score.variant == BASE}
    changed = []
    for row in mine:
        score = row.score
        # quantized and voted variants answer nearly as what they were made of: their examples would say the same again
        if row.to_base and row.variant == Variant(row.variant.strategy) and score.split != "train":
            gained, gained_count = find_flips(base[score.split], row.answers, score.variant, to_right=True)
            lost, lost_count = find_flips(base[score.split], row.answers, score.variant, to_right=False)
            changed.append(Flips(score.variant, score.split, gained, gained_count, lost, lost_count))
    # the questions of all folds are those of train
    asked = {row.score.split: "train" if row.score.split == "folds" else row.score.split for row in mine}
    chance = {split: chance_accuracy(results / "data" / f"{file}.jsonl") for split, file in asked.items()}
    return Model(
        name=name,
        summary=summarize_model(rows, name, limits, chance),
        sizes=sizes,
        retries=retries,
        retries_svg=retries_figure(retries, order, f"retries{number}") if retries else None,
        no_retries=no_retries,
        trainings=trainings,
        flips=changed,
    )


def read_leaks(path: Path) -> list[str] | None:
    """Ids of train problems that stand word for word in test, as step leaks found them; None without its file."""
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        return list(dict.fromkeys(row["train_id"] for row in csv.DictReader(file)))


def _first_answers(folder: Path, asked: str) -> dict[Key, AnswerRow]:
    """The answers of a variant to the training questions, which its retries refer to; empty if not there."""
    own = [folder / "answers" / "train.jsonl"] if asked == BASE else []
    for path in (*own, folder / "scores" / asked / "train.jsonl"):
        if path.exists():
            return read_answers_by_key(path)
    return {}


def render(
    rows: Sequence[Row],
    config: dict[str, Any],
    strategies: Sequence[str],
    results: Path,
    locks: Iterable[Path],
    summaries: Sequence[Path] | None = None,
    benchmarks: Sequence[Path] | None = None,
) -> str:
    """The report as one HTML page.

    Args:
        summaries: of the answers and retries that it shows; None for all of these models.
        benchmarks: of the jobs that it shows; None for all.
    """
    import yaml
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    limits = budgets(config)
    names = list(dict.fromkeys(row.score.model for row in rows))
    made = {strategy: source_of(config, strategy) for strategy in strategies}
    dataset = config.get("dataset") or {}
    if summaries is None:
        summaries = provenance.all_summaries(results, names)
    jobs = provenance.jobs(results / "benchmarks", benchmarks)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        # only this package's own figures go past the escaping
        svg=Markup,
        shorten=shorten,
        percent=percent,
        p_value=p_value,
        duration=duration,
    )
    page = environment.get_template(TEMPLATE.name).render(
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        rows=rows,
        models=[model_section(number, name, rows, made, limits, results) for number, name in enumerate(names, 1)],
        comparisons=sum(1 for row in rows for each in (row.to_base, row.to_origin) if each),
        level=LEVEL,
        columns=COLUMNS,
        outcomes=OUTCOMES,
        shown=SHOWN,
        held_out=describe_held_out(rows, dataset.get("folds"), read_leaks(results / "data" / "leaks.csv")),
        facts=[
            *provenance.facts(REPOSITORY),
            *provenance.base_models(results, names),
            *provenance.templates(summaries),
        ],
        seeds=list(provenance.seeds(config)),
        locks=[lock for lock in provenance.locks(locks) if lock.pins],
        jobs=jobs,
        jobs_seconds=sum(job.seconds for job in jobs),
        config=yaml.safe_dump(provenance.redact(config), sort_keys=False, allow_unicode=True),
    )
    return visible(page)


def visible(text: str) -> str:
    """Write characters that a page cannot hold, or that would disguise what stands in it, as [U+001B].

    A model may emit any of them: escapes that colour terminals, NULs, halves of surrogate pairs, marks that
    reverse the order of the text.
    """
    unseen = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
    return re.sub(unseen, lambda found: f"[U+{ord(found[0]):04X}]", text.replace("\r\n", "\n"))


def shorten(text: str) -> str:
    """Cut a text that would fill the page and say so."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}\n[... {len(text) - LONGEST} more characters, not shown here]"
