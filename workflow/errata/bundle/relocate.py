"""Step relocate: adapt the environments of an unpacked bundle to their new place. envs/unpack.sh finds a Python for it.

uv writes the full path of the base interpreter into two places of an environment: the link bin/python, and pyvenv.cfg.
The rest of an environment can be moved.
"""

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from errata.core.errors import UserError
from errata.core.files import cannot_write, write_text
from errata.environments.environment import LIBRARIES

MANIFEST = "errata-bundle.json"  # the file with the manifest of a bundle
INTERPRETER = ".envs/python"  # the interpreter that came with the bundle
SNAKEMAKE = Path(".envs/workflow/bin/snakemake")
STARTS = "import sys, bz2, ctypes, hashlib, lzma, sqlite3, ssl, zlib; print(sys.prefix)"
GLIBC = re.compile(r"glibc (\d+)\.(\d+)")


class Manifest(NamedTuple):
    """The origin and contents of a bundle, in the order of the file's keys.

    Attributes:
        errata: the version of Errata.
        revision: the project's git revision.
        made: time in ISO 8601.
        machine: the architecture of the machine that made the bundle, such as x86_64.
        libc: its C library, see `libc`.
        environments: names of the packed environments.
        configfiles: the files that the configuration was read from.
    """

    errata: str
    revision: str
    made: str
    machine: str
    libc: str
    environments: list[str]
    configfiles: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, default=Path(), help="the unpacked folder (default: the current one)")


def run(arguments: argparse.Namespace) -> None:
    root: Path = arguments.root.absolute()
    manifest = read_manifest(root)
    older = check_machine(manifest, platform.machine(), libc())
    base = Path(getattr(sys, "_base_executable", sys.executable))
    prefixes = [root / ".envs" / name for name in manifest.environments]
    for prefix in prefixes:
        set_interpreter(prefix, base, root)
        print(f"{prefix.relative_to(root)}: {describe_interpreter(prefix)}")
    if older:
        print(f"This machine has {libc()}, the bundle was made with {manifest.libc}: trying the libraries", flush=True)
        for fault in find_faults(prefixes):
            print(f"  {fault}")
    version = run_program([root / SNAKEMAKE, "--version"])
    words = ["--configfile", *manifest.configfiles] if manifest.configfiles else []
    command = shlex.join([str(SNAKEMAKE), "--profile", "slurm", *words])
    print(f"Snakemake {version.strip()} starts. From here on, in {root}: {command}")


def read_manifest(root: Path) -> Manifest:
    """The manifest of an unpacked bundle.

    Raises:
        UserError: `root` is not an unpacked bundle.
    """
    try:
        return Manifest(**json.loads((root / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{root}: not an unpacked bundle ({MANIFEST}: {error}).") from error


def libc() -> str:
    """The C library of this machine, such as "glibc 2.36"."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown"
    except (ValueError, OSError):
        return "unknown"


def check_machine(manifest: Manifest, machine: str, library: str) -> bool:
    """Check this machine's architecture and C library.

    Args:
        machine: the architecture of this machine.
        library: its C library, see `libc`.

    Returns:
        Whether the C library is older than that of the bundle, so that libraries may not load.

    Raises:
        UserError: the environments cannot run here.
    """
    if machine != manifest.machine:
        raise UserError(f"This machine is {machine}, the bundle was made on and for {manifest.machine}.")
    here, there = (GLIBC.fullmatch(text) for text in (library, manifest.libc))
    if there and not here:
        raise UserError(f"This machine's C library ({library}) is not glibc, which every environment needs.")
    return bool(here and there and tuple(map(int, here.groups())) < tuple(map(int, there.groups())))


def set_interpreter(prefix: Path, base: Path, root: Path) -> None:
    """Give an environment another base interpreter.

    Args:
        prefix: the environment.
        base: the program of the interpreter.
        root: the bundle; links inside it are relative.

    Raises:
        UserError: the environment needs another version of Python, or cannot be written.
    """
    path = prefix / "pyvenv.cfg"
    try:
        text = path.read_text(encoding="utf-8")
        made = re.search(r"^version_info = (\d+\.\d+)", text, re.MULTILINE)
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if made and made[1] != here:
            raise UserError(
                f"{prefix}: is for Python {made[1]}, this is {here} ({base}). "
                f"Load or install Python {made[1]} and run envs/unpack.sh --python /path/to/python{made[1]}."
            )
        text = re.sub(r"^home = .*$", lambda _: f"home = {base.parent}", text, count=1, flags=re.MULTILINE)
        text = re.sub(r"^version_info = .*$", f"version_info = {platform.python_version()}", text, flags=re.MULTILINE)
        target = os.path.relpath(base, prefix / "bin") if base.is_relative_to(root) else str(base)
        with tempfile.TemporaryDirectory(dir=prefix / "bin", prefix=".python.") as scratch:
            fresh = Path(scratch) / "python"
            fresh.symlink_to(target)
            fresh.replace(prefix / "bin" / "python")
        write_text(path, text)
    except OSError as error:
        raise cannot_write(prefix, error) from error


def describe_interpreter(prefix: Path) -> str:
    """Start an environment's Python, and describe its base interpreter.

    Raises:
        UserError: it does not start, or does not use this environment.
    """
    python = prefix / "bin" / "python"
    shown = run_program([python, "-c", STARTS]).strip()
    if Path(shown).resolve() != prefix.resolve():
        raise UserError(f"{python}: starts as {shown}. Is PYTHONHOME set? Unset it and run envs/unpack.sh again.")
    return f"Python {platform.python_version()}, {os.path.realpath(python)}"


def run_program(command: list[Path | str]) -> str:
    """Run a program, and return what it prints.

    Raises:
        UserError: it does not start, or fails.
    """
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=variables, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise UserError(f"{command[0]}: does not start ({error.strerror}).") from error
    if done.returncode != 0:
        raise UserError(
            f"{command[0]}: does not start: {done.stderr.strip()[-500:]}. Is the bundle unpacked completely? "
            "Try another Python of the same version with envs/unpack.sh --python PATH."
        )
    return done.stdout


def find_faults(prefixes: list[Path]) -> list[str]:
    """One message for each installed library that cannot be imported on this machine, or that all of them can be."""
    script = (
        "import importlib, importlib.util, sys\n"
        "for name in sys.argv[1:]:\n"
        " if importlib.util.find_spec(name.partition('.')[0]):\n"
        "  try: importlib.import_module(name)\n"
        "  except Exception as error: print(name, error, sep=': ')\n"
    )
    found = []
    for prefix in prefixes:
        lines = run_program([prefix / "bin" / "python", "-c", script, *LIBRARIES]).splitlines()
        found += [f"{prefix.name}: {line}" for line in lines]
    return found or ["all of them load"]
