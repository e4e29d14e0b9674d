"""A bundle packed here, unpacked elsewhere and run with no network and nothing of this machine's own in reach."""

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from errata.bundle.bundle import SYSTEM
from errata.environments.environment import MARKER, sha256
from helpers import REPOSITORY, read_jsonl

pytestmark = pytest.mark.slow

MODEL = "results/smollm2-135m"
TARGETS = [f"{MODEL}/retries/self.jsonl", f"{MODEL}/submission/base/test.jsonl"]
ISOLATE = ["unshare", "--net", "--mount"]
# Brings up loopback; `ip` may be missing.
LOOPBACK = """
import fcntl, socket, struct
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))
"""
NO_ROUTE = """
import errno, socket, sys
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
except OSError as error:
    sys.exit(0 if error.errno == errno.ENETUNREACH else f"not cut off: {error}")
sys.exit("not cut off")
"""


def why_not() -> str | None:
    """Why no process can be cut off from the network here, None if it can."""
    if os.geteuid() != 0:
        return "only root may make network and mount namespaces"
    if shutil.which("unshare") is None:
        return "there is no unshare (util-linux)"
    trial = subprocess.run([*ISOLATE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    return None if trial.returncode == 0 else f"unshare does not work here: {trial.stderr.strip()}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Several GB are written here; it goes when the tests are done."""
    path = tmp_path_factory.mktemp("bundle")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def checkout(folder: Path, environment: Callable[[str], Path]) -> Path:
    """A copy of the project with the small configuration and the repository's environments and models.

    Those of trainer and quantizer are empty ones: 2 GB that no target here asks for need not be copied twice.
    """
    path = folder / "checkout"
    (path / "config").mkdir(parents=True)
    shutil.copy2(REPOSITORY / "Snakefile", path)
    for name in ["workflow", "data", "envs", "profiles"]:
        shutil.copytree(REPOSITORY / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "config" / "prompts", path / "config" / "prompts")
    (path / "slurm").symlink_to("profiles/slurm")
    small = Path(__file__).with_name("pipeline.yaml").read_text().replace("{train: 10, test: 6}", "{train: 6, test: 4}")
    (path / "config" / "config.yaml").write_text(small)
    (REPOSITORY / "models").mkdir(exist_ok=True)
    (path / "models").symlink_to(REPOSITORY / "models")
    (path / ".envs").mkdir()
    for name in ["serve-cpu", "workflow"]:
        (path / ".envs" / name).symlink_to(environment(name).parents[1])
    for name in ["train-cpu", "quantize-cpu"]:
        venv.create(path / ".envs" / name, symlinks=True)
        (path / ".envs" / name / MARKER).write_text(sha256(path / f"envs/{name}.txt"))
    return path


@pytest.fixture(scope="module")
def unpacked(folder: Path, checkout: Path) -> Path:
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", "bundle"]
    run = subprocess.run(command, cwd=checkout, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-5000:]
    print(re.findall(r"^results/bundle/errata\.tar.*$", run.stdout + run.stderr, re.MULTILINE))
    archive = checkout / "results/bundle/errata.tar"
    place = folder / "cluster"
    place.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", place], check=True)
    archive.unlink()
    return place / "errata"


class Cluster:
    """A machine with no network, without repository, environments, caches and Python of the one that packed."""

    def __init__(self, home: Path, checkout: Path) -> None:
        base = Path(sys.base_prefix)
        hidden = [REPOSITORY, checkout, Path.home() / ".cache", *([] if base in SYSTEM else [base])]
        self._mounts = "".join(f"mount -t tmpfs none '{path}'\n" for path in hidden if path.is_dir())
        self._environment = {
            "HOME": str(home),
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
        }
        home.mkdir()

    def run(self, folder: Path, script: str) -> str:
        """What a shell script prints there."""
        (folder / "isolated.sh").write_text(
            f"set -eu\n'{sys.executable}' -c '{LOOPBACK}'\n{self._mounts}cd '{folder}'\n{script}\n"
        )
        done = subprocess.run(
            [*ISOLATE, "sh", folder / "isolated.sh"],
            cwd="/",
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout[-8000:]
        return done.stdout


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_a_bundle_runs_where_nothing_can_be_downloaded(unpacked: Path, checkout: Path, folder: Path) -> None:
    cluster = Cluster(folder / "home", checkout)
    said = cluster.run(unpacked, "sh envs/unpack.sh")
    assert "Snakemake 9" in said
    assert "--profile slurm --configfile config/config.yaml" in said

    snakemake = ".envs/workflow/bin/snakemake --nocolor --profile profiles/local"
    python = ".envs/workflow/bin/python"
    targets = " ".join(TARGETS)
    said = cluster.run(unpacked, f"{python} -c '{NO_ROUTE}'\n{snakemake} -n {targets}\n{snakemake} {targets}")
    planned = said.partition("Job stats:\n")[2].partition("\n\n")[0]
    assert "answer " in planned
    assert "environment" not in planned
    assert "fetch" not in planned

    answers = read_jsonl(unpacked / MODEL / "answers/test.jsonl")
    assert len({row["id"] for row in answers}) == 4
    assert all(row["completion"] for row in answers)
    wrong = [row for row in read_jsonl(unpacked / MODEL / "answers/train.jsonl") if not row["correct"]]
    assert len(read_jsonl(unpacked / MODEL / "retries/self.jsonl")) == len(wrong) > 0
    assert not list((unpacked / "results/logs").glob("environment-*"))
    assert list((folder / "home").rglob("*.gguf")) == []

    # moved once more, with all that was made
    moved = unpacked.rename(folder / "moved")
    said = cluster.run(
        moved, f"sh envs/unpack.sh\n{snakemake} -n {targets}\n{snakemake.replace('profiles/local', 'slurm')} -n"
    )
    assert "Nothing to be done" in said
    assert "Using profile slurm" in said
