"""Starting the trainer."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from errata.core.processes import running
from errata.training.distributed import World
from errata.training.job_time import Deadline
from errata.training.llamafactory import offline, thread_variables
from errata.training.work_folder import WorkFolder

GRACE, CONTINUATIONS = 25.0, 20


@dataclass(frozen=True)
class Launch:
    """How the trainer is started, and when it must stop.

    Attributes:
        command: is run in the work folder.
        world: the processes that the command starts.
        environment: variables in addition to those of errata.training.llamafactory.
        grace: seconds for a checkpoint after SIGTERM.
        deadline: the end of the job's time.
        continuations: how often a training may go on in a next job.
    """

    command: Sequence[str]
    world: World = field(default_factory=World)
    environment: Mapping[str, str] = field(default_factory=dict)
    grace: float = GRACE
    deadline: Deadline | None = None
    continuations: int = CONTINUATIONS

    @contextmanager
    def start(self, work: WorkFolder, lock: int) -> "Iterator[subprocess.Popen[bytes]]":
        """Run the trainer while the block lasts; at its end the trainer is killed if it still runs.

        Args:
            work: where the trainer works.
            lock: file descriptor of the folder's lock, which the trainer inherits.
        """
        environment = {
            **offline(os.environ, work.path),
            **thread_variables(os.environ, self.world.per_node),
            **self.environment,
        }
        with running(
            self.command,
            work.terminal_log,
            cwd=work.path,
            environment=environment,
            # short: errata.training.supervise has already waited
            patience=1.0,
            # Slurm sends SIGTERM to every process: torchrun must live on while its workers save a checkpoint
            ignored=[signal.SIGTERM] if self.world.needs_launcher else [],
            # srun must end by SIGTERM, so that it ends the processes of the other nodes
            parent_death_signal=signal.SIGKILL if self.world.nodes == 1 else signal.SIGTERM,
            pass_fds=[lock],
        ) as process:
            yield process
