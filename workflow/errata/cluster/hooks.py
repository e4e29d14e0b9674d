"""What happens before the first job of a run on Slurm, and after its last."""

import atexit
import sys
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from errata.cluster import recover, slurm, usage
from errata.cluster.watch import Watch
from errata.core.errors import UserError

# Where the executor has Slurm write.
_LOGS = Path(".snakemake", "slurm_logs")


def before(executor: str, folder: Path = Path(), workflow: Any = None) -> None:
    """Look whether jobs can be submitted, and watch over them from now on.

    Args:
        executor: Snakemake's name of it; only slurm needs anything.
        workflow: Snakemake's. Its executor is told how to look at jobs, and what became of those that it does not see.

    Raises:
        UserError: Slurm cannot be used, or a killed run may live on elsewhere, or its jobs are still there: nothing may
            run twice at once.
    """
    if executor != "slurm":
        return
    settings = workflow.executor_settings if workflow else None
    command = slurm.check(settings.status_command if settings else "squeue")
    if settings:
        _look_by(command, settings)
    recover.refuse_beside_another_machine(folder)
    # beside another Snakemake its jobs are not left over
    jobs = [] if recover.running_snakemake(folder) else recover.left_over(folder)
    if jobs:
        raise UserError(
            f"{len(jobs)} jobs of an earlier run are not done: {', '.join(map(str, jobs))}. Nothing was submitted: "
            f"`{recover.COMMAND}` waits for them and keeps what they finish; with --cancel it ends them."
        )
    recover.mark(folder)
    # also after an error that Snakemake has no hook for
    atexit.register(recover.unmark, folder.resolve())
    Watch(folder, partial(settle, workflow)).start()


def after(executor: str, since: datetime, jobs: Iterable[Any], folder: Path = Path()) -> None:
    """Show the GPU hours of a run: by accounting, else by the benchmarks of the jobs that ended well.

    What is shown is no reason for a run to fail: errors are told, whatever they are.

    Args:
        since: when the run began.
        jobs: Snakemake's finished jobs.
    """
    if executor != "slurm":
        return
    for show in (partial(_show_usage, since, jobs), partial(_show_array_logs, since), recover.unmark):
        try:
            show(folder)
        except Exception as error:
            print(f"at the end of the run: {error!r}", file=sys.stderr, flush=True)


def settle(workflow: Any, id: str, state: str, why: str) -> bool:
    """Tell Snakemake how a job ended that its executor waits for; False where it does not.

    The executor takes the jobs out of its list while it looks at them, so none is told of twice.
    """
    if workflow is None:
        return False
    executor = workflow.scheduler._executor
    with executor.lock:
        found = [job for job in executor.active_jobs if job.external_jobid == id]
        executor.active_jobs[:] = [job for job in executor.active_jobs if job.external_jobid != id]
    for job in found:
        log = job.aux.get("slurm_logfile")
        if state == "COMPLETED":
            executor.report_job_success(job)
        else:
            executor.report_job_error(job, msg=f"{why} ", aux_logs=[str(log)] if log else [])
    return bool(found)


def _look_by(command: str, settings: Any) -> None:
    """Have the executor look at jobs by this command."""
    if command == "sacct" and settings.array_jobs:
        raise UserError(
            "--slurm-array-jobs: Snakemake looks at jobs by sacct here, since Slurm forgets them soon (MinJobAge) or "
            "--slurm-status-command says so, and by sacct its executor takes an array's tasks for one another. Leave "
            "--slurm-array-jobs out: the parts are then jobs of their own."
        )
    settings.status_command = command


def _show_usage(since: datetime, jobs: Iterable[Any], folder: Path) -> None:
    source = "of jobs that ended well; accounting tells nothing of the others"
    try:
        uses = usage.accounted(folder, since)
    except UserError as error:
        uses, source = [], f"of jobs that ended well; accounting of the others failed: {error}"
    if uses:
        source = "by accounting"
    else:
        uses = [use for job in jobs if (use := _by_benchmark(job, since))]
    table = usage.summary(uses, source)
    if table:
        print(table, file=sys.stderr, flush=True)


def _by_benchmark(job: Any, since: datetime) -> usage.Use | None:
    """What a job took by Snakemake's own measurement; None where it was not run now or asked for no GPU."""
    path = Path(str(job.benchmark)) if job.benchmark else None
    if path is None or not path.is_file() or path.stat().st_mtime < since.timestamp():
        return None
    asks = job.resources
    # the profile asks for a training's GPUs on several nodes by `gres`, which counts those of one
    gpus = asks.get("gpu", 0) or usage.gpus_in(str(asks.get("gres", ""))) * int(asks.get("nodes", 1))
    if not gpus:
        return None
    seconds = float(path.read_text(encoding="utf-8").splitlines()[1].split("\t")[0])
    return usage.Use(job.rule.name, int(gpus), 60.0 * asks.get("runtime", 0), seconds, done=True)


def _show_array_logs(since: datetime, folder: Path) -> None:
    """Say where the logs of an array's tasks are: the executor's errors name files that are not there."""
    logs = (folder / _LOGS).glob("rule_*/*_*.log")
    folders = sorted({str(log.parent) for log in logs if log.stat().st_mtime >= since.timestamp()})
    if folders:
        print(f"Logs of array tasks, JOB_TASK.log each: {', '.join(folders)}", file=sys.stderr, flush=True)
