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
from errata.recover import submitted

_PAUSE = 60.0
# A job is told of by squeue a moment after sbatch has named it.
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
    # of earlier runs, or known to have ended: of a failed job Snakemake keeps the mark
    _settled: set[str] = field(default_factory=set)
    _missed: dict[str, int] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def start(self) -> None:
        """Look from a thread that ends with the process, at the jobs that are submitted from now on."""
        self._settled |= set(submitted(self.folder).values())
        threading.Thread(target=self._look_on, daemon=True, name="errata-watch").start()

    def look(self) -> list[str]:
        """Look once: tell of jobs that cannot start, and give those that are gone.

        A job is gone when Slurm has not known it at three looks in a row, while Snakemake waits for it still: it
        ended and was forgotten, so that nobody can tell how. That takes a Slurm without accounting, and a Snakemake
        that slept longer than Slurm remembers.
        """
        ids = set(submitted(self.folder).values()) - self._settled
        if not ids:
            return []
        jobs = slurm.known(ids, self.folder)
        for id, job in jobs.items():
            if not job.active:
                self._settled.add(id)
            if job.state == "PENDING" and job.reason.startswith(slurm.HOPELESS) and id not in self._told:
                self._told.add(id)
                _say(
                    f"job {id} of rule {job.rule} waits, and time alone will not start it: {job.reason}. "
                    f"See `scontrol show job {id}` and what profiles/slurm asks for."
                )
        self._missed = {id: self._missed.get(id, 0) + 1 for id in ids - set(jobs)}
        return sorted(id for id, times in self._missed.items() if times >= _LOOKS)

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
                    "run `python -m errata recover`, then snakemake again: what is finished is kept."
                )
                # as Ctrl-C does: Snakemake cancels what it can and ends
                os.kill(os.getpid(), signal.SIGINT)
                return


def _say(text: str) -> None:
    print(f"watch: {text}", file=sys.stderr, flush=True)
