"""While Snakemake waits for Slurm: say why a job cannot start, and how jobs ended that its executor does not see."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from errata.cluster import slurm
from errata.cluster.recover import COMMAND
from errata.core.errors import UserError

_PAUSE = 60.0
_LOOKS = 3


@dataclass
class Watch:
    """Looks at the jobs of a folder again and again.

    Args:
        folder: where Snakemake runs.
        settle: tells Snakemake how a job (by its id) ended (in which state), and why it is told so; False where
            Snakemake does not wait for this job.
        pause: seconds between two looks.
    """

    folder: Path
    settle: Callable[[str, str, str], bool]
    pause: float = _PAUSE
    # how often in a row a job was not known that had not ended when it was seen last
    _missed: dict[str, int] = field(default_factory=dict)
    _rules: dict[str, str] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def start(self) -> None:
        """Look from a thread that ends with the process."""
        threading.Thread(target=self._look_on, daemon=True, name="errata-watch").start()

    def look(self) -> list[str]:
        """Look once: tell of jobs that cannot start, settle those that ended unseen, and give those that are gone.

        At three looks in a row Slurm lists a job no more, or as one that it ended itself (preempted by cancelling, its
        node failed) and does not start again: for such a job Snakemake's executor waits for ever. Where Slurm or
        accounting tells how it ended, Snakemake is told. Else it is gone: nobody can tell how it ended. That takes a
        Slurm without accounting, and a Snakemake that slept longer than Slurm remembers.
        """
        jobs = slurm.jobs_of(self.folder)
        for job in jobs:
            if job.hopeless:
                self._say_once(job.remedy)
        self._rules |= {job.id: job.rule for job in jobs}
        lost = {job.id: job.state for job in jobs if job.state in slurm.LOST}
        seen = {job.id for job in jobs} - lost.keys()
        missed = {id: times + 1 for id, times in self._missed.items() if id not in seen}
        ends = slurm.ended(missed.keys() - lost.keys()) | lost
        overdue = {id for id, times in missed.items() if times >= _LOOKS}
        settled = {id for id in overdue & ends.keys() if self._settle(id, ends[id])}
        # the executor has most of these seen itself: after so many looks all of them
        settled |= {id for id in ends if missed.get(id, 0) >= 2 * _LOOKS}
        watched = {job.id: 0 for job in jobs if job.active} | dict.fromkeys(lost, 0) | missed
        self._missed = {id: times for id, times in watched.items() if id not in settled}
        return sorted(overdue - ends.keys())

    def _settle(self, id: str, state: str) -> bool:
        job = f"job {id} of rule {self._rules[id]}"
        if state in slurm.LOST:
            why = (
                f"{job} is lost: {state}, and Slurm does not start it again. It counts as failed and is tried again if "
                "--retries allows; else run snakemake again. What it had answered or saved is kept."
            )
        else:
            why = f"{job} had ended ({state}, by accounting) and was forgotten by squeue before Snakemake looked."
        return self.settle(id, state, why)

    def _look_on(self) -> None:
        while True:
            time.sleep(self.pause)
            try:
                gone = self.look()
            # whatever it was, the next look may do: without this thread nobody would look any more
            except Exception as error:
                self._say_once(str(error) if isinstance(error, UserError) else repr(error))
                continue
            if gone:
                _say(
                    f"Slurm does not know {', '.join(gone)} any more, and Snakemake would wait for ever. It stops; "
                    f"run `{COMMAND}`, then snakemake again: what is finished is kept."
                )
                # as Ctrl-C does: Snakemake cancels what it can and ends
                os.kill(os.getpid(), signal.SIGINT)
                return

    def _say_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            _say(text)


def _say(text: str) -> None:
    print(f"watch: {text}", file=sys.stderr, flush=True)
