"""A copy of the project that runs on the test's Slurm."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from helpers import copy_run

MODEL = "results/smollm2-135m"
# Seconds for a run that takes a minute or two on an idle machine: only a fault takes longer, however busy this one is.
LONG = 1200


class Project:
    """A copy of the project in which Snakemake is started with the committed Slurm profile.

    Args:
        folder: of the copy.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "snakemake.log"
        # what sacct printed after the run
        self.accounted = ""
        self._mains: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, **variables: str) -> "subprocess.Popen[bytes]":
        """Start Snakemake; what it prints goes to the log."""
        words = ["--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "20"]
        with self.log.open("ab") as log:
            main = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("hasty.py"), *words, *arguments],
                cwd=self.folder,
                # nodes declare up to 128 cores, and a training starts a thread for each of its job's
                env={"OMP_THREAD_LIMIT": str(os.cpu_count()), **os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._mains.append(main)
        return main

    def run(self, *arguments: str, expected: int = 0, **variables: str) -> str:
        """Run Snakemake to its end, and give what it printed."""
        before = self.log.stat().st_size if self.log.exists() else 0
        main = self.start(*arguments, **variables)
        status = main.wait(LONG)
        shown = self.log.read_bytes()[before:].decode(errors="replace")
        assert status == expected, shown[-8000:]
        return shown

    def stop(self) -> None:
        for main in self._mains:
            if main.poll() is None:
                os.killpg(main.pid, signal.SIGKILL)
                main.wait()

    def copy(self, folder: Path) -> "Project":
        """The same with everything that it has made."""
        return Project(copy_run(self.folder, folder))

    def path(self, name: str) -> Path:
        return self.folder / MODEL / name
