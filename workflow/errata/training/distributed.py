"""A training on several GPUs, of one node or of several: what is started, and what LLaMA-Factory is told.

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
_TRAINER = ("-m", "errata.training.trainer", "train.yaml")


@dataclass(frozen=True)
class World:
    """The processes of a training.

    Attributes:
        nodes: one launcher runs on each.
        each: trainer processes a node.
        gpus: GPUs of this node that the trainer sees.
        chosen: the configuration says how many processes, not the hardware.
    """

    nodes: int = 1
    each: int = 1
    gpus: int = 0
    chosen: bool = False

    @property
    def processes(self) -> int:
        return self.nodes * self.each

    @property
    def launched(self) -> bool:
        """Whether torchrun is needed: a bare trainer that sees several GPUs would refuse to use one of them."""
        return self.processes > 1 or self.gpus > 1


def world(environ: Mapping[str, str], processes: int | None, gpus: int) -> World:
    """The processes for this job: one for each of its GPUs unless told otherwise, on all nodes of a job of ours.

    Raises:
        UserError: more processes than GPUs.
    """
    if gpus and processes and processes > gpus:
        raise UserError(
            f"distributed.processes: {processes}, but the job has {gpus} GPU{'s' * (gpus > 1)} a node. "
            "Ask for more in the profile (gpu), or leave the key out: then each GPU gets a process."
        )
    # within a step SLURM_NNODES counts the nodes of the step, not those of the job
    nodes = environ.get("SLURM_JOB_NUM_NODES") or environ.get("SLURM_NNODES") or "1"
    return World(int(nodes) if own_slurm_job(environ) else 1, processes or max(1, gpus), gpus, processes is not None)


def settings(strategy: str, given: Mapping[str, Any], world: World, *, on_cpu: bool) -> dict[str, Any]:
    """LLaMA-Factory's keys for a strategy; none for a process alone, which has nothing to share.

    Args:
        given: the user's keys, which win.
    """
    if world.processes == 1:
        return {}
    if on_cpu and strategy != "ddp":
        # accelerate would leave FSDP out without a word
        raise UserError(f"distributed.strategy: {strategy} needs GPUs. On a CPU use ddp.")
    ours: dict[str, Any] = {"ddp_backend": "gloo"} if on_cpu else {}
    if world.nodes > 1:
        # their cache of tokenized data is the same folder: one process of all fills it, not one of each node
        ours["data_shared_file_system"] = True
    if strategy.startswith("zero"):
        ours["deepspeed"] = json.loads((_ZERO / f"{strategy}.json").read_text(encoding="utf-8"))
    elif strategy == "fsdp":
        ours["fsdp"] = "full_shard auto_wrap"
        # one process reads the weights and hands the others their parts
        ours["fsdp_config"] = {"cpu_ram_efficient_loading": True, "sync_module_states": True, "use_orig_params": True}
    return {name: value for name, value in ours.items() if name not in given}


def check_base(strategy: str, configuration: Mapping[str, Any], world: World, dtype: str) -> None:
    """Raise a UserError where FSDP would fail on the base's number format, after all GPUs have loaded it.

    Args:
        configuration: all of LLaMA-Factory's keys.
        dtype: of the base, as its configuration says.
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
    if not world.launched:
        return variables
    if on_cpu:
        if world.nodes == 1:
            variables["GLOO_SOCKET_IFNAME"] = "lo"
    else:
        # what LLaMA-Factory's own launcher sets
        variables |= {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "TORCH_NCCL_AVOID_RECORD_STREAMS": "1"}
    if strategy == "fsdp" and world.processes > 1:
        # what accelerate's launcher sets: it must be known when the model is loaded, before accelerate is
        variables |= {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
        # an adapter is one file, whoever wrote it
        variables["FSDP_STATE_DICT_TYPE"] = "FULL_STATE_DICT"
    return variables


def command(world: World, environ: Mapping[str, str], first_node: Callable[[str], str] | None = None) -> list[str]:
    """What starts the trainer, to be run in the work folder.

    Args:
        first_node: gives the address of the first of a list of nodes as Slurm writes it.
    """
    if not world.launched:
        return [sys.executable, *_TRAINER]
    # SIGTERM: Slurm sends it to every process at once. torchrun would kill its workers 30 s later; it has to wait.
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(world.nodes)]
    torchrun += ["--nproc-per-node", str(world.each), "--max-restarts", "0", "--signals-to-handle", "SIGINT"]
    if world.nodes == 1:
        # port 0: the kernel gives a free one to the very socket that listens, so two trainings never meet
        return [
            *torchrun,
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"),
            *_TRAINER,
        ]
    job = environ["SLURM_JOB_ID"]
    address = (first_node or node_address)(environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST", ""))
    srun = ["srun", "--overlap", f"--nodes={world.nodes}", f"--ntasks={world.nodes}", "--ntasks-per-node=1"]
    srun += [f"--cpus-per-task={environ['SLURM_CPUS_PER_TASK']}"] if environ.get("SLURM_CPUS_PER_TASK") else []
    # the nodes look for each other at the first one, at a port that the job's number says
    endpoint = f"{address}:{rendezvous_port(job)}"
    local = ["--local-addr", address] if address.startswith("127.") else []
    return [
        *(*srun, "--kill-on-bad-exit=1"),
        *torchrun,
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", f"errata-{job}", *local),
        *_TRAINER,
    ]


def last_words(log: Path) -> str:
    """The end of the trainer's log, for an error message.

    torchrun ends with a report that names no reason: the first of its workers to fail said it before, each line with
    its rank once the processes have found each other.
    """
    lines = tail(log, 1000).split("\n")
    ranks = [match[0] for line in lines if (match := re.match(r"\[rank\d+\]: ", line))]
    if ranks:
        spoken = [line.removeprefix(ranks[0]) for line in lines if line.startswith(ranks[0])]
    else:
        reports = [at for at, line in enumerate(lines) if "ChildFailedError" in line]
        raised = (
            [at for at, line in enumerate(lines[: reports[-1]]) if line.startswith("Traceback ")] if reports else []
        )
        spoken = lines[: raised[-1]] if len(raised) > 1 else lines
    return "\n".join(spoken[-25:])


def rendezvous_port(job: str) -> int:
    """A port for a job, below those that the kernel gives out by itself; jobs in a row get different ones."""
    number = int(job) if job.isdecimal() else zlib.crc32(job.encode())
    return 20000 + number % 10000


def node_address(nodes: str) -> str:
    """The address of the first of a list of nodes: its name, else what Slurm knows it by, else this machine.

    Raises:
        UserError: Slurm does not say which nodes they are.
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
    """What scontrol prints; None where it cannot tell."""
    try:
        return slurm.ask("scontrol", *words)
    except UserError:
        return None
