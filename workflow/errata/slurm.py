"""What Slurm says about the jobs of this workflow, and whether it can be used."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from errata.errors import UserError

# A job in one of these has not ended, or Slurm will start it again.
ACTIVE = frozenset(
    (
        "PENDING",
        "CONFIGURING",
        "RUNNING",
        "COMPLETING",
        "SUSPENDED",
        "STOPPED",
        "SIGNALING",
        "STAGE_OUT",
        "RESIZING",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "SPECIAL_EXIT",
        "PREEMPTED",
        "RESV_DEL_HOLD",
    )
)
# Reasons for which a job waits that time alone does not mend. Where a site names one with a suffix, the start counts.
HOPELESS = (
    "PartitionTimeLimit",
    "PartitionNodeLimit",
    "PartitionInactive",
    "PartitionDown",
    "BadConstraints",
    "InvalidAccount",
    "InvalidQOS",
    "JobHeld",
    "JobLaunchFailure",
    "AccountNotAllowed",
    "QOSNotAllowed",
    "QOSTimeLimit",
    "QOSMax",
    "AssocMax",
    "DependencyNeverSatisfied",
    "NodeDown",
)
# Snakemake's executor looks every 180 s at last: a finished job must be known for longer.
LONGEST_PAUSE = 200
_TIMEOUT = 60.0


@dataclass(frozen=True)
class Job:
    """A job of this workflow.

    Attributes:
        id: as Snakemake was told, `1234` or `1234_5` in an array.
        rule: the rule that it runs.
        elapsed: how long it has run, as Slurm writes it.
        reason: why it waits.
    """

    id: str
    state: str
    rule: str
    elapsed: str = ""
    reason: str = ""

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    def __str__(self) -> str:
        since = f" for {self.elapsed}" if self.state == "RUNNING" else ""
        return f"{self.id} ({self.rule}, {self.state.lower()}{since})"


def ask(*command: str) -> str:
    """What a command of Slurm prints.

    Raises:
        UserError: there is no such command, or it failed or did not answer.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT)
    except FileNotFoundError as error:
        raise UserError(f"{command[0]}: not found. Run this where jobs are submitted, on a login node.") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{command[0]}: Slurm has not answered for {_TIMEOUT:.0f} s. Try again later.") from error
    if done.returncode != 0:
        raise UserError(f"{' '.join(command)}: {done.stderr.strip() or f'failed with status {done.returncode}'}")
    return done.stdout


def jobs_of(folder: Path) -> list[Job]:
    """The jobs of this workflow that the controller knows: those that wait or run, or ended a little while ago."""
    shown = ask("squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i|%T|%k|%M|%r|%Z")
    jobs = []
    for line in shown.splitlines():
        id, state, comment, elapsed, reason, where = line.split("|", 5)
        if rule_of(comment) and Path(where).resolve() == folder.resolve():
            jobs.append(Job(id, state, rule_of(comment), elapsed, reason))
    return jobs


def ended(ids: Iterable[str]) -> set[str]:
    """Those of the jobs of which accounting tells how they ended; none where there is no accounting."""
    wanted = ",".join(ids)
    if not wanted or not has_accounting():
        return set()
    shown = ask("sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={wanted}", "--format=JobID,State")
    # "CANCELLED by 1000"
    states = dict(line.split("|", 1) for line in shown.splitlines())
    return {id for id, state in states.items() if state.split()[0] not in ACTIVE}


def settings() -> dict[str, str]:
    """The controller's configuration."""
    pairs = (line.partition("=") for line in ask("scontrol", "show", "config").splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def has_accounting(told: Mapping[str, str] | None = None) -> bool:
    """Whether sacct can tell of jobs that ended.

    Args:
        told: the controller's configuration, where it was asked for already.
    """
    kept = (settings() if told is None else told).get("AccountingStorageType", "")
    return kept not in ("", "(null)", "accounting_storage/none") and shutil.which("sacct") is not None


def check() -> None:
    """Look whether Slurm can be used before anything is submitted.

    Raises:
        UserError: it does not answer, or forgets finished jobs before Snakemake has seen that they are.
    """
    told = settings()
    age = re.match(r"\d+", told.get("MinJobAge", ""))
    if not has_accounting(told) and age and int(age[0]) < LONGEST_PAUSE:
        raise UserError(
            f"Slurm has no accounting here and forgets a finished job after {age[0]} s (MinJobAge); Snakemake looks "
            f"every {LONGEST_PAUSE - 20} s at last and would wait for it for ever. Ask your administrators for "
            f"MinJobAge={LONGEST_PAUSE} or more, or for accounting."
        )


def rule_of(comment: str) -> str:
    """The rule in the comment that Snakemake gives a job: rule_train_wildcards_... is train."""
    match = re.match(r"rule_(.+?)(_wildcards_|$)", comment)
    return match[1] if match else ""
