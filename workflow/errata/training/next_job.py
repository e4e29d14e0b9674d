"""The next Slurm job of a training that is longer than a job: Slurm runs the same job again."""

import os
import subprocess
import time
from typing import NoReturn

from errata.core.errors import UserError
from errata.core.slurm_job import own_slurm_job
from errata.training.messages import say
from errata.training.runs import RunHistory
from errata.training.supervise import catch_signals

# Slurm ends a requeued job within seconds.
_WAIT = 300.0
_POLL = 0.5


def continue_in_next_job(history: RunHistory, start: int, end: int, limit: int) -> NoReturn:
    """Requeue this job, whose time is over, and wait until Slurm ends it.

    Args:
        history: the training's runs, this one included.
        start: the step after which this run started.
        end: the step of its newest checkpoint.
        limit: how often a training may go on in a next job.

    Raises:
        UserError: the run made no progress, the training took too many jobs, or Slurm refuses.
        SystemExit: Slurm ends the job.
    """
    if end <= start:
        raise UserError(
            f"No progress in the time given: the job's time ended before a step after step {start} could be saved. "
            "Raise `runtime` of rule train in the profile, or lower train.save_steps or the batch size, and run again: "
            f"{history.path.parent} keeps what there is."
        )
    if history.continuations > limit:
        raise UserError(
            f"This training went on in {limit} jobs (distributed.continuations) and is not finished. Raise `runtime` "
            f"of rule train in the profile, delete {history.path}, which counts them, and run again: it goes on after "
            f"step {end}."
        )
    job = own_slurm_job(os.environ)
    if job is None:
        raise UserError(f"The job's time is over. The next run goes on after step {end}.")
    with catch_signals() as caught:
        refusal = requeue(job)
        if refusal:
            raise UserError(
                f"The job's time is over and Slurm does not requeue job {job} ({refusal}). "
                f"The next run goes on after step {end}."
            )
        count = f"{history.continuations} of {limit}"
        say(f"the job's time is over: job {job} is requeued and goes on after step {end} ({count})")
        give_up = time.monotonic() + _WAIT
        while time.monotonic() < give_up:
            if caught.signal:
                raise SystemExit(128 + caught.signal)
            time.sleep(_POLL)
    raise UserError(f"Slurm requeued job {job} but did not end it. The next run goes on after step {end}.")


def requeue(job: str) -> str:
    """Put a job back into the queue; return why Slurm refuses, empty if it does not."""
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip() or f"status {done.returncode}"
