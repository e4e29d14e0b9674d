"""Steps side by side use separate GPUs. nvidia-smi is a stand-in; processes and locks are real."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines import Prepare, gone, pid, step, wait_for
from errata.core import gpus
from errata.core.errors import UserError
from errata.core.slurm_job import MARK
from servers import PATIENCE

# Reserves the given number of GPUs, prints them, starts a long-lived child, and keeps the GPUs until its input ends.
HOLD = """
import subprocess, sys
from errata.core import gpus
gpus._PAUSE = (0.01, 0.03)
count = int(sys.argv[1])
with gpus.reserve(count or None) as environment:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen(["sleep", "1000"], **quiet)
    print(environment["CUDA_VISIBLE_DEVICES"], child.pid, flush=True)
    sys.stdin.read()
"""


class Machine:
    """A machine whose nvidia-smi lists a number of GPUs that the test sets."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", MARK):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("ERRATA_GPU_LOCKS", str(folder / "locks"))
        monkeypatch.setattr("errata.core.gpus._PAUSE", (0.01, 0.03))
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        self._holders: list[subprocess.Popen[str]] = []
        self._children: list[int] = []

    def has(self, count: int, script: str = "") -> None:
        listed = "".join(f"{number}, GPU-{number}aaa-bbb\n" for number in range(count))
        (self.folder / "listed").write_text(listed)
        tool = self.folder / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script or f'cat {self.folder}/listed'}\n")
        tool.chmod(0o755)

    def hold(self, count: int) -> "subprocess.Popen[str]":
        """Start a process that reserves GPUs; 0 is all."""
        command = [sys.executable, "-c", HOLD, str(count)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        holder = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]
        self._holders.append(holder)
        return holder

    def visible(self, holder: "subprocess.Popen[str]") -> str:
        """Wait until the process has its GPUs, and return their names."""
        assert holder.stdout is not None
        visible, child = holder.stdout.readline().split()
        self._children.append(int(child))
        return str(visible)

    def free(self) -> list[str]:
        """The GPUs that one process could reserve now."""
        with gpus.reserve(1) as environment:
            return environment["CUDA_VISIBLE_DEVICES"].split(",")

    def clear(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.communicate()
        for child in self._children:
            os.kill(child, 9)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine(tmp_path, monkeypatch)
    machine.has(3)
    yield machine
    machine.clear()


def taken(count: int | None) -> dict[str, str]:
    with gpus.reserve(count) as environment:
        return environment


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 1),
        ({"tensor_parallel_size": 4}, 4),
        ({"tensor-parallel-size": 2, "pipeline_parallel_size": 2, "data_parallel_size": 2}, 8),
        ({"tensor_parallel_size": None, "max_model_len": 8192}, 1),
    ],
)
def test_a_server_takes_as_many_gpus_as_its_options_say(options: dict[str, object], count: int) -> None:
    assert gpus.count_gpus(options) == gpus.count_server_gpus("vllm", options) == count
    assert gpus.count_server_gpus("llamacpp", options) == gpus.count_server_gpus("endpoint", options) == 0


def test_each_process_gets_gpus_of_its_own_and_a_killed_one_gives_them_back_though_its_child_lives(
    machine: Machine,
) -> None:
    first = machine.hold(2)
    assert machine.visible(first) == "0,1"
    assert taken(1) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "2"}
    second = machine.hold(2)
    assert second.stderr is not None
    assert second.stderr.readline() == "waiting for 2 GPUs: 1 of 3 GPUs is free, other steps use the rest.\n"
    # while it waits, it holds none
    assert machine.free() == ["2"]
    first.kill()
    assert machine.visible(second) == "0,1"
    second.communicate()
    assert taken(None)["CUDA_VISIBLE_DEVICES"] == "0,1,2"


