"""Watch the jobs while Snakemake waits for Slurm: report jobs that cannot start, and ends that its executor missed."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from errata.cluster import slurm
from errata.cluster.recover import COMMAND
from errata.core.errors import UserError

# Seconds between two looks.
_PAUSE = 60.0
# Looks in a row that must miss a job before it counts as ended.
_LOOKS = 3
# Seconds that `stop` waits for the current look.
_PATIENCE = 10.0


@dataclass
class Watch:
    """Looks at the jobs of a folder at intervals, in a separate thread.

    Args:
        folder: where Snakemake runs.
        settle: reports the end of a job to Snakemake, given the job's id, its state and an explanation. Returns False
            if Snakemake does not wait for this job.
        pause: seconds between two looks.
    """

    folder: Path
    settle: Callable[[str, str, str], bool]
    pause: float = _PAUSE
    # by id of a job that was active when it was last seen: the looks in a row that missed it since
    _missed: dict[str, int] = field(default_factory=dict)
    _rules: dict[str, str] = field(default_factory=dict)
    _reported: set[str] = field(default_factory=set)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. It ends with `stop` or with the process."""
        self._thread = threading.Thread(target=self._look_repeatedly, daemon=True, name="errata-watch")
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; the current look may end first."""
        self._stopped.set()
        if self._thread:
            self._thread.join(_PATIENCE)

    def look(self) -> list[str]:
        """Look once: report jobs that cannot start, and settle jobs whose end the executor missed.

        A job counts as ended if three looks in a row did not find it, or found that Slurm itself ended it (preempted by
        cancelling, node failed) without starting it again. Snakemake's executor would wait for such a job forever. If
        Slurm or accounting reports how the job ended, it is settled. Otherwise it is gone. This happens only without
        accounting, if Snakemake slept longer than Slurm remembers a job.

        Returns:
            The ids of the jobs that are gone.
        """
        jobs = slurm.jobs_of(self.folder)
        for job in jobs:
            if job.hopeless:
                self._report_once(job.remedy)
        self._rules |= {job.id: job.rule for job in jobs}
        lost = {job.id: job.state for job in jobs if job.state in slurm.LOST}
        seen = {job.id for job in jobs} - lost.keys()
        missed = {id: times + 1 for id, times in self._missed.items() if id not in seen}
        ends = slurm.find_ends(missed.keys() - lost.keys()) | lost
        overdue = {id for id, times in missed.items() if times >= _LOOKS}
        settled = {id for id in overdue & ends.keys() if self._settle(id, ends[id])}
        # the executor has seen the other ends itself by now
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
            why = f"{job} had ended ({state}, by accounting), and squeue forgot it before Snakemake looked."
        return self.settle(id, state, why)

    def _look_repeatedly(self) -> None:
        while not self._stopped.wait(self.pause):
            try:
                gone = self.look()
            # any error: the thread must survive, and the next look may succeed
            except Exception as error:
                self._report_once(str(error) if isinstance(error, UserError) else repr(error))
                continue
            if gone and not self._stopped.is_set():
                _report(
                    f"Slurm does not know {', '.join(gone)} any more, and Snakemake would wait forever. It stops; "
                    f"run `{COMMAND}`, then snakemake again: what is finished is kept."
                )
                # like Ctrl-C: Snakemake cancels its jobs and ends
                os.kill(os.getpid(), signal.SIGINT)
                return

    def _report_once(self, text: str) -> None:
        if text not in self._reported and not self._stopped.is_set():
            self._reported.add(text)
            _report(text)


def _report(text: str) -> None:
    print(f"watch: {text}", file=sys.stderr, flush=True)
