"""The state of this workflow's jobs in Slurm, and a check that Slurm can be used."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from errata.core.errors import UserError

# States of jobs that have not ended, or that Slurm will start again.
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
# States of jobs that Slurm itself ended. If it starts such a job again, the job is pending.
LOST = frozenset(("PREEMPTED", "NODE_FAIL"))
# Reasons to wait that do not go away with time. Some sites add a suffix, so only the start is compared.
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
# Limits on a single job do not go away; limits on all jobs of a user do when the other jobs end.
_LIMIT_OF_A_JOB = re.compile(r"(QOS|Assoc)Max\w*(PerJob|PerNode|WallDuration)")
# Snakemake's executor pauses up to 180 s between two polls: Slurm must remember a finished job for longer.
LONGEST_PAUSE = 200
# The executor uses squeue for any word except sacct. But with the word squeue itself it changes to sacct if MinJobAge
# is small, even if it is 0 (Slurm never forgets) or if there is no accounting.
SQUEUE_ALWAYS = "squeue, always"
_TIMEOUT = 60.0


@dataclass(frozen=True)
class Job:
    """A job of this workflow.

    Attributes:
        id: `1234`, or `1234_5` in an array, as in Snakemake.
        state: in Slurm's words, such as PENDING.
        rule: the rule that it runs.
        elapsed: how long it has run, in Slurm's notation.
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
        """Whether it waits for something that time alone does not change."""
        permanent = self.reason.startswith(_HOPELESS) or _LIMIT_OF_A_JOB.match(self.reason)
        return self.state == "PENDING" and bool(permanent)

    @property
    def remedy(self) -> str:
        """The message about a hopeless job."""
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
    """Run a command of Slurm, and return what it prints.

    Raises:
        UserError: the command does not exist, failed, or did not answer.
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
    """The jobs of a folder's workflow in Slurm's controller: they wait, run, or ended a short time ago."""
    shown = ask("squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i|%T|%k|%M|%r|%Z")
    jobs = []
    for line in shown.splitlines():
        fields = line.split("|", 5)
        # not a job: the name of a cluster, or part of a comment with several lines
        if len(fields) < 6:
            continue
        id, state, comment, elapsed, reason, where = fields
        if rule_of(comment) and Path(where).resolve() == folder.resolve():
            jobs.append(Job(id, state, rule_of(comment), elapsed, reason))
    return jobs


def find_ends(ids: Iterable[str]) -> dict[str, str]:
    """The final states of jobs by id, as far as accounting has them; empty without accounting."""
    listed = ",".join(ids)
    if not listed or not has_accounting():
        return {}
    shown = ask("sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={listed}", "--format=JobID,State")
    pairs = (line.partition("|") for line in shown.splitlines())
    # only the first word of "CANCELLED by 1000"
    states = {id: state.split()[0] for id, _, state in pairs if state.strip()}
    return {id: state for id, state in states.items() if state not in ACTIVE}


def read_configuration() -> dict[str, str]:
    """The configuration of Slurm's controller."""
    pairs = (line.partition("=") for line in ask("scontrol", "show", "config").splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def has_accounting(configuration: Mapping[str, str] | None = None) -> bool:
    """Whether sacct can report jobs that ended.

    Args:
        configuration: the controller's; None reads it.
    """
    storage = (read_configuration() if configuration is None else configuration).get("AccountingStorageType", "")
    return storage not in ("", "(null)", "accounting_storage/none") and shutil.which("sacct") is not None


def choose_status_command(wanted: str) -> str:
    """Check that Slurm can be used, and choose the command by which the executor polls jobs.

    Args:
        wanted: the command that the executor is set to.

    Returns:
        A command that still reports a finished job when the executor polls it.

    Raises:
        UserError: Slurm does not answer, or forgets finished jobs too soon.
    """
    configuration = read_configuration()
    number = re.match(r"\d+", configuration.get("MinJobAge", ""))
    # with 0 Slurm never forgets a job
    age = int(number[0]) if number else 0
    accounting = has_accounting(configuration)
    if 0 < age < LONGEST_PAUSE:
        if accounting:
            return "sacct"
        raise UserError(
            f"Slurm has no accounting here and forgets a finished job after {age} s (MinJobAge). Snakemake pauses "
            f"up to {LONGEST_PAUSE - 20} s between two polls and would wait for the job forever. Ask your "
            f"administrators for MinJobAge={LONGEST_PAUSE} or more, or for accounting."
        )
    return "sacct" if wanted == "sacct" and accounting else SQUEUE_ALWAYS


def rule_of(comment: str) -> str:
    """The rule in the comment of a Snakemake job: "train" in rule_train_wildcards_...; empty if there is none."""
    match = re.match(r"rule_(.+?)(_wildcards_|$)", comment)
    return match[1] if match else ""
