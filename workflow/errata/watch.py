"""While Snakemake waits for Slurm: say why a job cannot start, and give up on jobs that nobody can tell of any more."""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from errata import slurm
from errata.errors import UserError
from errata.recover import COMMAND

_PAUSE = 60.0
_LOOKS = 3


@dataclass
class Watch:
    """Looks at the jobs of a folder again and again.

    Args:
        folder: where Snakemake runs.
        pause: seconds between two looks.
    """

    folder: Path
    pause: float = _PAUSE
    # how often in a row a job was not known that had not ended when it was seen last
    _missed: dict[str, int] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def start(self) -> None:
        """Look from a thread that ends with the process."""
        threading.Thread(target=self._look_on, daemon=True, name="errata-watch").start()

    def look(self) -> list[str]:
        """Look once: tell of jobs that cannot start, and give those that are gone.

        A job is gone when it had not ended and then Slurm does not know it at three looks in a row: it ended and was
        forgotten, so that nobody can tell Snakemake how. That takes a Slurm without accounting, and a Snakemake that
        slept longer than Slurm remembers.
        """
        jobs = slurm.jobs_of(self.folder)
        for job in jobs:
            if job.state == "PENDING" and job.reason.startswith(slurm.HOPELESS) and job.id not in self._told:
                self._told.add(job.id)
                _say(
                    f"job {job.id} of rule {job.rule} waits, and time alone will not start it: {job.reason}. "
                    f"See `scontrol show job {job.id}` and what profiles/slurm asks for."
                )
        told = {job.id for job in jobs}
        told |= slurm.ended(self._missed.keys() - told)
        missed = {id: times + 1 for id, times in self._missed.items() if id not in told}
        self._missed = missed | {job.id: 0 for job in jobs if job.active}
        return sorted(id for id, times in missed.items() if times >= _LOOKS)

    def _look_on(self) -> None:
        while True:
            time.sleep(self.pause)
            try:
                gone = self.look()
            except (UserError, OSError) as error:
                _say(str(error))
                continue
            if gone:
                _say(
                    f"Slurm does not know {', '.join(gone)} any more, and Snakemake would wait for ever. It stops; "
                    f"run `{COMMAND}`, then snakemake again: what is finished is kept."
                )
                # as Ctrl-C does: Snakemake cancels what it can and ends
                os.kill(os.getpid(), signal.SIGINT)
                return


def _say(text: str) -> None:
    print(f"watch: {text}", file=sys.stderr, flush=True)
