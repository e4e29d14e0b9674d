"""The processes of a training, on the GPUs of one node or of several: how they are started and set up.

The effective batch is per_device_train_batch_size x gradient_accumulation_steps x processes.
"""

import json
import re
import socket
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errata.cluster import slurm
from errata.core.errors import UserError
from errata.core.processes import tail
from errata.core.slurm_job import own_slurm_job

_ZERO = Path(__file__).parent / "zero"
_TRAINER = ("-m", "errata.training.trainer_process", "train.yaml")


@dataclass(frozen=True)
class World:
    """The processes of a training.

    Attributes:
        nodes: each runs one launcher.
        per_node: trainer processes on each node.
        gpus: GPUs of this node that the trainer sees.
        configured: whether the configuration sets the number of processes, rather than the hardware.
    """

    nodes: int = 1
    per_node: int = 1
    gpus: int = 0
    configured: bool = False

    @property
    def processes(self) -> int:
        return self.nodes * self.per_node

    @property
    def needs_launcher(self) -> bool:
        """Whether torchrun starts the trainer. Without it, a trainer that sees several GPUs refuses to use only one."""
        return self.processes > 1 or self.gpus > 1


def world(environ: Mapping[str, str], processes: int | None, gpus: int) -> World:
    """The processes for this job: on all nodes of a job that this workflow submitted, else on this node alone.

    Args:
        environ: environment variables.
        processes: on each node; None for one for each GPU.
        gpus: GPUs of this node that the trainer sees.

    Raises:
        UserError: more processes than GPUs.
    """
    if gpus and processes and processes > gpus:
        raise UserError(
            f"distributed.processes: {processes}, but the job has {gpus} GPU{'s' * (gpus > 1)} a node. "
            "Ask for more in the profile (gpu), or omit the key: then each GPU gets a process."
        )
    # within a step, SLURM_NNODES counts the nodes of the step and not those of the job
    nodes = environ.get("SLURM_JOB_NUM_NODES") or environ.get("SLURM_NNODES") or "1"
    return World(int(nodes) if own_slurm_job(environ) else 1, processes or max(1, gpus), gpus, processes is not None)


def count_visible_gpus() -> int:
    """How many GPUs this process sees."""
    import torch

    return int(torch.cuda.device_count())


def settings(strategy: str, given: Mapping[str, Any], world: World, *, on_cpu: bool) -> dict[str, Any]:
    """LLaMA-Factory's keys for a strategy; none for a single process, which shares nothing.

    Args:
        strategy: how the processes share the training, see `errata.config.trainer_keys.STRATEGIES`.
        given: the user's keys, which win.

    Raises:
        UserError: the strategy needs GPUs and there are none.
    """
    if world.processes == 1:
        return {}
    if on_cpu and strategy != "ddp":
        # accelerate would silently not use FSDP
        raise UserError(f"distributed.strategy: {strategy} needs GPUs. On a CPU use ddp.")
    ours: dict[str, Any] = {"ddp_backend": "gloo"} if on_cpu else {}
    if world.nodes > 1:
        # all nodes share the cache of tokenized data: one process fills it, not one on each node
        ours["data_shared_file_system"] = True
    if strategy.startswith("zero"):
        ours["deepspeed"] = json.loads((_ZERO / f"{strategy}.json").read_text(encoding="utf-8"))
    elif strategy == "fsdp":
        ours["fsdp"] = "full_shard auto_wrap"
        # one process reads the weights and sends the others their parts
        ours["fsdp_config"] = {"cpu_ram_efficient_loading": True, "sync_module_states": True, "use_orig_params": True}
    return {name: value for name, value in ours.items() if name not in given}


def check_base(strategy: str, configuration: Mapping[str, Any], world: World, dtype: str) -> None:
    """Check the base's number format, on which FSDP would fail only after all GPUs have loaded the base.

    Args:
        configuration: all of LLaMA-Factory's keys.
        dtype: number format of the base, by its configuration.

    Raises:
        UserError: FSDP cannot shard the base.
    """
    compute = "bfloat16" if configuration.get("bf16") else "float16"
    if strategy == "fsdp" and world.processes > 1 and configuration.get("quantization_bit") == 4 and dtype != compute:
        raise UserError(
            f"distributed.strategy: fsdp shards 4-bit weights only beside others in {compute}; the base is {dtype}. "
            f"Use strategy zero3, or a base checkpoint in {compute}."
        )


