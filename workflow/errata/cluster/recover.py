"""Step recover: after Snakemake was killed on Slurm, wait for its jobs, keep their results, and unlock the folder."""

import argparse
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64decode
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from errata.cluster import slurm
from errata.core.errors import UserError
from errata.core.files import write_json
from errata.core.places import PACKAGE

# Seconds between two polls of the jobs, and between two messages.
_PAUSE = 5.0
_MESSAGE_PAUSE = 300.0

# The command of this step, whether or not the package is installed in this Python.
COMMAND = f"PYTHONPATH={shlex.quote(str(PACKAGE))} {shlex.quote(sys.executable)} -m errata recover"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--directory", type=Path, default=Path(), help="where the workflow runs (default: the current folder)"
    )
    parser.add_argument("--cancel", action="store_true", help="cancel the remaining jobs instead of waiting for them")
    parser.add_argument("--force", action="store_true", help="a Snakemake on another machine is known to be gone")


def run(arguments: argparse.Namespace) -> None:
    """Prepare the folder so that `snakemake` can continue.

    Raises:
        UserError: a Snakemake still runs there, or may still run on another machine, or Slurm does not answer.
    """
    folder: Path = arguments.directory
    if arguments.force:
        for path in _marks_of_others(folder):
            path.unlink(missing_ok=True)
    refuse_beside_another_machine(folder)
    alive = running_snakemake(folder)
    if alive:
        raise UserError(f"Snakemake still runs in {folder.resolve()} (process {alive}): wait for it or stop it first.")
    if arguments.cancel:
        active = [job.id for job in active_jobs(folder)]
        if active:
            slurm.ask("scancel", *active)
            _say(f"cancelled: {', '.join(active)}")
    wait(folder)
    finished = find_unrecorded(folder)
    if finished:
        _snakemake(folder, "--cleanup-metadata", *finished)
        _say(f"kept, since their jobs ended well: {', '.join(finished)}")
    if locks(folder):
        _snakemake(folder, "--unlock")
        if locks(folder):
            raise UserError(f"{folder / '.snakemake' / 'locks'}: cannot be removed. Remove it by hand.")
        _say("the folder is unlocked")
    _say("run snakemake again: it continues from here")


def active_jobs(folder: Path) -> list[slurm.Job]:
    """The jobs of a folder's workflow that wait or run."""
    return [job for job in slurm.jobs_of(folder) if job.active]


def wait(folder: Path) -> None:
    """Wait until no job of the folder waits or runs."""
    last_message = -_MESSAGE_PAUSE
    hopeless: set[str] = set()
    while active := active_jobs(folder):
        for job in active:
            if job.hopeless and job.id not in hopeless:
                hopeless.add(job.id)
                _say(f"{job.remedy} `scancel {job.id}` ends it.")
        if time.monotonic() - last_message >= _MESSAGE_PAUSE:
            last_message = time.monotonic()
            _say(f"waiting for {len(active)} jobs of the killed run: {', '.join(map(str, active))}; --cancel ends them")
        time.sleep(_PAUSE)


def find_unrecorded(folder: Path) -> list[str]:
    """Outputs that are newer than Snakemake's record of them: their jobs outlived Snakemake.

    The job itself has marked them as complete. The record is from an earlier run, perhaps with other parameters, so
    Snakemake would make the outputs again. Snakemake has a file for each output in .snakemake/metadata and, while the
    output is being made, in .snakemake/incomplete. The name of the file is the path of the output in base64.
    """
    metadata, started = folder / ".snakemake" / "metadata", folder / ".snakemake" / "incomplete"
    incomplete = {_output(record, started) for record in started.rglob("*") if record.is_file()}
    found = []
    for record in metadata.rglob("*"):
        with suppress(OSError, ValueError, TypeError, KeyError):
            ended = json.loads(record.read_text(encoding="utf-8"))["endtime"]
            output = _output(record, metadata)
            path = folder / output
            # Snakemake keeps the time of a folder in a file inside it
            made = (path / ".snakemake_timestamp" if path.is_dir() else path).stat().st_mtime
            if made > ended + 1 and output not in incomplete:
                found.append(output)
    return sorted(found)


