"""A real Slurm on this machine: munge, slurmctld and one slurmd a pretended node, with accounting if wanted.

Nodes declare more cores, memory and GPUs than there are; jobs are real, and so are limits on time and memory.
Everything listens on loopback, lives in one folder and is gone after `stop`. Needs root, and Debian's packages, which
`install` gets.
"""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ETC = Path("/etc/slurm")
PACKAGES = ["slurmctld", "slurmd", "slurm-client", "munge", "slurmdbd", "mariadb-server"]
# That a daemon has to end by itself.
_TERM_SECONDS = 10.0


@dataclass(frozen=True)
class Node:
    name: str
    cpus: int
    mem_mb: int
    gpu: str = ""
    gpus: int = 0


NODES = (
    Node("cpu1", 64, 512_000),
    Node("gpu1", 128, 1_000_000, "a100", 8),
    Node("gpu2", 128, 2_000_000, "h200", 8),
    Node("gpu3", 128, 1_000_000, "a100", 8),
)


def why_not() -> str:
    """Why there can be no Slurm of our own here; empty if there can."""
    if os.geteuid() != 0:
        return "starting a Slurm of our own needs root"
    if any(path.exists() and not path.is_symlink() for path in (ETC / "slurm.conf", ETC / "gres.conf")):
        return f"this machine has a Slurm already ({ETC}/slurm.conf), which is left alone"
    if shutil.which("apt-get") is None and shutil.which("slurmctld") is None:
        return "no Slurm here, and no apt-get to install Debian's"
    return ""


def install() -> None:
    """Install Debian's packages of Slurm where they are missing; their services are not started."""
    if all(map(shutil.which, ("slurmctld", "slurmd", "squeue", "munged", "slurmdbd", "mariadbd"))):
        return
    # started by hand below, on loopback; a package that starts its service would take the ports
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    finally:
        if ours:
            policy.unlink()


