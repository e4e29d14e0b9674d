"""A bundle that was unpacked: its environments are adapted to their new place."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bundles import write
from errata.bundle import relocate
from errata.core.errors import UserError
from errata.environments import environment
from helpers import REPOSITORY


@pytest.fixture
def moved(project: Path, tmp_path: Path) -> Path:
    """An environment whose base interpreter is gone."""
    (project / ".envs/workflow/bin/python").unlink()
    (project / ".envs/workflow/bin/python").symlink_to("/gone/bin/python")
    return project.rename(tmp_path / "elsewhere")


def test_an_environment_gets_this_python_as_its_base(moved: Path) -> None:
    prefix = moved / ".envs" / "workflow"
    digest = environment.sha256(moved / "envs/workflow.txt")
    assert not environment.is_built(prefix, digest)
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    for _ in range(2):
        relocate.set_interpreter(prefix, base, moved)
        assert relocate.describe_interpreter(prefix).startswith("Python 3.")
    assert f"home = {base.parent}\n" in (prefix / "pyvenv.cfg").read_text()
    assert sorted(path.name for path in (prefix / "bin").iterdir()) == ["python", "python3"]
    # rule environment takes it for built, and needs no uv
    assert environment.is_built(prefix, digest)


def test_an_interpreter_inside_is_linked_so_that_the_folder_can_be_moved(moved: Path) -> None:
    prefix = moved / ".envs" / "workflow"
    relocate.set_interpreter(prefix, moved / ".envs" / "python" / "bin" / "python3.11", moved)
    assert (prefix / "bin" / "python").readlink() == Path("../../python/bin/python3.11")


def test_another_python_is_refused(moved: Path) -> None:
    path = moved / ".envs" / "workflow" / "pyvenv.cfg"
    path.write_text(path.read_text().replace(f"version_info = {sys.version_info.major}", "version_info = 2"))
    with pytest.raises(UserError, match=r"is for Python 2\.\d+, this is 3.*unpack\.sh --python"):
        relocate.set_interpreter(path.parent, Path(sys.executable), moved)


def test_an_environment_that_does_not_start_is_reported(moved: Path) -> None:
    with pytest.raises(UserError, match="does not start"):
        relocate.describe_interpreter(moved / ".envs" / "workflow")


def test_another_machine_is_recognized() -> None:
    made = relocate.Manifest("1.0", "abc", "2026-01-01", "x86_64", "glibc 2.36", [], [])
    assert not relocate.check_machine(made, "x86_64", "glibc 2.36")
    assert not relocate.check_machine(made, "x86_64", "glibc 2.40")
    assert relocate.check_machine(made, "x86_64", "glibc 2.9")
    with pytest.raises(UserError, match="This machine is aarch64"):
        relocate.check_machine(made, "aarch64", "glibc 2.36")
    with pytest.raises(UserError, match="not glibc"):
        relocate.check_machine(made, "x86_64", "unknown")


def test_libraries_that_do_not_load_are_listed(moved: Path) -> None:
    prefix = moved / ".envs" / "workflow"
    relocate.set_interpreter(prefix, Path(sys._base_executable), moved)  # type: ignore[attr-defined]
    assert relocate.find_faults([prefix]) == ["all of them load"]
    (packages,) = prefix.glob("lib/python*/site-packages")
    write(packages / "peft.py", "raise ImportError('GLIBC_2.36 not found')")
    assert relocate.find_faults([prefix]) == ["workflow: peft: GLIBC_2.36 not found"]


@pytest.fixture
def bare_path(tmp_path: Path) -> Callable[[str], str]:
    """Make a PATH with the fewest programs, and with a Python that runs a given script."""

    def path(python: str) -> str:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in ("dirname", "env"):
            (folder / name).symlink_to(shutil.which(name) or "")
        if python:
            write(folder / "python3.11", f"#!/bin/sh\n{python}\n").chmod(0o755)
        return str(folder)

    return path


@pytest.mark.parametrize(
    ("python", "flags", "message"),
    [
        ("", [], "No Python 3.11 with its whole standard library was found"),
        ("echo no ssl >&2; exit 1", [], "No Python 3.11"),
        ("", ["--python", "/bin/false"], "/bin/false cannot be used"),
        ("", ["--pyton"], "usage: sh envs/unpack.sh"),
        ('[ "$1" = -c ] || echo "with $@ in $PYTHONPATH"', [], "with -m errata relocate in workflow"),
    ],
)
def test_unpack_finds_a_python_or_says_what_to_do(
    tmp_path: Path, bare_path: Callable[[str], str], python: str, flags: list[str], message: str
) -> None:
    script = write(tmp_path / "errata" / "envs" / "unpack.sh", (REPOSITORY / "envs" / "unpack.sh").read_text())
    done = subprocess.run(
        ["/bin/sh", script, *flags], env={"PATH": bare_path(python)}, capture_output=True, text=True, cwd="/"
    )
    assert message in done.stdout + done.stderr
    assert (done.returncode == 0) == message.startswith("with")
