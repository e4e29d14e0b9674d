"""The processes of a training: how many, how they are started, and how they meet."""

import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.config.validation import validate
from errata.core.errors import Faults, UserError
from errata.core.slurm_job import MARK
from errata.training import distributed
from errata.training.distributed import World

# A user's own job, and one that this workflow submitted.
USERS = {"SLURM_JOB_ID": "123", "SLURM_JOB_NUM_NODES": "2", "SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "gpu[1-2]"}
JOB = {**USERS, MARK: "1"}


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_one_process_for_each_gpu_of_all_nodes() -> None:
    assert distributed.world({}, None, 0) == World()
    assert distributed.world({}, None, 8) == World(per_node=8, gpus=8)
    assert distributed.world({}, 2, 0).processes == 2
    # a step of one node within a job of two
    assert distributed.world(JOB, None, 8).processes == 16
    assert distributed.world({"SLURM_NNODES": "2"}, None, 1).nodes == 1, "variables of Slurm without a job"
    # the local profile inside a user's own job leaves the job's other nodes alone
    world = distributed.world(USERS, None, 8)
    assert (world.nodes, world.processes) == (1, 8)
    assert "srun" not in distributed.command(world, USERS)
    with pytest.raises(UserError, match=r"distributed\.processes: 4, but the job has 2 GPUs"):
        distributed.world({}, 4, 2)


def test_a_single_process_needs_a_launcher_only_if_it_sees_several_gpus() -> None:
    assert distributed.command(World(), {})[1:] == ["-m", "errata.training.trainer_process", "train.yaml"]
    assert not distributed.environment("zero3", World(), on_cpu=False)
    assert distributed.settings("zero3", {}, World(), on_cpu=True) == {}
    assert option(distributed.command(World(gpus=2), {}), "--nproc-per-node") == "1"


def test_one_node_meets_on_loopback_at_a_port_that_the_kernel_chooses() -> None:
    command = distributed.command(World(per_node=2), {})
    assert command[1:3] == ["-m", "torch.distributed.run"]
    assert option(command, "--rdzv-endpoint") == "127.0.0.1:0"
    assert option(command, "--nproc-per-node") == "2"
    # torchrun must not kill its workers for a signal that all processes get
    assert "SIGTERM" not in option(command, "--signals-to-handle")
    assert command[-3:] == ["-m", "errata.training.trainer_process", "train.yaml"]


def test_several_nodes_meet_at_the_first_one() -> None:
    world = distributed.world({**JOB, "SLURM_CPUS_PER_TASK": "16"}, None, 4)
    command = distributed.command(world, {**JOB, "SLURM_CPUS_PER_TASK": "16"}, lambda nodes: f"first-of-{nodes}")
    srun = command[: command.index("torch.distributed.run") - 2]
    wanted = ["srun", "--overlap", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=16"]
    assert srun == [*wanted, "--kill-on-bad-exit=1"]
    assert option(command, "--nnodes") == "2"
    assert option(command, "--rdzv-endpoint") == "first-of-gpu[1-2]:20123"
    assert option(command, "--rdzv-id") == "errata-123"
    assert "--local-addr" not in command
    assert option(distributed.command(world, JOB, lambda _: "127.0.0.1"), "--local-addr") == "127.0.0.1"


@given(st.integers(1, 10**8), st.integers(1, 9999))
def test_jobs_meet_at_different_ports(job: int, later: int) -> None:
    ports = {distributed.rendezvous_port(str(number)) for number in (job, job + later)}
    assert len(ports) == 2
    assert all(1024 < port < 32768 for port in ports), "the kernel gives out the others"


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scontrol that prints the files beside it."""
    path = tmp_path / "scontrol"
    path.write_text('#!/bin/sh\ncat "$(dirname "$0")/$2"\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "hostnames").write_text("no-such-node.invalid\nother\n")
    (tmp_path / "node").write_text("NodeName=gpu1 CPUTot=8\n   NodeAddr=127.0.0.2 NodeHostName=gpu1\n")
    return tmp_path


def test_the_first_node_is_found_by_its_name_else_by_its_address_in_slurm(
    scontrol: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"127.0.0.2", "gpu7"}

    def resolve(name: str, port: object) -> None:
        if name not in known:
            raise socket.gaierror(name, port)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert distributed.node_address("x") == "127.0.0.2"
    (scontrol / "node").write_text("")
    assert distributed.node_address("x") == "127.0.0.1"
    (scontrol / "hostnames").write_text("gpu7\n")
    assert distributed.node_address("x") == "gpu7"
    (scontrol / "hostnames").unlink()
    with pytest.raises(UserError, match="no answer"):
        distributed.node_address("x")


def test_settings_of_each_strategy() -> None:
    assert distributed.settings("ddp", {}, World(per_node=2), on_cpu=True) == {"ddp_backend": "gloo"}
    assert distributed.settings("ddp", {}, World(per_node=2), on_cpu=False) == {}
    assert distributed.settings("ddp", {}, World(nodes=2), on_cpu=False) == {"data_shared_file_system": True}
    for stage in (2, 3):
        zero = distributed.settings(f"zero{stage}", {}, World(per_node=8), on_cpu=False)["deepspeed"]
        assert zero["zero_optimization"]["stage"] == stage
        # the trainer's own settings decide these
        batch = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
        assert {zero[key] for key in (*batch, "gradient_clipping")} == {"auto"}
        assert zero["bf16"]["enabled"] == zero["fp16"]["enabled"] == "auto"
    # without this key no checkpoint would contain the adapter
    assert zero["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert distributed.settings("fsdp", {}, World(per_node=8), on_cpu=False)["fsdp"] == "full_shard auto_wrap"
    assert distributed.settings("zero3", {"deepspeed": {"a": 1}}, World(per_node=8), on_cpu=False) == {}
    assert distributed.environment("fsdp", World(per_node=2), on_cpu=False)["ACCELERATE_USE_FSDP"] == "true"
    with pytest.raises(UserError, match="fsdp needs GPUs"):
        distributed.settings("fsdp", {}, World(per_node=2), on_cpu=True)


@pytest.mark.parametrize(
    ("section", "train", "fault"),
    [
        ({"strategy": "zero3"}, {"quantization_bit": 8}, "train.quantization_bit: 8 bits cannot be sharded by zero3"),
        ({"strategy": "fsdp"}, {"quantization_bit": 8}, "8 bits cannot be sharded by fsdp"),
        ({"strategy": "zero3"}, {"pure_bf16": True}, "train.pure_bf16"),
        ({}, {"deepspeed": {}}, "train.deepspeed: only with distributed.strategy zero2 or zero3"),
        ({"strategy": "zero2"}, {"fsdp": "full_shard"}, "train.fsdp: only with distributed.strategy fsdp"),
        ({"strategy": "zero2"}, {"deepspeed": "z.json"}, "train.deepspeed: give the settings themselves"),
        ({"strategy": "mpi"}, {}, "distributed.strategy: 'mpi' is not one of ddp, zero2, zero3, fsdp"),
    ],
)
def test_contradictions_are_refused(section: dict[str, Any], train: dict[str, Any], fault: str) -> None:
    config = {
        "dataset": {"train": "a", "test": "b"},
        "models": {"m": {"source": "org/model", "engine": "vllm"}},
        "hardware": "cuda",
    }
    validate({**config, "distributed": {"strategy": "zero3"}, "train": {"quantization_bit": 4}})
    with pytest.raises(Faults) as refused:
        validate({**config, "distributed": section, "train": train})
    assert len(refused.value.faults) == 1
    assert fault in refused.value.faults[0]


def test_sharding_needs_gpus() -> None:
    config = {"dataset": {"train": "a", "test": "b"}, "models": {"m": {"source": "org/model"}}}
    with pytest.raises(Faults, match=r"distributed\.strategy: zero2 needs GPUs; with hardware cpu use ddp"):
        validate({**config, "distributed": {"strategy": "zero2"}})


def test_the_first_worker_to_fail_gives_the_reason(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("start\n[rank1]: Traceback\n[rank0]: other\n[rank1]: ValueError: why\nChildFailedError: no reason\n")
    assert distributed.failure_excerpt(log) == "Traceback\nValueError: why"
    log.write_text("ValueError: alone\n")
    assert distributed.failure_excerpt(log) == "ValueError: alone"
    # before the processes know their ranks
    report = (
        "Traceback (most recent call last):\n  raise ChildFailedError(\nerrors.ChildFailedError: \n====\n[0]: why not\n"
    )
    log.write_text(f"Traceback (most recent call last):\nValueError: no bf16\n{report}")
    assert distributed.failure_excerpt(log) == "Traceback (most recent call last):\nValueError: no bf16"


@pytest.mark.parametrize(
    ("strategy", "bits", "dtype", "refused"),
    [
        ("fsdp", 4, "float32", True),
        ("fsdp", 4, "bfloat16", False),
        ("fsdp", None, "float32", False),
        ("zero3", 4, "float32", False),
    ],
)
def test_a_base_that_fsdp_cannot_shard_is_refused_before_it_is_loaded(
    strategy: str, bits: int | None, dtype: str, refused: bool
) -> None:
    configuration = {"bf16": True, "quantization_bit": bits}
    if refused:
        with pytest.raises(UserError, match="Use strategy zero3, or a base checkpoint in bfloat16"):
            distributed.check_base(strategy, configuration, World(1, 2, 2), dtype)
    else:
        distributed.check_base(strategy, configuration, World(1, 2, 2), dtype)
    distributed.check_base(strategy, configuration, World(1, 1, 1), dtype)
