"""Step journal: show what is in the journals, and compact them."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from errata.core.errors import UserError
from errata.core.files import atomic_file
from errata.core.locks import LockTaken, exclusive
from errata.inference.journal_format import Entry, broken_line, open_to_read
from errata.inference.run_times import RunTimes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["show", "compact"])
    parser.add_argument("journals", type=Path, nargs="+", metavar="FILE", help="results/{model}/journal/*.jsonl")
    parser.add_argument(
        "--only-model", metavar="NAME", help="compact: keep only completions of this model, as `show` writes it"
    )


def run(arguments: argparse.Namespace) -> None:
    """Show the journals on standard output, or rewrite them.

    Raises:
        UserError: a file cannot be read, is being written by a run, or has a broken line.
    """
    if arguments.only_model and arguments.action == "show":
        raise UserError("--only-model goes with compact.")
    for path in arguments.journals:
        if arguments.action == "show":
            show(path)
        else:
            compact(path, arguments.only_model)


@dataclass
class ModelTotals:
    """Totals over the completions of one model and one attempt in a journal."""

    completions: int = 0
    truncated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    runs: RunTimes = field(default_factory=RunTimes)

    def add(self, entry: Entry) -> None:
        self.completions += 1
        self.truncated += entry.completion.truncated
        self.prompt_tokens += entry.completion.prompt_tokens
        self.completion_tokens += entry.completion.completion_tokens
        self.runs.add(entry.started, entry.at)


def show(path: Path) -> None:
    """Print a table of completions, tokens and times, by model and attempt."""
    totals: dict[tuple[str, int], ModelTotals] = defaultdict(ModelTotals)
    seen: set[str] = set()
    repeated = 0
    for entry in _entries(path):
        if entry.digest in seen:
            repeated += 1
            continue
        seen.add(entry.digest)
        totals[entry.model, entry.key[2]].add(entry)
    print(f"{path}: {len(seen)} completions, {path.stat().st_size / 2**20:.1f} MiB")
    if repeated:
        print(f"  {repeated} lines repeat others; `compact` removes them")
    heads = ("model", "attempt", "completions", "truncated", "tokens in", "tokens out", "seconds", "last")
    table: list[tuple[str, ...]] = [heads]
    for (model, attempt), total in sorted(totals.items()):
        last = datetime.fromtimestamp(total.runs.last).strftime("%Y-%m-%d %H:%M")
        counts = (total.completions, total.truncated, total.prompt_tokens, total.completion_tokens)
        table.append((model, str(attempt), *map(str, counts), f"{total.runs.seconds:.0f}", last))
    widths = [max(len(cells[column]) for cells in table) for column in range(len(table[0]))]
    for cells in table if totals else []:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def compact(path: Path, model: str | None = None) -> None:
    """Rewrite a journal without torn and repeated lines. If `model` is given, only its completions are kept.

    Raises:
        UserError: there is no completion of that model; the journal is then unchanged.
    """
    with ExitStack() as locks:
        try:
            locks.enter_context(exclusive(path, advice="let no run write this journal meanwhile", create=False))
        except LockTaken as error:
            raise UserError(f"{path}: a run writes this journal. Wait for it or stop it.") from error
        before = path.stat().st_size
        seen: set[str] = set()
        models: set[str] = set()
        with atomic_file(path) as file:
            for entry in _entries(path):
                models.add(entry.model)
                if entry.digest not in seen and model in (None, entry.model):
                    seen.add(entry.digest)
                    file.write(entry.line())
            if model is not None and model not in models:
                raise UserError(f"{path}: no completion of {model}; it has {', '.join(sorted(models)) or 'nothing'}.")
    print(f"{path}: {len(seen)} completions, {before} -> {path.stat().st_size} bytes", file=sys.stderr)


def _entries(path: Path) -> Iterator[Entry]:
    with open_to_read(path) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # torn off by a crash, or being written at this moment
            try:
                yield Entry.parse(line)
            except ValueError as error:
                raise broken_line(path, number, error) from error
