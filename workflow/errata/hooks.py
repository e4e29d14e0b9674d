"""What happens before the first job of a run on Slurm, and after its last."""

import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from errata import slurm, usage
from errata.errors import UserError
from errata.recover import COMMAND, left_over, running_snakemake
from errata.watch import Watch


def before(executor: str, folder: Path = Path()) -> None:
    """Look whether jobs can be submitted, and watch over them from now on.

    Args:
        executor: Snakemake's name of it; only slurm needs anything.

    Raises:
        UserError: Slurm cannot be used, or jobs of a killed run are still there: nothing may run twice at once.
    """
    if executor != "slurm":
        return
    slurm.check()
    # beside another Snakemake its jobs are not left over
    jobs = [] if running_snakemake(folder) else left_over(folder)
    if jobs:
        raise UserError(
            f"{len(jobs)} jobs of an earlier run are not done: {', '.join(map(str, jobs))}. Nothing was submitted: "
            f"`{COMMAND}` waits for them and keeps what they finish; with --cancel it ends them."
        )
    Watch(folder).start()


def after(executor: str, since: datetime, jobs: Iterable[Any], folder: Path = Path()) -> None:
    """Show the GPU hours of a run: by accounting, else by the benchmarks of the jobs that ended well.

    Args:
        since: when the run began.
        jobs: Snakemake's finished jobs.
    """
    if executor != "slurm":
        return
    try:
        uses, source = usage.accounted(folder, since), "by accounting"
    except UserError as error:
        uses, source = [], str(error)
    if not uses:
        uses = [use for job in jobs if (use := _by_benchmark(job, since))]
        source = "of jobs that ended well; there is no accounting to tell of the others"
    table = usage.summary(uses, source)
    if table:
        print(table, file=sys.stderr, flush=True)


def _by_benchmark(job: Any, since: datetime) -> usage.Use | None:
    """What a job took by Snakemake's own measurement; None where it was not run now or asked for no GPU."""
    gpus, limit = job.resources.get("gpu", 0), job.resources.get("runtime", 0)
    path = Path(str(job.benchmark)) if job.benchmark else None
    if not gpus or path is None or not path.is_file() or path.stat().st_mtime < since.timestamp():
        return None
    seconds = float(path.read_text(encoding="utf-8").splitlines()[1].split("\t")[0])
    return usage.Use(job.rule.name, int(gpus), 60.0 * limit, seconds, done=True)