@dataclass
class Lab:
    """One cluster.

    Args:
        folder: holds its configuration, state and logs.
        accounting: with slurmdbd, so that sacct works.
    """

    folder: Path
    accounting: bool = False
    nodes: Sequence[Node] = NODES
    _started: list[Path] = field(default_factory=list)

    def start(self) -> None:
        for name in ("etc", "run", "log", "state", "spool", "dev"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        os.environ["SLURM_CONF"] = str(self._etc("slurm.conf"))
        self._configure()
        self._start_munge()
        if self.accounting:
            self._start_accounting()
        self._daemon("slurmctld", ["slurmctld"])
        for node in self.nodes:
            self.start_node(node.name)

    def stop(self) -> None:
        """End every job and every daemon, and forget the configuration."""
        subprocess.run(["scancel", "--full", "--user=root"], capture_output=True)
        wait_until(lambda: not self.jobs("RUNNING", "COMPLETING", "PENDING"), 20, check=False)
        for pid in reversed(self._started):
            self._end(pid)
        for name in ("slurm.conf", "gres.conf", "cgroup.conf"):
            if (ETC / name).is_symlink() and (ETC / name).readlink() == self._etc(name):
                (ETC / name).unlink()
        os.environ.pop("SLURM_CONF", None)

    def start_node(self, name: str) -> None:
        """Start a node's slurmd and wait until it takes jobs."""
        (self.folder / "spool" / name).mkdir(exist_ok=True)
        self._daemon(f"slurmd-{name}", ["slurmd", "-N", name])

        def takes_jobs() -> bool:
            state = command("sinfo", "--noheader", "--nodes", name, "--format", "%T").split()
            if state and not set(state) <= {"idle", "mixed", "allocated", "completing"}:
                subprocess.run(["scontrol", "update", f"nodename={name}", "state=resume"], capture_output=True)
                return False
            return bool(state)

        wait_until(takes_jobs, 40)

    def kill_node(self, name: str) -> None:
        """A node fails: its slurmd, its steps and all that runs in them die at once; the controller is told."""
        pid = self._pid(f"slurmd-{name}")
        # at once, so that none of them sees another one's end: what asks would start a new server
        processes = _on_node(name) | {int(pid.read_text())}
        for how in (signal.SIGSTOP, signal.SIGKILL):
            for process in processes:
                _kill(process, how)
        pid.unlink(missing_ok=True)
        # the controller would find out by itself after SlurmdTimeout
        command("scontrol", "update", f"nodename={name}", "state=down", "reason=failed")

    def jobs(self, *states: str) -> list[dict[str, str]]:
        """The jobs that the controller knows, oldest first: id, state, and the comment that says their rule."""
        fields = {"id": "%i", "state": "%T", "comment": "%k"}
        shown = command("squeue", "--noheader", "--states=all", "--sort=i", f"--format={'|'.join(fields.values())}")
        rows = [dict(zip(fields, line.split("|"), strict=True)) for line in shown.splitlines()]
        return [row for row in rows if not states or row["state"] in states]

    def job(self, number: str) -> dict[str, str]:
        """Everything that the controller says about a job."""
        shown = command("scontrol", "--oneliner", "show", "job", number)
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def _etc(self, name: str) -> Path:
        return self.folder / "etc" / name

    def _pid(self, name: str) -> Path:
        return self.folder / "run" / f"{name}.pid"

    def _daemon(self, name: str, words: list[str]) -> None:
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        pid = self._pid(name)
        if pid not in self._started:
            self._started.append(pid)
        wait_until(lambda: pid.is_file() and pid.read_text().strip(), 20)

    def _end(self, pid: Path) -> None:
        try:
            number = int(pid.read_text())
        except (OSError, ValueError):
            return
        _kill(number, signal.SIGTERM)
        wait_until(lambda: not alive(number), _TERM_SECONDS, check=False)
        _kill(number, signal.SIGKILL)

    def _start_munge(self) -> None:
        key, socket_path = self._etc("munge.key"), self.folder / "run" / "munge.sock"
        if not key.exists():
            key.write_bytes(os.urandom(1024))
            key.chmod(0o400)
        words = ["munged", "--force", "--num-threads=4", f"--socket={socket_path}", f"--key-file={key}"]
        words += [f"--pid-file={self._pid('munged')}", f"--log-file={self.folder}/log/munged.log"]
        self._daemon("munged", [*words, f"--seed-file={self.folder}/run/munged.seed"])

    def _start_accounting(self) -> None:
        data, sock = self.folder / "mysql", self.folder / "run" / "mysqld.sock"
        if not (data / "mysql").exists():
            words = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db"]
            with (self.folder / "log" / "mysql-install.log").open("w") as log:
                subprocess.run(
                    [*words, "--auth-root-authentication-method=socket"],
                    check=True,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        words = ["mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={sock}"]
        words += ["--skip-networking", f"--pid-file={self._pid('mysqld')}", "--innodb-buffer-pool-size=64M"]
        with (self.folder / "log" / "mysqld.log").open("w") as log:
            subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._started.append(self._pid("mysqld"))
        client = ["mariadb", "--no-defaults", f"--socket={sock}", "-e", "CREATE DATABASE IF NOT EXISTS slurm_acct_db"]
        wait_until(lambda: subprocess.run(client, capture_output=True).returncode == 0, 60)
        settings = self._etc("slurmdbd.conf")
        settings.touch(0o600)
        settings.write_text(
            f"AuthType=auth/munge\nAuthInfo=socket={self.folder}/run/munge.sock\nDbdHost={_host()}\nDbdAddr=127.0.0.1\n"
            f"DbdPort={self._port(1)}\nSlurmUser=root\nPidFile={self._pid('slurmdbd')}\n"
            f"LogFile={self.folder}/log/slurmdbd.log\nStorageType=accounting_storage/mysql\nStorageHost=localhost\n"
            "StorageUser=root\nStorageLoc=slurm_acct_db\nCommunicationParameters=NoInAddrAny\n"
        )
        os.environ["MYSQL_UNIX_PORT"] = str(sock)
        self._daemon("slurmdbd", ["slurmdbd"])
        os.environ.pop("MYSQL_UNIX_PORT")
        add = ["sacctmgr", "--immediate", "--quiet", "add"]
        cluster = [*add, "cluster", "lab"]
        wait_until(lambda: "lab" in command("sacctmgr", "-n", "show", "cluster", check=False) or _run(cluster), 30)
        if "lab" not in command("sacctmgr", "-n", "show", "account", "lab"):
            command(*add, "account", "lab", "cluster=lab")
            command(*add, "user", "root", "account=lab", "defaultaccount=lab")

    def _port(self, offset: int) -> int:
        """Ports from a file, so that a cluster that is started again has the same ones."""
        file = self._etc("ports.json")
        if not file.exists():
            file.write_text(json.dumps(_free_ports(2 + len(self.nodes))))
        port: int = json.loads(file.read_text())[offset]
        return port

    def _configure(self) -> None:
        run, log = self.folder / "run", self.folder / "log"
        lines, gpus = [], []
        for number, node in enumerate(self.nodes):
            line = (
                f"NodeName={node.name} NodeHostname={_host()} NodeAddr=127.0.0.1 Port={self._port(2 + number)} "
                f"CPUs={node.cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={node.cpus} ThreadsPerCore=1 "
                f"RealMemory={node.mem_mb} State=UNKNOWN"
            )
            if node.gpus:
                line += f" Gres=gpu:{node.gpu}:{node.gpus}"
                for device in range(node.gpus):
                    path = self.folder / "dev" / f"{node.name}-{device}"
                    if not path.exists():
                        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
                files = f"{self.folder}/dev/{node.name}-[0-{node.gpus - 1}]"
                gpus.append(f"NodeName={node.name} AutoDetect=off Name=gpu Type={node.gpu} File={files}")
            lines.append(line)
        with_gpus = ",".join(node.name for node in self.nodes if node.gpus)
        without = ",".join(node.name for node in self.nodes if not node.gpus)
        partitions = [
            f"PartitionName=cpu Nodes={without} Default=YES MaxTime=INFINITE State=UP PriorityTier=10",
            f"PartitionName=gpu Nodes={with_gpus} MaxTime=2-00:00:00 State=UP PriorityTier=10",
            f"PartitionName=spot Nodes={with_gpus},{without} MaxTime=INFINITE State=UP PriorityTier=1",
        ]
        accounting = ["AccountingStorageType=accounting_storage/none"]
        if self.accounting:
            accounting = [
                "AccountingStorageType=accounting_storage/slurmdbd",
                "AccountingStorageHost=127.0.0.1",
                f"AccountingStoragePort={self._port(1)}",
                f"AccountingStoragePass={run}/munge.sock",
                "AccountingStorageTRES=gres/gpu,gres/gpu:a100,gres/gpu:h200",
            ]
        settings = f"""
ClusterName=lab
SlurmctldHost={_host()}(127.0.0.1)
SlurmctldPort={self._port(0)}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# a job whose node failed starts again when its old credential has expired
AuthInfo=socket={run}/munge.sock,cred_expire=10
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool/%n
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd-%n.pid
SlurmctldLogFile={log}/slurmctld.log
SlurmdLogFile={log}/slurmd-%n.log
# no cgroups in a container: processes are followed by their parents, memory is sampled
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
{chr(10).join(accounting)}
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2,requeue_delay=1
MinJobAge=7200
ReturnToService=2
SlurmctldTimeout=60
SlurmdTimeout=120
KillWait=20
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{chr(10).join([*lines, *partitions])}
"""
        self._etc("slurm.conf").write_text(settings)
        self._etc("gres.conf").write_text("\n".join([*gpus, ""]))
        self._etc("cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        # Snakemake's executor takes SLURM_CONF out of the jobs' environment: commands in them look here.
        ETC.mkdir(exist_ok=True)
        for name in ("slurm.conf", "gres.conf", "cgroup.conf"):
            (ETC / name).unlink(missing_ok=True)
            (ETC / name).symlink_to(self._etc(name))


def command(*words: str, check: bool = True) -> str:
    """What a command prints.

    Raises:
        AssertionError: it failed; with what it said.
    """
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def wait_until(condition: Callable[[], object], seconds: float, *, check: bool = True) -> bool:
    """Wait until something is so; whether it came to be.

    Args:
        seconds: what an idle machine needs at most. A busy one gets five times as long.
        check: fail if it did not come to be.
    """
    deadline = time.monotonic() + (5 * seconds if check else seconds)
    while not condition():
        if time.monotonic() > deadline:
            assert not check, f"waited {5 * seconds:.0f} s in vain"
            return False
        time.sleep(0.1)
    return True


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _on_node(name: str) -> set[int]:
    """The processes of the jobs on a node, and the daemons of their steps."""
    wanted, found = f"SLURMD_NODENAME={name}".encode(), set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                steps = {parent} if b"slurmstepd" in Path(f"/proc/{parent}/cmdline").read_bytes() else set()
                found |= {int(entry.name), *steps}
    return found


def _kill(pid: int, how: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, how)


def _run(words: list[str]) -> bool:
    return subprocess.run(words, capture_output=True).returncode == 0


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