def _output(record: Path, folder: Path) -> str:
    """The output that a record is about.

    Args:
        record: the file of the record. A long name is split into folders whose names begin with @.
        folder: the folder of all such records.
    """
    return urlsafe_b64decode("".join(part.removeprefix("@") for part in record.relative_to(folder).parts)).decode()


def locks(folder: Path) -> list[Path]:
    """Snakemake's locks of the folder."""
    return list((folder / ".snakemake" / "locks").glob("*.lock"))


def running_snakemake(folder: Path) -> int | None:
    """The id of another Snakemake process that runs in the folder on this machine; its jobs do not count."""
    here = folder.resolve()
    for path in marks(folder):
        mark = _read_mark(path)
        if mark.get("host") == socket.gethostname() and mark.get("pid") != os.getpid():
            if _started(mark.get("pid", 0)) == mark.get("started"):
                return int(mark["pid"])
            # that Snakemake was killed
            path.unlink(missing_ok=True)
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            main = any(word.endswith(b"snakemake") for word in words[:4]) and b"--mode" not in words
            if main and int(entry.name) != os.getpid() and (entry / "cwd").resolve() == here:
                return int(entry.name)
    return None


def mark(folder: Path) -> None:
    """Write a file that names this Snakemake process, for other login nodes, which cannot see the process."""
    since = datetime.now().isoformat(" ", "seconds")
    row = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid()), "since": since}
    write_json(_mark(folder), row)


def unmark(folder: Path) -> None:
    """Remove the mark of this process."""
    _mark(folder).unlink(missing_ok=True)


def refuse_beside_another_machine(folder: Path) -> None:
    """Refuse to continue if Snakemake was started on another machine, where it may still run.

    Raises:
        UserError: another machine left a mark in the folder.
    """
    for path in _marks_of_others(folder):
        mark = _read_mark(path)
        host, pid = mark.get("host", "another machine"), mark.get("pid", "?")
        raise UserError(
            f"Snakemake was started in {folder.resolve()} on {host} (process {pid}) at {mark.get('since', '?')}, and "
            f"may still run there; this is {socket.gethostname()}. Check it (`ssh {host} ps {pid}`): if it runs, "
            f"wait for it or stop it; if it is gone, run `{COMMAND} --force` here."
        )


def _mark(folder: Path) -> Path:
    return folder / ".snakemake" / f"errata-main.{socket.gethostname()}.{os.getpid()}.json"


def marks(folder: Path) -> list[Path]:
    """The files that running Snakemakes left in the folder."""
    return sorted((folder / ".snakemake").glob("errata-main.*.json"))


def _marks_of_others(folder: Path) -> list[Path]:
    return [path for path in marks(folder) if _read_mark(path).get("host") != socket.gethostname()]


def _read_mark(path: Path) -> dict[str, Any]:
    """The content of a mark; empty if it cannot be read."""
    with suppress(OSError, ValueError):
        row = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(row, dict):
            return row
    return {}


def _started(pid: int) -> str:
    """When a process of this machine started, in the kernel's ticks; empty if it does not exist (any more)."""
    with suppress(OSError, IndexError):
        # the fields after the command's name, which is in parentheses and may contain anything
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    return ""


def _snakemake(folder: Path, *arguments: str) -> None:
    """Let Snakemake change its own records.

    The Snakefile is empty, since the workflow's own would check the configuration. The exit status is ignored, since
    Snakemake also fails for files without a record.
    """
    with tempfile.NamedTemporaryFile(suffix=".smk") as empty:
        command = [sys.executable, "-m", "snakemake", "--snakefile", empty.name, "--directory", str(folder), *arguments]
        subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)


def _say(text: str) -> None:
    print(f"recover: {text}", file=sys.stderr, flush=True)
