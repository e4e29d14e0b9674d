"""While Snakemake waits for Slurm: report jobs that cannot start, and settle those whose end its executor missed."""

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

_PAUSE = 60.0
_LOOKS = 3
# Seconds to wait for a look that is under way, when the watch stops.
_PATIENCE = 10.0


@dataclass
class Watch:
    """Looks at the jobs of a folder at intervals, from a thread of its own.

    Args:
        folder: where Snakemake runs.
        settle: reports the end of a job to Snakemake, given the job's id, its state and an explanation. Returns False
            if Snakemake does not wait for this job.
        pause: seconds between two looks.
    """

    folder: Path
    settle: Callable[[str, str, str], bool]
    pause: float = _PAUSE
    # looks in a row at which a job was missing that had not ended when it was seen last
    _missed: dict[str, int] = field(default_factory=dict)
    _rules: dict[str, str] = field(default_factory=dict)
    _reported: set[str] = field(default_factory=set)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Look from a thread until `stop`, at the longest until the process ends."""
        self._thread = threading.Thread(target=self._look_on, daemon=True, name="errata-watch")
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a look that is under way may end first."""
        self._stopped.set()
        if self._thread:
            self._thread.join(_PATIENCE)

    def look(self) -> list[str]:
        """Look once: report jobs that cannot start, settle those that ended unseen, and return those that are gone.

        A job is settled or gone if three looks in a row found it missing, or in a state in which Slurm ended it itself
        (preempted by cancelling, its node failed) and does not start it again: Snakemake's executor waits for such a
        job for ever. If Slurm or accounting knows how it ended, it is settled. Otherwise it is gone: nobody knows how
        it ended. That takes a Slurm without accounting, and a Snakemake that slept longer than Slurm remembers.
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
        # the executor has seen most of these itself: after so many looks all of them
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
        while not self._stopped.wait(self.pause):
            try:
                gone = self.look()
            # any error: the next look may succeed, and without this thread nobody would look
            except Exception as error:
                self._report_once(str(error) if isinstance(error, UserError) else repr(error))
                continue
            if gone and not self._stopped.is_set():
                _report(
                    f"Slurm does not know {', '.join(gone)} any more, and Snakemake would wait for ever. It stops; "
                    f"run `{COMMAND}`, then snakemake again: what is finished is kept."
                )
                # as Ctrl-C does: Snakemake cancels what it can and ends
                os.kill(os.getpid(), signal.SIGINT)
                return

    def _report_once(self, text: str) -> None:
        if text not in self._reported and not self._stopped.is_set():
            self._reported.add(text)
            _report(text)


def _report(text: str) -> None:
    print(f"watch: {text}", file=sys.stderr, flush=True)
