"""The hooks of a run on Slurm: checks before the first job, and the costs of the run after the last."""

import atexit
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from errata.cluster import recover, slurm, usage
from errata.cluster.watch import Watch
from errata.core.errors import UserError
from errata.core.slurm_job import mark_jobs

# The folder for Slurm's logs, which the executor chooses.
_LOGS = Path(".snakemake", "slurm_logs")


@dataclass
class Hooks:
    """The hooks of one run of Snakemake. They do nothing unless the executor is slurm.

    Attributes:
        folder: where Snakemake runs.
        since: when the run began.
    """

    folder: Path = Path()
    since: datetime = field(default_factory=datetime.now)
    _watch: Watch | None = None

    def before(self, executor: str, workflow: Any) -> None:
        """Check that jobs can be submitted, mark them as ours, and start to watch them.

        Args:
            executor: the name of Snakemake's executor.
            workflow: Snakemake's workflow. Its executor gets the command to poll jobs with, and the ends of jobs that
                it missed.

        Raises:
            UserError: Slurm cannot be used. Or an earlier run may still be alive on another machine or has active jobs:
                then work would be done twice.
        """
        if executor != "slurm":
            return
        settings = workflow.executor_settings
        _set_status_command(slurm.choose_status_command(settings.status_command), settings)
        recover.refuse_beside_another_machine(self.folder)
        # jobs of a Snakemake that still runs here are in its own care
        jobs = [] if recover.running_snakemake(self.folder) else recover.active_jobs(self.folder)
        if jobs:
            raise UserError(
                f"{len(jobs)} jobs of an earlier run are not done: {', '.join(map(str, jobs))}. Nothing was submitted: "
                f"`{recover.COMMAND}` waits for them and keeps what they finish; with --cancel it ends them."
            )
        recover.mark(self.folder)
        # Snakemake calls no hook after some errors
        atexit.register(recover.unmark, self.folder.resolve())
        mark_jobs()
        self._watch = Watch(self.folder, partial(settle, workflow))
        self._watch.start()

    def after(self, executor: str, jobs: Iterable[Any]) -> None:
        """Stop watching, and print the GPU hours of the run: by accounting, else by the benchmarks of successful jobs.

        Any error here is only reported, so that it cannot fail the run.

        Args:
            executor: the name of Snakemake's executor.
            jobs: the jobs that Snakemake has finished.
        """
        if executor != "slurm":
            return
        self.stop()
        for action in (partial(_show_usage, self.since, jobs), partial(_show_array_logs, self.since), recover.unmark):
            try:
                action(self.folder)
            except Exception as error:
                print(f"at the end of the run: {error!r}", file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Stop watching the jobs."""
        if self._watch:
            self._watch.stop()
            self._watch = None


def settle(workflow: Any, id: str, state: str, why: str) -> bool:
    """Report the end of a job to Snakemake's executor.

    The executor removes jobs from its list while it polls them, so no end is reported twice.

    Args:
        workflow: Snakemake's workflow.
        id: the job's id in Slurm.
        state: its final state.
        why: the explanation for the user if the job failed.

    Returns:
        Whether the executor waited for this job.
    """
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


def _set_status_command(command: str, settings: Any) -> None:
    """Set the command by which the executor polls jobs.

    Args:
        command: squeue or sacct.
        settings: the executor's.

    Raises:
        UserError: the command does not work with job arrays, which the user requested.
    """
    if command == "sacct" and settings.array_jobs:
        raise UserError(
            "--slurm-array-jobs: Snakemake looks at jobs by sacct here, since Slurm forgets them soon (MinJobAge) or "
            "--slurm-status-command says so, and by sacct its executor confuses the tasks of an array. Leave "
            "--slurm-array-jobs out: the parts are then jobs of their own."
        )
    settings.status_command = command


def _show_usage(since: datetime, jobs: Iterable[Any], folder: Path) -> None:
    source = "of jobs that ended well; accounting knows nothing of the others"
    try:
        uses = usage.read_accounting(folder, since)
    except UserError as error:
        uses, source = [], f"of jobs that ended well; accounting of the others failed: {error}"
    if uses:
        source = "by accounting"
    else:
        uses = [use for job in jobs if (use := _by_benchmark(job, since))]
    table = usage.make_table(uses, source)
    if table:
        print(table, file=sys.stderr, flush=True)


def _by_benchmark(job: Any, since: datetime) -> usage.Use | None:
    """The use of a job by Snakemake's benchmark; None if it did not run in this run or requested no GPU."""
    path = Path(str(job.benchmark)) if job.benchmark else None
    if path is None or not path.is_file() or path.stat().st_mtime < since.timestamp():
        return None
    resources = job.resources
    # on several nodes the profile requests the GPUs of a training by `gres`, which counts those of one node
    gpus = resources.get("gpu", 0) or usage.gpus_in(str(resources.get("gres", ""))) * int(resources.get("nodes", 1))
    if not gpus:
        return None
    seconds = float(path.read_text(encoding="utf-8").splitlines()[1].split("\t")[0])
    return usage.Use(job.rule.name, int(gpus), 60.0 * resources.get("runtime", 0), seconds, done=True)


def _show_array_logs(since: datetime, folder: Path) -> None:
    """Print the folders with the logs of array tasks, since the executor's errors name files that do not exist."""
    logs = (folder / _LOGS).glob("rule_*/*_*.log")
    folders = sorted({str(log.parent) for log in logs if log.stat().st_mtime >= since.timestamp()})
    if folders:
        print(f"Logs of array tasks, JOB_TASK.log each: {', '.join(folders)}", file=sys.stderr, flush=True)
