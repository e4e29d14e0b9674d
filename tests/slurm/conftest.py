"""One Slurm for all these tests, and copies of the project that run on it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from answering import unask
from lab import Lab, command, install, wait_until, why_not
from project import Project

from helpers import REPOSITORY, copy_project


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Lab]]:
    """Start a cluster, with accounting or without; an earlier one is stopped before."""
    if reason := why_not():
        pytest.skip(reason)
    install()
    running: list[Lab] = []

    def start(accounting: bool) -> Lab:
        if running and running[-1].accounting == accounting:
            return running[-1]
        for lab in running:
            lab.stop()
        running.clear()
        lab = Lab(tmp_path_factory.mktemp("lab"), accounting=accounting)
        running.append(lab)
        lab.start()
        return lab

    yield start
    for lab in running:
        lab.stop()


@pytest.fixture
def lab(slurm: Callable[..., Lab]) -> Iterator[Lab]:
    """The cluster with accounting; a test leaves no job and no closed node behind."""
    lab = slurm(accounting=True)
    yield lab
    command("scancel", "--full", "--user=root", check=False)
    wait_until(lambda: not lab.jobs("PENDING", "RUNNING", "COMPLETING"), 60)


@pytest.fixture
def new_project(tmp_path: Path) -> Iterator[Callable[[Path], Project]]:
    """Copy the project, with this configuration in place of the laptop's."""
    made: list[Project] = []

    def new(configuration: Path) -> Project:
        project = Project(copy_project(tmp_path / f"errata-{len(made)}", configuration))
        made.append(project)
        return project

    yield new
    for project in made:
        project.stop()


@pytest.fixture
def copied(tmp_path: Path, whole: Project) -> Iterator[Project]:
    """A copy of the project in which the whole pipeline has run."""
    project = whole.copy(tmp_path / "errata")
    yield project
    project.stop()


@pytest.fixture
def unasked(copied: Project) -> Project:
    """The whole run without the answers of one split."""
    unask(copied)
    return copied


@pytest.fixture(scope="session")
def whole(
    slurm: Callable[..., Lab], environment: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """The whole pipeline as Slurm jobs, with the profile as it is committed, and on a CPU since there is no GPU.

    Its models are not really quantized: tests/slow does that, and the two jobs would take as long as all others.
    """
    slurm(accounting=True)
    folder = tmp_path_factory.mktemp("whole") / "errata"
    project = Project(copy_project(folder, REPOSITORY / "tests" / "slow" / "pipeline.yaml"))
    pretend_to_quantize(project, environment)
    print(project.run()[-20000:])
    # asked at once: a later test may start a cluster without accounting
    fields = "--format=State,WorkDir,Partition,ReqTRES,SubmitLine"
    project.accounted = command("sacct", "--allocations", "--parsable2", fields)
    return project


def pretend_to_quantize(project: Project, environment: Callable[[str], Path]) -> None:
    """Put a stand-in in the place of the quantizer's Python."""
    folder = project.folder / ".envs"
    folder.unlink()
    for name in ("serve-cpu", "train-cpu", "real-quantize-cpu"):
        built = environment(name.removeprefix("real-")).parents[1]
        folder.mkdir(exist_ok=True)
        (folder / name).symlink_to(built)
        shutil.copy2(built.with_suffix(".ok"), folder)
    stand_in = folder / "quantize-cpu" / "bin" / "python"
    stand_in.parent.mkdir(parents=True)
    shutil.copy2(Path(__file__).with_name("quantizer.sh"), stand_in)
