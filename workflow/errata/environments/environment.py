"""Step environment: build one locked environment of envs/ with uv."""

import argparse
import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from errata.core.errors import UserError
from errata.core.files import cannot_read, cannot_write, write_text

PYTHON = "3.11"  # the locks were resolved for it
# A file in the environment with the hash of its lock. The flag file is no place for the hash: it is a declared output,
# which Snakemake deletes before it runs the rule.
MARKER = "errata-lock.sha256"
# For each of pip's settings for package sources, the variable of uv. Variables set by the user override pip's settings.
UV_SOURCES = {
    "find-links": "UV_FIND_LINKS",
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
}
# Libraries that the steps import; see `_compile`.
LIBRARIES = (
    "snakemake.cli",
    "xllamacpp",
    "openai",
    "pandas",
    "scipy.stats",
    "matplotlib.pyplot",
    "transformers.models.llama.modeling_llama",
    "gptqmodel",
    "peft",
    "llamafactory.train.tuner",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lock", type=Path, required=True, help="hashed lock, e.g. envs/serve-cpu.txt")
    parser.add_argument("--prefix", type=Path, required=True, help="folder of the environment")
    parser.add_argument(
        "--flag", type=Path, required=True, help="file that is written last; contains the SHA-256 of the lock"
    )


def run(arguments: argparse.Namespace) -> None:
    build(arguments.lock, arguments.prefix, arguments.flag)


def build(lock: Path, prefix: Path, flag: Path) -> None:
    """Build an environment unless it exists, then write its flag file.

    The environment is built in a temporary folder and moved when it is complete, so an interrupted build leaves nothing
    that looks finished.

    Args:
        lock: the hashed lock.
        prefix: the folder of the environment.
        flag: the file to write; it contains the SHA-256 of the lock.

    Raises:
        UserError: there is no uv or no such lock, or uv cannot install it.
    """
    digest = sha256(lock)
    if not is_built(prefix, digest):
        uv = find_uv()
        environment = uv_environment()
        try:
            prefix.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(
                dir=prefix.parent, prefix=f".{prefix.name}.", ignore_cleanup_errors=True
            ) as scratch:
                fresh = Path(scratch) / prefix.name
                _install(uv, lock, fresh, environment)
                if environment.get("PYTHONDONTWRITEBYTECODE"):
                    _compile(lock, fresh, environment)
                (fresh / MARKER).write_text(digest + "\n", encoding="utf-8")
                if prefix.exists():
                    prefix.rename(Path(scratch) / "old")
                fresh.rename(prefix)
        except OSError as error:
            raise cannot_write(prefix, error) from error
    write_text(flag, digest + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise cannot_read(path, error) from error


def is_built(prefix: Path, digest: str) -> bool:
    """Whether a folder is a complete environment whose Python still starts.

    Args:
        prefix: the folder.
        digest: the SHA-256 of the environment's lock.
    """
    try:
        if (prefix / MARKER).read_text(encoding="utf-8").strip() != digest:
            return False
        # an upgrade of the machine may have removed its base interpreter
        return subprocess.run([prefix / "bin" / "python", "-c", ""], capture_output=True).returncode == 0
    except OSError:
        return False


def find_uv() -> list[str]:
    """The command that starts uv: from PATH, beside this Python, or as a module of this Python.

    Raises:
        UserError: uv is not installed.
    """
    beside = Path(sys.executable).parent / "uv"
    for candidate in (shutil.which("uv"), str(beside) if beside.exists() else None):
        if candidate:
            return [candidate]
    module = [sys.executable, "-m", "uv"]
    if subprocess.run([*module, "--version"], capture_output=True).returncode == 0:
        return module
    raise UserError(
        "uv: not found on PATH or beside the running Python. "
        "Install it (pip install uv), or start the workflow from the .venv that make builds, which contains it."
    )


def uv_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment variables for uv: `environ`, and pip's package sources if uv's own variables are unset.

    These are no options, since an index URL may contain a password, and other users can read command lines.
    """
    result = dict(environ)
    pip = pip_settings(environ)
    if not any(name in environ for name in (*UV_SOURCES.values(), "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")):
        for setting, variable in UV_SOURCES.items():
            if setting in pip:
                separator = "," if setting == "find-links" else " "
                result[variable] = separator.join(pip[setting].split())
        # pip takes the best version of all its indexes; the hashes of the lock refuse any other package
        if "extra-index-url" in pip:
            result.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    elif "UV_FIND_LINKS" not in environ and "find-links" in pip:
        result["UV_FIND_LINKS"] = ",".join(pip["find-links"].split())
    if "cert" in pip:
        result.setdefault("SSL_CERT_FILE", pip["cert"])
    return result


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """pip's settings from its files and variables: index-url, extra-index-url, find-links, cert.

    Empty without pip and without its variables.
    """
    pip = shutil.which("pip", path=environ.get("PATH"))
    command = [pip] if pip else [sys.executable, "-m", "pip"]
    listed = subprocess.run([*command, "config", "list"], capture_output=True, text=True, env=dict(environ))
    settings = parse_pip_settings(listed.stdout)
    for setting in (*UV_SOURCES, "cert"):
        value = environ.get("PIP_" + setting.upper().replace("-", "_"))
        if value:
            settings[setting] = value
    return settings


def parse_pip_settings(listing: str) -> dict[str, str]:
    """Read the output of `pip config list`. The later of two lines for one setting wins, as in pip.

    Variables (`:env:.`) come first but win over all others. Settings of `pip install` win over `global.`.
    """
    rank = {"global": 0, "install": 1, ":env:": 2}
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        match = re.fullmatch(r"(global|install|:env:)\.([\w-]+)=(.*)", line)
        if not match:
            continue
        section, setting, quoted = match.groups()
        try:
            value = ast.literal_eval(quoted)
        except (ValueError, SyntaxError):
            continue
        if setting not in found or rank[section] >= found[setting][0]:
            found[setting] = (rank[section], str(value))
    return {setting: value for setting, (_, value) in found.items()}


def torch_backend(lock_text: str, environment: Mapping[str, str]) -> str | None:
    """The index of torch's own builds that uv must use, such as "cpu".

    None if the lock pins PyPI's build of torch or no torch, if the user chose an index (`UV_TORCH_BACKEND`), or if a
    configured folder contains the wheel.

    Args:
        lock_text: the content of the lock.
        environment: the variables for uv.
    """
    match = re.search(r"^torch==([^+\s]+)\+(\w+)", lock_text, re.MULTILINE)
    if not match or environment.get("UV_TORCH_BACKEND"):
        return None
    version, backend = match.groups()
    for place in environment.get("UV_FIND_LINKS", "").split(","):
        folder = Path(place.removeprefix("file://"))
        if "://" in place.removeprefix("file://") or any(folder.glob(f"torch-{version}+{backend}-*.whl")):
            return None
    return backend


def _install(uv: Sequence[str], lock: Path, prefix: Path, environment: Mapping[str, str]) -> None:
    backend = torch_backend(lock.read_text(encoding="utf-8"), environment)
    create = [*uv, "venv", "--quiet", "--relocatable", "--python", PYTHON, str(prefix)]
    install = [*uv, "pip", "install", "--no-deps", "--require-hashes"]
    install += ["--python", str(prefix / "bin" / "python"), "--requirement", str(lock)]
    # a few packages are published only as sources; this pins their build requirements
    build = lock.parent / "build.txt"
    if build.exists():
        install += ["--build-constraint", str(build)]
    if backend is not None:
        install += ["--torch-backend", backend]
    for command in (create, install):
        status = subprocess.run(command, env=dict(environment), stdin=subprocess.DEVNULL).returncode
        if status != 0:
            raise UserError(
                f"{lock}: uv failed with status {status}, see its message above. If a package cannot be "
                "found, set UV_INDEX, UV_DEFAULT_INDEX or UV_FIND_LINKS (pip's settings count too). "
                f"If Python {PYTHON} is missing, install it."
            )


def _compile(lock: Path, prefix: Path, environment: Mapping[str, str]) -> None:
    """Import the libraries once, so that their bytecode is stored.

    Many containers set PYTHONDONTWRITEBYTECODE. Every process would then compile the libraries again, which takes 5 to
    7 s in steps that import torch. (uv's --compile-bytecode compiles all modules, which takes 38 s for the trainer.)
    """
    script = (
        "import importlib, sys\nfor name in sys.argv[1:]:\n try: importlib.import_module(name)\n except Exception: 0"
    )
    variables = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    variables["PYTHONPATH"] = str(lock.parent / "stubs")
    # errors are ignored: a library may be absent, or need a GPU, which login nodes lack
    subprocess.run(
        [prefix / "bin" / "python", "-c", script, *LIBRARIES],
        env=variables,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
