"""The work folder of a training under way: its lock, what is trained there, and the files of the trainer.

The step and the trainer's processes share the folder, and tell each other by files in it when to stop.
"""

import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from errata.core.errors import UserError
from errata.core.files import remove, write_text
from errata.core.locks import LockTaken, exclusive
from errata.models import checkpoints as base_checkpoints
from errata.training.alpaca import dataset_entry
from errata.training.distributed import World
from errata.training.llamafactory import to_yaml
from errata.training.messages import say
from errata.training.runs import RUNS_FILE, TrainingTime
from errata.training.trainer_checkpoints import (
    Checkpoint,
    count_processes,
    find_checkpoints,
    newest_checkpoint,
    read_object,
)
from errata.training.trainer_log import LOG, cut_log, read_log


class Stop(NamedTuple):
    """Where the trainer stopped on request: after `step` of `total` steps."""

    step: int
    total: int


@dataclass(frozen=True)
class WorkFolder:
    """The folder, and the paths in it."""

    path: Path

    @property
    def output(self) -> Path:
        """Folder that the trainer writes to."""
        return self.path / "output"

    @property
    def terminal_log(self) -> Path:
        """What the trainer prints."""
        return self.path / "train.log"

    @property
    def steps_log(self) -> Path:
        """The trainer's own log, see errata.training.trainer_log."""
        return self.output / LOG

    @property
    def runs(self) -> Path:
        return self.path / RUNS_FILE

    @property
    def configuration(self) -> Path:
        """LLaMA-Factory's."""
        return self.path / "train.yaml"

    @property
    def stop_file(self) -> Path:
        """Made by the step: the trainer must save a checkpoint and stop."""
        return self.path / "stop"

    @property
    def training_file(self) -> Path:
        """Made by the trainer when it begins with steps; before that it loads the model and has nothing to save."""
        return self.path / "training"

    @property
    def stopped_file(self) -> Path:
        """Written by the trainer when it has stopped on request."""
        return self.path / "stopped.json"

    @property
    def _lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def _fingerprint_file(self) -> Path:
        return self.path / "fingerprint"

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Keep the folder for this process, and for the trainer, which may outlive this process.

        Gives a file descriptor: a child that inherits it keeps the lock.

        Raises:
            UserError: another process trains here.
        """
        with ExitStack() as locks:
            try:
                file = locks.enter_context(
                    exclusive(
                        self._lock_file,
                        advice="let no two trainings use this folder at once",
                        shared_with_children=True,
                    )
                )
            except LockTaken as error:
                raise UserError(
                    f"{self.path}: another training uses this folder: {self._lock_holder()}. "
                    "Wait for it or stop it, then run again."
                ) from error
            _write_holder(file)
            yield file.fileno()

    def _lock_holder(self) -> str:
        """Who has the lock, by its file."""
        try:
            owner = json.loads(self._lock_file.read_text(encoding="utf-8"))
            job = f", Slurm job {owner['job']}" if owner["job"] else ""
            return f"process {owner['process']} on {owner['host']}{job}"
        except (OSError, ValueError, KeyError, TypeError):
            return "its lock file does not say which"

    def prepare(self, configuration: Mapping[str, Any], base: Path, dataset: Path, world: World) -> int:
        """Make the folder ready for a run; return the step after which the training goes on, 0 for the beginning.

        Checkpoints of another training, or of another number of processes that the user set, are removed.

        Args:
            configuration: LLaMA-Factory's keys.
            base: folder of the checkpoint to train from.
            dataset: training set.

        Raises:
            UserError: the checkpoints here were made with another number of GPUs.
        """
        mark = fingerprint(configuration, dataset, base)
        if not self._is_marked(mark):
            if find_checkpoints(self.output):
                say(
                    "the checkpoints there belong to another training (settings, data or base changed): "
                    "starting from the beginning"
                )
            self.clear()
        write_text(self._fingerprint_file, mark)
        newest = newest_checkpoint(self.output)
        if newest and not self._fits(newest, world):
            self.clear()
            write_text(self._fingerprint_file, mark)
            newest = None
        self._cut_back_to(newest)
        for path in (self.stop_file, self.training_file, self.stopped_file, self.terminal_log):
            remove(path)
        entries = {dataset.stem: dataset_entry(str(dataset.resolve()), configuration.get("stage", "sft"))}
        write_text(self.path / "dataset_info.json", json.dumps(entries, indent=2) + "\n")
        write_text(self.configuration, to_yaml(configuration))
        return newest.step if newest else 0

    def _is_marked(self, mark: str) -> bool:
        path = self._fingerprint_file
        return path.is_file() and path.read_text(encoding="utf-8") == mark

    def _fits(self, checkpoint: Checkpoint, world: World) -> bool:
        """Whether these processes can go on from a checkpoint.

        Another number of processes makes other batches, so the checkpoint's place in the data would be wrong.
        """
        before, now = count_processes(checkpoint), world.processes
        if before == now:
            return True
        if not world.configured:
            raise UserError(
                f"{checkpoint.path}: {before} processes trained up to here and this job has {now}, which would make "
                f"other batches. Run again on {before} GPUs, or delete {self.path} to start from the beginning on "
                f"{now}."
            )
        say(
            f"the checkpoints there are of {before} processes, and distributed.processes is now {now}: "
            "starting from the beginning"
        )
        return False

    def _cut_back_to(self, newest: Checkpoint | None) -> None:
        """Remove what the trainer wrote after its newest complete checkpoint."""
        if newest is None:
            remove(self.output)
            return
        cut_log(self.steps_log, newest.step)
        for checkpoint in find_checkpoints(self.output):
            if checkpoint.step > newest.step:
                remove(checkpoint.path)
        say(f"resuming after step {newest.step}")

    def request_stop(self) -> bool:
        """Ask the trainer to save a checkpoint and stop; False while it still loads the model."""
        if not self.training_file.exists():
            return False
        self.stop_file.touch()
        return True

    def find_stop(self) -> Stop | None:
        """Where the trainer stopped on request; None if it did not."""
        record = read_object(self.stopped_file)
        return None if record is None else Stop(int(record["step"]), int(record["total"]))

    def newest_step(self) -> int:
        """The step of the newest complete checkpoint, 0 if there is none."""
        newest = newest_checkpoint(self.output)
        return newest.step if newest else 0

    def training_time(self, start: int, *, finished: bool = False) -> TrainingTime:
        """The seconds in which the last run made its steps, by the trainer's own clock.

        This clock starts with the first step of each run, so loading the model does not count. A finished run states
        its exact time. For other runs the log is read: the trainer adds an entry when it stops on request; a run that
        failed or was killed may have gone on for an unknown time after its last entry.

        Args:
            start: the step after which the run started; entries of later steps are its own.
            finished: the run came to the end of the training.
        """
        if not self.training_file.exists():
            return TrainingTime(0.0)
        exact = (read_object(self.output / "all_results.json") or {}).get("train_runtime") if finished else None
        if isinstance(exact, int | float):
            return TrainingTime(float(exact))
        logged = [
            entry.seconds for entry in read_log(self.steps_log) if entry.step > start and entry.seconds is not None
        ]
        complete = bool(logged) and (finished or self.stopped_file.exists())
        return TrainingTime(max(logged, default=0.0), at_least=not complete)

    def clear(self) -> None:
        """Remove everything but the lock, which this process has."""
        for path in self.path.iterdir():
            if path != self._lock_file:
                remove(path)

    def delete(self) -> None:
        """Remove the folder, unless another process has started to use it meanwhile."""
        self.clear()
        self._lock_file.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()


def _write_holder(file: FileIO) -> None:
    owner = {"host": socket.gethostname(), "process": os.getpid(), "job": os.environ.get("SLURM_JOB_ID")}
    os.ftruncate(file.fileno(), 0)
    file.write(json.dumps(owner).encode() + b"\n")


def fingerprint(configuration: Mapping[str, Any], dataset: Path, base: Path) -> str:
    """Identity of a training: the trainer's version and configuration, the data, and the base model."""
    digest = hashlib.sha256()
    with suppress(PackageNotFoundError):
        digest.update(version("llamafactory").encode())
    digest.update(json.dumps(dict(configuration), sort_keys=True).encode())
    for path in (dataset, base / "config.json", base / "tokenizer.json"):
        digest.update(path.read_bytes() if path.is_file() else b"")
        digest.update(b"\0")
    digest.update(base_checkpoints.weights_digest(base).encode())
    return digest.hexdigest()
