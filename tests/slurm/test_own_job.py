"""Which Slurm jobs are the workflow's own: those that its profile submitted, not a user's job in which it runs."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import command, wait_until

from helpers import REPOSITORY

pytestmark = pytest.mark.slow

SNAKEFILE = f"""
import sys
sys.path.insert(0, {str(REPOSITORY / "workflow")!r})
from errata.cluster.hooks import Hooks
HOOKS = Hooks()

rule job:
    output: "job.txt"
    shell:
        "PYTHONPATH={REPOSITORY}/workflow {sys.executable} -c "
        "'import os; from errata.core.slurm_job import own_slurm_job; "
        "print(os.environ[\\"SLURM_JOB_ID\\"], own_slurm_job(os.environ))' > {{output}}"

onstart:
    HOOKS.before(workflow.executor_plugin.name, workflow)

onsuccess:
    HOOKS.after(workflow.executor_plugin.name, [])
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str], str]:
    """Run a command in a folder with that Snakefile; what the job said of itself."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)

    def run(words: str) -> str:
        (tmp_path / "job.txt").unlink(missing_ok=True)
        command("sh", "-c", f"cd {tmp_path} && {words}")
        wait_until((tmp_path / "job.txt").exists, 120)
        wait_until(lambda: (tmp_path / "job.txt").read_text().endswith("\n"), 10)
        return (tmp_path / "job.txt").read_text()

    return run


@pytest.mark.usefixtures("lab")
def test_a_job_that_snakemake_submitted_is_its_own_and_a_users_job_is_not(run: Callable[[str], str]) -> None:
    snakemake = f"{sys.executable} -m snakemake --nocolor"
    submitted = f"{snakemake} --executor slurm --jobs 1 --latency-wait 20 --slurm-init-seconds-before-status-checks 1"
    resources = "--default-resources slurm_partition=cpu mem_mb=1000 runtime=5"
    job, own = run(f"{submitted} {resources}").split()
    assert own == job
    # the user's own sbatch, with the local executor in it
    job, own = run(f"sbatch -p cpu --mem=1000 --output=slurm.log --wrap '{snakemake} --cores 1'").split()
    assert (own, job.isdecimal()) == ("None", True)
    assert "ERRATA_SLURM_JOB" not in os.environ
