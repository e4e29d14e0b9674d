"""The checkpoints of a training under way, from which it can go on: `checkpoint-STEP` in the trainer's output folder.

A checkpoint is sealed when all processes of the trainer have written their parts: a file in it then lists all files
with their sizes. A checkpoint without a seal, or with a file of another size, is not used.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from errata.core.files import write_text

# In a sealed checkpoint: the number of processes, and the files with their sizes.
_SEAL = "complete.json"
# The trainer writes this file last, so a checkpoint of one process that has it is complete without a seal.
_STATE = "trainer_state.json"
_NEEDED = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")


class Checkpoint(NamedTuple):
    """A checkpoint after `step`, complete or not."""

    step: int
    path: Path


def find_checkpoints(output: Path) -> list[Checkpoint]:
    """All checkpoints in the trainer's output folder, complete or not, the oldest first."""
    found = (re.fullmatch(r"checkpoint-(\d+)", path.name) for path in output.glob("checkpoint-*"))
    return sorted(Checkpoint(int(match[1]), output / match[0]) for match in found if match)


def newest_checkpoint(output: Path) -> Checkpoint | None:
    """The newest complete checkpoint; None if there is none."""
    return next((checkpoint for checkpoint in reversed(find_checkpoints(output)) if _is_complete(checkpoint)), None)


def seal(checkpoint: Path, processes: int) -> None:
    """Mark a checkpoint as complete, once all processes of the trainer have written their parts."""
    paths = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in paths}
    write_text(checkpoint / _SEAL, json.dumps({"processes": processes, "files": sizes}) + "\n")


def count_processes(checkpoint: Checkpoint) -> int:
    """How many processes wrote a checkpoint."""
    return int((read_object(checkpoint.path / _SEAL) or {}).get("processes", 1))


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is none, or only a part of one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _is_complete(checkpoint: Checkpoint) -> bool:
    state = read_object(checkpoint.path / _STATE)
    if state is None or state.get("global_step") != checkpoint.step:
        return False
    sizes = (read_object(checkpoint.path / _SEAL) or {}).get("files")
    if not isinstance(sizes, dict):
        return all((checkpoint.path / name).is_file() for name in _NEEDED)
    # A node that loses its power may keep the names of files without their contents.
    return all(_size(checkpoint.path / name) == size for name, size in sizes.items())


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
