"""What the jobs of a run cost: GPU hours asked and used by rule."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from errata.cluster import slurm

# What sacct tells of a job, one line an attempt of Slurm's (a preempted job is there twice).
_FIELDS = ("WorkDir", "State", "ElapsedRaw", "TimelimitRaw", "AllocTRES", "ReqTRES", "Comment", "SubmitLine")


@dataclass(frozen=True)
class Use:
    """One job, or one attempt at it.

    Attributes:
        asked: seconds that it was allowed to take.
        used: seconds that it took.
    """

    rule: str
    gpus: int
    asked: float
    used: float
    done: bool


def accounted(folder: Path, since: datetime) -> list[Use]:
    """The jobs of a folder by accounting, failed and preempted attempts included; none where there is no accounting."""
    if not slurm.has_accounting():
        return []
    start = since.strftime("%Y-%m-%dT%H:%M:%S")
    wanted = ["--allocations", "--duplicates", "--noheader", "--parsable2", f"--starttime={start}", "--endtime=now"]
    shown = slurm.ask("sacct", *wanted, f"--format={','.join(_FIELDS)}")
    return parse(shown, folder)


def parse(shown: str, folder: Path) -> list[Use]:
    """Read sacct's lines about the jobs of a folder; others are skipped, as are parts of a text of several lines."""
    uses = []
    for line in shown.splitlines():
        # a command may hold the separator; it comes last
        values = line.split("|", len(_FIELDS) - 1)
        if len(values) < len(_FIELDS):
            continue
        row = dict(zip(_FIELDS, values, strict=True))
        rule = slurm.rule_of(row["Comment"]) or _rule_in(row["SubmitLine"])
        seconds = row["ElapsedRaw"] or "0"
        if not rule or not seconds.isdigit() or Path(row["WorkDir"]).resolve() != folder.resolve():
            continue
        limit = row["TimelimitRaw"]
        # a job that was cancelled before it started has no allocation; not every cluster accounts for GPUs
        gpus = _allocated(row["AllocTRES"]) or _allocated(row["ReqTRES"]) or _asked(row["SubmitLine"])
        asked = 60.0 * int(limit) if limit.isdigit() else 0.0
        uses.append(Use(rule, gpus, asked, float(seconds), row["State"] == "COMPLETED"))
    return uses


def gpus_in(asked: str) -> int:
    """GPUs of a node in `gpu:a100:8`, `gpu:8` or `gpu`, perhaps beside other things after commas."""
    parts = (part.split(":") for part in asked.split(",") if re.match(r"gpu(:|$)", part))
    return sum(int(words[-1]) if words[-1].isdigit() else 1 for words in parts)


def summary(uses: Iterable[Use], source: str) -> str:
    """A table, one line a rule that asked for GPUs; empty where none did.

    Args:
        source: where the figures come from.
    """
    by_rule: dict[str, list[Use]] = {}
    for use in uses:
        if use.gpus:
            by_rule.setdefault(use.rule, []).append(use)
    if not by_rule:
        return ""
    rows: list[tuple[str, ...]] = [("rule", "jobs", "ended well", "GPU h asked", "GPU h used")]
    rows += [_row(rule, each) for rule, each in sorted(by_rule.items())]
    rows.append(_row("in all", [use for each in by_rule.values() for use in each]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return "\n".join([f"GPU hours of this run, {source}:", *lines])


def _row(rule: str, uses: list[Use]) -> tuple[str, ...]:
    asked = sum(use.gpus * use.asked for use in uses) / 3600
    used = sum(use.gpus * use.used for use in uses) / 3600
    return rule, str(len(uses)), str(sum(use.done for use in uses)), f"{asked:.2f}", f"{used:.2f}"


def _allocated(tres: str) -> int:
    """GPUs in `cpu=8,gres/gpu=8,gres/gpu:a100=8,mem=600G`."""
    counts = dict(re.findall(r"gres/gpu(:[^=,]+)?=(\d+)", tres))
    return int(counts.get("", 0)) or sum(map(int, counts.values()))


def _asked(command: str) -> int:
    """GPUs that sbatch's command line asks for: `--gpus=a100:8` on all nodes, or `--gres=gpu:a100:8` on each."""
    options = dict(re.findall(r" --(gpus|gpus-per-node|gres|nodes)[= ]'?([^\s']+)", command.partition(" --wrap")[0]))
    if "gpus" in options:
        return gpus_in(f"gpu:{options['gpus']}")
    each = gpus_in(options.get("gres", "")) or gpus_in(f"gpu:{options.get('gpus-per-node', 0)}")
    nodes = options.get("nodes", "")
    return each * (int(nodes) if nodes.isdigit() else 1)


def _rule_in(command: str) -> str:
    """The rule in sbatch's command line: not every cluster keeps comments."""
    match = re.search(r"--comment[ =]'?(rule_\S+?)'?( |$)", command)
    return slurm.rule_of(match[1]) if match else ""
