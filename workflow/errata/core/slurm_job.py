"""Whether this process is a Slurm job that this workflow submitted.

Such a job is ours: its nodes and GPUs are for one step, and it may be put back into the queue. A user's own job, in
which Snakemake runs with the local profile, is not: its nodes may do other work, and requeuing it would end Snakemake.
"""

import os
from collections.abc import Mapping

# Set in the Snakemake process that submits jobs. sbatch gives jobs the environment of that process.
MARK = "ERRATA_SLURM_JOB"


def mark_jobs() -> None:
    """Mark all jobs that this process submits from now on."""
    os.environ[MARK] = "1"


def own_slurm_job(environ: Mapping[str, str]) -> str | None:
    """The id of the Slurm job that this workflow submitted for this step; None in any other job and outside Slurm."""
    return (environ.get("SLURM_JOB_ID") or None) if environ.get(MARK) else None
