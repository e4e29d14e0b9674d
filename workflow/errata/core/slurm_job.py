"""Distinguish Slurm jobs of this workflow from other Slurm jobs.

The nodes and GPUs of a job of this workflow are for one step, and the step may requeue the job. With the local profile
Snakemake may run in a job of the user. The nodes of that job may do other work, and requeuing it would end Snakemake.
"""

import os
from collections.abc import Mapping

# A variable of the Snakemake process that submits jobs. sbatch copies the environment of that process into the jobs.
MARK = "ERRATA_SLURM_JOB"


def mark_jobs() -> None:
    """Mark all jobs that this process submits from now on."""
    os.environ[MARK] = "1"


def own_slurm_job(environ: Mapping[str, str]) -> str | None:
    """The id of the Slurm job, if this workflow submitted it; None in any other job and outside Slurm.

    Args:
        environ: the environment of the step.
    """
    return (environ.get("SLURM_JOB_ID") or None) if environ.get(MARK) else None