def test_jobs_that_want_several_gpus_never_wait_for_each_other_for_ever(machine: Machine) -> None:
    machine.has(4)
    using: set[str] = set()
    clashes: list[str] = []
    done: list[int] = []

    def work(count: int | None) -> None:
        for _ in range(3):
            with gpus.reserve(count) as environment:
                mine = set(environment["CUDA_VISIBLE_DEVICES"].split(","))
                clashes.extend(using & mine)
                using.update(mine)
                time.sleep(0.005)
                using.difference_update(mine)
        done.append(1)

    threads = [threading.Thread(target=work, args=(count,), daemon=True) for count in (3, 2, 1, 3, None)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (len(done), clashes) == (len(threads), [])


@pytest.mark.usefixtures("machine")
def test_more_gpus_than_the_machine_has_are_an_error_and_none_is_kept() -> None:
    with pytest.raises(UserError, match=r"needs 4 GPUs, the machine has 3\. Lower tensor_parallel_size"):
        taken(4)
    assert taken(None)["CUDA_VISIBLE_DEVICES"] == "0,1,2"


@pytest.mark.parametrize("count", [1, 2, None])
@pytest.mark.parametrize("why", ["slurm", "no tool", "broken tool", "assigned", "none assigned"])
def test_where_nothing_is_to_be_chosen_everything_is_left_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, why: str, count: int | None
) -> None:
    match why:
        case "slurm":
            monkeypatch.setenv("SLURM_JOB_ID", "7")
            monkeypatch.setenv(MARK, "1")
        case "no tool":
            monkeypatch.setenv("PATH", str(machine.folder / "nowhere"))
        case "broken tool":
            machine.has(3, "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
        case "assigned":
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        case "none assigned":
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert taken(count) == {}
    assert not (machine.folder / "locks").exists()


@pytest.mark.usefixtures("machine")
def test_steps_side_by_side_in_a_users_own_slurm_job_take_their_own_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm gave them to Snakemake, not to one step."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with gpus.reserve(1) as mine:
        assert mine["CUDA_VISIBLE_DEVICES"] == "0"
        assert taken(1)["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.usefixtures("machine")
def test_a_server_on_the_cpu_takes_none() -> None:
    assert taken(0) == {}


@pytest.mark.parametrize(
    ("assigned", "first", "second"),
    [("2,0", "2", "0"), ("GPU-1aaa-bbb,GPU-2", "GPU-1aaa-bbb", "GPU-2"), ("0, 1,2", "0", "1")],
)
@pytest.mark.parametrize("slurm", [False, True])
@pytest.mark.usefixtures("machine")
def test_of_more_gpus_than_needed_that_were_assigned_each_process_takes_its_own(
    monkeypatch: pytest.MonkeyPatch, assigned: str, first: str, second: str, slurm: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", assigned)
    if slurm:
        monkeypatch.setenv("SLURM_JOB_ID", "7")
    with gpus.reserve(1) as mine:
        assert mine == {"CUDA_VISIBLE_DEVICES": first}
        assert taken(1) == {"CUDA_VISIBLE_DEVICES": second}


@pytest.mark.usefixtures("machine")
def test_a_part_of_a_gpu_that_was_assigned_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-0aaa,MIG-1aaa")
    assert taken(1) == {}


@pytest.mark.usefixtures("machine")
def test_a_folder_of_somebody_elses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    taken(1)
    owner = os.getuid()
    monkeypatch.setattr("os.getuid", lambda: owner + 1)
    with pytest.raises(UserError, match=r"locks: belongs to somebody else"):
        taken(1)


def test_servers_of_two_steps_see_one_gpu_each_and_the_step_itself_is_not_confined(
    machine: Machine, engine: Prepare, tmp_path: Path
) -> None:
    machine.has(2)
    server = engine(rules=[{"match": "Question", "replies": [{"content": "The answer is A", "delay": 1000}]}])
    with gpus.reserve(1), step(tmp_path) as process:
        wait_for(lambda: (server.folder / "pid").exists())
        environment = Path(f"/proc/{pid(server)}/environ").read_bytes().split(b"\0")
        assert b"CUDA_VISIBLE_DEVICES=1" in environment
        assert b"CUDA_DEVICE_ORDER=PCI_BUS_ID" in environment
        assert b"CUDA_VISIBLE_DEVICES=1" not in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        process.terminate()
        process.communicate(timeout=PATIENCE)
    gone(server)
    assert taken(None)["CUDA_VISIBLE_DEVICES"] == "0,1"
