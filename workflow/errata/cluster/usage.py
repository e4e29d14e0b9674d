"""The GPU hours that the jobs of a run requested and used, by rule."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from errata.cluster import slurm

# The fields that are read of sacct. It prints a line for each attempt at a job, so a preempted job has two.
_FIELDS = ("WorkDir", "State", "ElapsedRaw", "TimelimitRaw", "AllocTRES", "ReqTRES", "Comment", "SubmitLine")


@dataclass(frozen=True)
class Use:
    """One attempt at a job.

    Attributes:
        rule: the rule that it runs.
        gpus: its GPUs on all nodes.
        limit: its time limit, in seconds.
        seconds: the time that it took.
        done: whether it succeeded.
    """

    rule: str
    gpus: int
    limit: float
    seconds: float
    done: bool


def read_accounting(folder: Path, since: datetime) -> list[Use]:
    """The jobs of a folder's workflow by accounting, including failed and preempted attempts.

    Args:
        folder: the folder that the jobs ran in.
        since: the start of the run.

    Returns:
        One use an attempt; none without accounting.
    """
    if not slurm.has_accounting():
        return []
    start = since.strftime("%Y-%m-%dT%H:%M:%S")
    options = ["--allocations", "--duplicates", "--noheader", "--parsable2", f"--starttime={start}", "--endtime=now"]
    shown = slurm.ask("sacct", *options, f"--format={','.join(_FIELDS)}")
    return parse_accounting(shown, folder)


def parse_accounting(shown: str, folder: Path) -> list[Use]:
    """Read sacct's lines about the jobs of a folder. Other lines are skipped, such as parts of a multi-line field.

    Args:
        shown: the output of sacct with the fields of `_FIELDS`.
        folder: the folder that the jobs ran in.
    """
    uses = []
    for line in shown.splitlines():
        # the command comes last, since it may contain the separator
        values = line.split("|", len(_FIELDS) - 1)
        if len(values) < len(_FIELDS):
            continue
        row = dict(zip(_FIELDS, values, strict=True))
        rule = slurm.rule_of(row["Comment"]) or _rule_in(row["SubmitLine"])
        elapsed = row["ElapsedRaw"] or "0"
        if not rule or not elapsed.isdigit() or Path(row["WorkDir"]).resolve() != folder.resolve():
            continue
        minutes = row["TimelimitRaw"]
        # a job that was cancelled before its start has no allocation, and some clusters do not account for GPUs
        gpus = _gpus_in_tres(row["AllocTRES"]) or _gpus_in_tres(row["ReqTRES"]) or _gpus_in_command(row["SubmitLine"])
        limit = 60.0 * int(minutes) if minutes.isdigit() else 0.0
        uses.append(Use(rule, gpus, limit, float(elapsed), row["State"] == "COMPLETED"))
    return uses


def gpus_in(gres: str) -> int:
    """The GPUs of a node in a list such as `gpu:a100:8`, `gpu:8`, `gpu` or `gpu:2,tmp:100G`."""
    parts = (part.split(":") for part in gres.split(",") if re.match(r"gpu(:|$)", part))
    return sum(int(words[-1]) if words[-1].isdigit() else 1 for words in parts)


def make_table(uses: Iterable[Use], source: str) -> str:
    """A table with one line for each rule that requested GPUs; empty if no rule did.

    Args:
        source: the origin of the figures, for the heading.
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
    requested = sum(use.gpus * use.limit for use in uses) / 3600
    used = sum(use.gpus * use.seconds for use in uses) / 3600
    return rule, str(len(uses)), str(sum(use.done for use in uses)), f"{requested:.2f}", f"{used:.2f}"


def _gpus_in_tres(tres: str) -> int:
    """The GPUs in `cpu=8,gres/gpu=8,gres/gpu:a100=8,mem=600G`."""
    counts = dict(re.findall(r"gres/gpu(:[^=,]+)?=(\d+)", tres))
    return int(counts.get("", 0)) or sum(map(int, counts.values()))


def _gpus_in_command(command: str) -> int:
    """The GPUs in sbatch's command line: `--gpus=a100:8` on all nodes, or `--gres=gpu:a100:8` on each."""
    options = dict(re.findall(r" --(gpus|gpus-per-node|gres|nodes)[= ]'?([^\s']+)", command.partition(" --wrap")[0]))
    if "gpus" in options:
        return gpus_in(f"gpu:{options['gpus']}")
    each = gpus_in(options.get("gres", "")) or gpus_in(f"gpu:{options.get('gpus-per-node', 0)}")
    nodes = options.get("nodes", "")
    return each * (int(nodes) if nodes.isdigit() else 1)


def _rule_in(command: str) -> str:
    """The rule in sbatch's command line, for clusters that do not keep comments."""
    match = re.search(r"--comment[ =]'?(rule_\S+?)'?( |$)", command)
    return slurm.rule_of(match[1]) if match else ""
