"""The time of a Slurm job: its end, and the next job of a training."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from errata.core.slurm_job import own_slurm_job


@dataclass(frozen=True)
class Deadline:
    """The end of the job's time.

    Attributes:
        end: Unix time.
        margin: seconds before it at which the training is told to save a checkpoint.
    """

    end: float
    margin: float

    def due(self, now: float, pace: float = 0.0) -> bool:
        """Whether it is time to stop.

        Args:
            pace: seconds that a step takes: the checkpoint comes at the end of one.
        """
        return now >= self.end - max(self.margin, 2 * pace)


def job_deadline(environ: Mapping[str, str], margin: float | None, now: float) -> Deadline | None:
    """When Slurm will end this job; None if it has no limit, or is not a job that this workflow submitted.

    Args:
        margin: seconds; None for 180, or a tenth of the job's time where that is less.
        now: Unix time.
    """
    job = own_slurm_job(environ)
    if not job:
        return None
    end = _number(environ.get("SLURM_JOB_END_TIME")) or _end_by_squeue(job, environ)
    if not end or end > now + 300 * 86400:  # Slurm gives a job without limit a year
        return None
    start = _number(environ.get("SLURM_JOB_START_TIME")) or now
    return Deadline(end, min(180.0, 0.1 * max(0.0, end - start)) if margin is None else margin)


def _number(text: str | None) -> float:
    return float(text) if text and text.isdecimal() else 0.0


def _end_by_squeue(job: str, environ: Mapping[str, str]) -> float:
    command = ["squeue", "--noheader", "--job", job, "--format", "%e"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={**environ, "SLURM_TIME_FORMAT": "standard"}
        )
        return datetime.fromisoformat(done.stdout.split()[0]).timestamp()
    except (OSError, subprocess.TimeoutExpired, IndexError, ValueError):  # N/A among them
        return 0.0


def requeue(job: str) -> str:
    """Put this job back into the queue; gives why Slurm refuses, nothing if it does not."""
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip() or f"status {done.returncode}"
