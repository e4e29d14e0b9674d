"""What Slurm says about the jobs of this workflow, and whether it can be used."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from errata.core.errors import UserError

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
        "RESV_DEL_HOLD",
    )
)
# A job in one of these has ended, unless Slurm starts it again: it is then pending.
LOST = frozenset(("PREEMPTED", "NODE_FAIL"))
# Reasons for which a job waits that time alone does not mend. Where a site names one with a suffix, the start counts.
_HOPELESS = (
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
    "QOSMin",
    "DependencyNeverSatisfied",
    "NodeDown",
)
# Limits on a single job do not go away; those on all jobs of a user do when the others end.
_LIMIT_OF_A_JOB = re.compile(r"(QOS|Assoc)Max\w*(PerJob|PerNode|WallDuration)")
# Snakemake's executor looks every 180 s at last: a finished job must be known for longer.
LONGEST_PAUSE = 200
# For the executor any word but squeue and sacct is squeue. Told squeue, it takes sacct where MinJobAge is small, and it
# also does so at 0, which is never, and where there is no accounting.
SQUEUE_ALWAYS = "squeue, always"
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

    @property
    def hopeless(self) -> bool:
        """Whether it waits for what time alone does not bring."""
        known = self.reason.startswith(_HOPELESS) or _LIMIT_OF_A_JOB.match(self.reason)
        return self.state == "PENDING" and bool(known)

    @property
    def remedy(self) -> str:
        """What to say of it where it is hopeless."""
        return (
            f"job {self.id} of rule {self.rule} waits, and time alone will not start it: {self.reason}. "
            f"See `scontrol show job {self.id}` and what profiles/slurm asks for."
        )

    def __str__(self) -> str:
        more = ""
        if self.state == "RUNNING":
            more = f" for {self.elapsed}"
        elif self.state == "PENDING" and self.reason not in ("", "None"):
            more = f": {self.reason}"
        return f"{self.id} ({self.rule}, {self.state.lower()}{more})"


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
        fields = line.split("|", 5)
        # a cluster's name, or a part of a comment of more than one line
        if len(fields) < 6:
            continue
        id, state, comment, elapsed, reason, where = fields
        if rule_of(comment) and Path(where).resolve() == folder.resolve():
            jobs.append(Job(id, state, rule_of(comment), elapsed, reason))
    return jobs


def ended(ids: Iterable[str]) -> dict[str, str]:
    """How those of the jobs ended of which accounting tells it; none where there is no accounting."""
    wanted = ",".join(ids)
    if not wanted or not has_accounting():
        return {}
    shown = ask("sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={wanted}", "--format=JobID,State")
    pairs = (line.partition("|") for line in shown.splitlines())
    # "CANCELLED by 1000"
    states = {id: state.split()[0] for id, _, state in pairs if state.strip()}
    return {id: state for id, state in states.items() if state not in ACTIVE}


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


def check(wanted: str = "squeue") -> str:
    """Look whether Slurm can be used before anything is submitted, and by which command Snakemake sees jobs end.

    Args:
        wanted: the status command that the executor was told.

    Returns:
        The status command that it must have, so that no job is forgotten before it has looked.

    Raises:
        UserError: Slurm does not answer, or forgets finished jobs before Snakemake has seen that they are.
    """
    told = settings()
    number = re.match(r"\d+", told.get("MinJobAge", ""))
    # 0: never forgets
    age = int(number[0]) if number else 0
    accounting = has_accounting(told)
    if 0 < age < LONGEST_PAUSE:
        if accounting:
            return "sacct"
        raise UserError(
            f"Slurm has no accounting here and forgets a finished job after {age} s (MinJobAge); Snakemake looks "
            f"every {LONGEST_PAUSE - 20} s at last and would wait for it for ever. Ask your administrators for "
            f"MinJobAge={LONGEST_PAUSE} or more, or for accounting."
        )
    return "sacct" if wanted == "sacct" and accounting else SQUEUE_ALWAYS


def rule_of(comment: str) -> str:
    """The rule in the comment that Snakemake gives a job: rule_train_wildcards_... is train."""
    match = re.match(r"rule_(.+?)(_wildcards_|$)", comment)
    return match[1] if match else ""