def environment(strategy: str, world: World, *, on_cpu: bool) -> dict[str, str]:
    """Environment variables of the trainer's processes."""
    variables: dict[str, str] = {}
    if not world.needs_launcher:
        return variables
    if on_cpu:
        if world.nodes == 1:
            variables["GLOO_SOCKET_IFNAME"] = "lo"
    else:
        # as LLaMA-Factory's own launcher does
        variables |= {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "TORCH_NCCL_AVOID_RECORD_STREAMS": "1"}
    if strategy == "fsdp" and world.processes > 1:
        # As accelerate's launcher does. The variables must be set when the model is loaded, before accelerate is.
        variables |= {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
        # the adapter is written to one file
        variables["FSDP_STATE_DICT_TYPE"] = "FULL_STATE_DICT"
    return variables


def command(world: World, environ: Mapping[str, str], first_node: Callable[[str], str] | None = None) -> list[str]:
    """The command that starts the trainer in the work folder.

    Args:
        environ: environment variables.
        first_node: gives the address of the first node of a list in Slurm's notation.
    """
    if not world.needs_launcher:
        return [sys.executable, *_TRAINER]
    # Without SIGTERM: Slurm sends it to every process, and torchrun would then kill its workers after 30 s.
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(world.nodes)]
    torchrun += ["--nproc-per-node", str(world.per_node), "--max-restarts", "0", "--signals-to-handle", "SIGINT"]
    if world.nodes == 1:
        # port 0: the kernel gives the listening socket a free port, so two trainings never use the same one
        return [
            *torchrun,
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"),
            *_TRAINER,
        ]
    job = environ["SLURM_JOB_ID"]
    address = (first_node or node_address)(environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST", ""))
    srun = ["srun", "--overlap", f"--nodes={world.nodes}", f"--ntasks={world.nodes}", "--ntasks-per-node=1"]
    srun += [f"--cpus-per-task={environ['SLURM_CPUS_PER_TASK']}"] if environ.get("SLURM_CPUS_PER_TASK") else []
    # the nodes meet at the first one, at a port that depends on the job's number
    endpoint = f"{address}:{rendezvous_port(job)}"
    local = ["--local-addr", address] if address.startswith("127.") else []
    return [
        *(*srun, "--kill-on-bad-exit=1"),
        *torchrun,
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", f"errata-{job}", *local),
        *_TRAINER,
    ]


def failure_excerpt(log: Path) -> str:
    """The lines of the trainer's output that say why it failed: at most the last 25.

    torchrun ends the output with a report without a reason. The reason is in what the first failing worker printed
    before that; its lines begin with its rank once the processes have found each other.
    """
    lines = tail(log, 1000).split("\n")
    ranks = [match[0] for line in lines if (match := re.match(r"\[rank\d+\]: ", line))]
    if ranks:
        excerpt = [line.removeprefix(ranks[0]) for line in lines if line.startswith(ranks[0])]
    else:
        excerpt = _without_report(lines)
    return "\n".join(excerpt[-25:])


def _without_report(lines: list[str]) -> list[str]:
    """Leave out torchrun's own traceback, the last one before its report, if another traceback comes before it."""
    reports = [number for number, line in enumerate(lines) if "ChildFailedError" in line]
    before = lines[: reports[-1]] if reports else []
    tracebacks = [number for number, line in enumerate(before) if line.startswith("Traceback ")]
    return lines[: tracebacks[-1]] if len(tracebacks) > 1 else lines


def rendezvous_port(job: str) -> int:
    """A port for a job, below the range from which the kernel chooses; jobs in a row get different ports."""
    number = int(job) if job.isdecimal() else zlib.crc32(job.encode())
    return 20000 + number % 10000


def node_address(nodes: str) -> str:
    """The address of the first node of a list: its name, else its address in Slurm, else this machine's.

    Args:
        nodes: in Slurm's notation, e.g. "gpu[1-2]".

    Raises:
        UserError: Slurm does not know the nodes.
    """
    name = (_scontrol("show", "hostnames", nodes) or "").split("\n")[0].strip()
    if not name:
        raise UserError(f"scontrol show hostnames {nodes}: no answer, so the nodes of this job cannot find each other.")
    found = re.search(r"\bNodeAddr=(\S+)", _scontrol("show", "node", name) or "")
    for address in [name, *([found[1]] if found else [])]:
        try:
            socket.getaddrinfo(address, None)
        except OSError:
            continue
        return address
    return "127.0.0.1"


def _scontrol(*words: str) -> str | None:
    """What scontrol prints; None if it fails."""
    try:
        return slurm.ask("scontrol", *words)
    except UserError:
        return None
