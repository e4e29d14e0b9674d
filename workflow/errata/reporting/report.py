"""Step report: the leaderboard as CSV, and one HTML page with the findings of a run and their origin.

The page is one file: it contains its styles and figures, loads nothing and runs no script. The template escapes all
text that a model wrote, and characters that a page cannot contain are made visible.
"""

import argparse
import csv
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from errata.config.configuration import Configuration
from errata.config.strategies import Strategies
from errata.config.variants import BASE
from errata.core.files import write_text
from errata.core.places import REPORT_TEMPLATES, REPOSITORY
from errata.core.wording import duration, p_value, percent
from errata.plan import layout
from errata.plan.layout import Results
from errata.reporting import provenance
from errata.reporting.configuration import read_configuration_file
from errata.reporting.examples import OUTCOMES, SHOWN
from errata.reporting.findings import describe_held_out
from errata.reporting.leaderboard import LEVEL, Row, read_rows, to_table
from errata.reporting.model_section import collect_section, find_source

TEMPLATE = REPORT_TEMPLATES / "report.html.j2"
LONGEST = 8000
"""Characters of a prompt or completion that are shown; the page says how many were left out."""


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
    """Write the leaderboard and the page.

    Raises:
        Faults: the configuration is not valid, or two files score the same.
        UserError: a file cannot be read.
    """
    configuration = read_configuration_file(arguments.config)
    strategies = Strategies.of(configuration)
    rows = read_rows(arguments.scores, [name for name, strategy in strategies.items() if strategy.fold is None])
    locks = sorted((REPOSITORY / "envs").glob("*.txt")) if arguments.locks is None else arguments.locks
    page = render(
        rows, configuration, strategies, Results(arguments.results), locks, arguments.summaries, arguments.benchmarks
    )
    write_text(arguments.leaderboard, to_table(rows).to_csv(index=False, lineterminator="\n"))
    write_text(arguments.output, page)


def choose_strategies(rows: Sequence[Row], configuration: Configuration, strategies: Strategies) -> list[str]:
    """The strategies in the report: those of the pipeline, and the rounds and strategies of the ablation with a score.

    Returns:
        Names in the order of the configuration, followed by those that the configuration no longer contains.
    """
    scored = {row.variant.strategy for row in rows} - {BASE}
    chosen = [
        name
        for name, strategy in strategies.items()
        if strategy.fold is None and (name in scored or name in configuration.strategies)
    ]
    return chosen + sorted(scored - set(chosen))


def read_leaks(path: Path) -> list[str] | None:
    """Ids of the train problems that step leaks found in test word for word; None without its file."""
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        return list(dict.fromkeys(row["train_id"] for row in csv.DictReader(file)))


def render(
    rows: Sequence[Row],
    configuration: Configuration,
    strategies: Strategies,
    results: Results,
    locks: Iterable[Path],
    summaries: Sequence[Path] | None = None,
    benchmarks: Sequence[Path] | None = None,
) -> str:
    """The report as one HTML page.

    Args:
        summaries: summaries of the answers and retries; None for all of the models in the rows.
        benchmarks: benchmark files of the jobs; None for all.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    models = list(dict.fromkeys(row.score.model for row in rows))
    sources = {name: find_source(strategies, name) for name in choose_strategies(rows, configuration, strategies)}
    budgets = {int(bits): float(limit) for bits, limit in configuration.memory_budget_gib.items()}
    if summaries is None:
        summaries = provenance.find_summaries(results, models)
    jobs = provenance.read_jobs(results.path(layout.BENCHMARKS), benchmarks)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        # only figures of this package are not escaped
        svg=Markup,
        shorten=shorten,
        percent=percent,
        p_value=p_value,
        duration=duration,
    )
    page = environment.get_template(TEMPLATE.name).render(
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        rows=rows,
        models=[
            collect_section(number, model, rows, sources, budgets, results) for number, model in enumerate(models, 1)
        ],
        comparisons=sum(1 for row in rows for each in (row.to_base, row.to_origin) if each),
        level=LEVEL,
        outcomes=OUTCOMES,
        shown=SHOWN,
        held_out=describe_held_out(rows, configuration.dataset.folds, read_leaks(results.path(layout.LEAKS))),
        facts=[
            *provenance.describe_machine(REPOSITORY),
            *provenance.describe_base_models(results, models),
            *provenance.describe_templates(summaries),
        ],
        seeds=provenance.list_seeds(configuration),
        locks=[lock for lock in provenance.read_locks(locks) if lock.pins],
        jobs=jobs,
        jobs_seconds=sum(job.seconds for job in jobs),
        config=provenance.show_configuration(configuration),
    )
    return show_unprintable(page)


def show_unprintable(text: str) -> str:
    """Write characters that a page cannot contain, or that would disguise its content, as [U+001B].

    A model may write any of them: terminal colour codes, NULs, halves of surrogate pairs, and marks that reverse the
    direction of text.
    """
    unprintable = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
    return re.sub(unprintable, lambda found: f"[U+{ord(found[0]):04X}]", text.replace("\r\n", "\n"))


def shorten(text: str) -> str:
    """Cut a text that would fill the page, and say so."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}\n[... {len(text) - LONGEST} more characters, not shown here]"
