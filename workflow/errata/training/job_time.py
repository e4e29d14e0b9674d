"""The time of a Slurm job: when it ends, and when a training must stop to save a checkpoint before that."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from errata.core.slurm_job import own_slurm_job


@dataclass(frozen=True)
class Deadline:
    """The end of the job's time.

    Attributes:
        end: Unix time in seconds.
        margin: seconds before the end at which the training must stop.
    """

    end: float
    margin: float

    def is_due(self, now: float, step_seconds: float = 0.0) -> bool:
        """Whether the training must stop.

        Args:
            now: Unix time.
            step_seconds: seconds that a step takes; the trainer stops at the end of one, so the margin is at least
                two of them.
        """
        return now >= self.end - max(self.margin, 2 * step_seconds)


def job_deadline(environ: Mapping[str, str], margin: float | None, now: float) -> Deadline | None:
    """When Slurm will end this job; None if it has no limit, or is not a job that this workflow submitted.

    Args:
        environ: environment variables.
        margin: seconds; None for 180, or for a tenth of the job's time if that is less.
        now: Unix time.
    """
    job = own_slurm_job(environ)
    if not job:
        return None
    end = _parse_seconds(environ.get("SLURM_JOB_END_TIME")) or _ask_for_end(job, environ)
    if not end or end > now + 300 * 86400:  # Slurm gives a job without limit a year
        return None
    start = _parse_seconds(environ.get("SLURM_JOB_START_TIME")) or now
    return Deadline(end, min(180.0, 0.1 * max(0.0, end - start)) if margin is None else margin)


def _parse_seconds(text: str | None) -> float:
    return float(text) if text and text.isdecimal() else 0.0


def _ask_for_end(job: str, environ: Mapping[str, str]) -> float:
    """The end of a job by squeue, as Unix time; 0 if squeue does not know."""
    command = ["squeue", "--noheader", "--job", job, "--format", "%e"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={**environ, "SLURM_TIME_FORMAT": "standard"}
        )
        return datetime.fromisoformat(done.stdout.split()[0]).timestamp()
    except (OSError, subprocess.TimeoutExpired, IndexError, ValueError):  # also for "N/A"
        return 0.0
