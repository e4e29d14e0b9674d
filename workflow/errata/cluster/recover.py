"""Step recover: after Snakemake was killed on Slurm, wait for its jobs, keep what they finished, unlock the folder."""

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

_PAUSE = 5.0
_SAID_EVERY = 300.0


# How it is called, whether this Python has the package installed or not.
COMMAND = f"PYTHONPATH=workflow {shlex.quote(sys.executable)} -m errata recover"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--directory", type=Path, default=Path(), help="where the workflow runs; here if left out")
    parser.add_argument("--cancel", action="store_true", help="cancel the jobs that are still there, do not wait")
    parser.add_argument("--force", action="store_true", help="a Snakemake on another machine is known to be gone")


def run(arguments: argparse.Namespace) -> None:
    """Leave the folder so that `snakemake` goes on where it was killed.

    Raises:
        UserError: a Snakemake still runs there, or may do so on another machine, or Slurm does not answer.
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
        active = [job.id for job in left_over(folder)]
        if active:
            slurm.ask("scancel", *active)
            _say(f"cancelled: {', '.join(active)}")
    wait(folder)
    kept = unrecorded(folder)
    if kept:
        _snakemake(folder, "--cleanup-metadata", *kept)
        _say(f"kept, since their jobs ended well: {', '.join(kept)}")
    if locks(folder):
        _snakemake(folder, "--unlock")
        if locks(folder):
            raise UserError(f"{folder / '.snakemake' / 'locks'}: cannot be removed. Remove it by hand.")
        _say("the folder is unlocked")
    _say("run snakemake again: it goes on from here")


def left_over(folder: Path) -> list[slurm.Job]:
    """Jobs of a Snakemake in this folder that wait or run."""
    return [job for job in slurm.jobs_of(folder) if job.active]


def wait(folder: Path) -> None:
    """Wait until no job of this folder is at work any more."""
    said = -_SAID_EVERY
    hopeless: set[str] = set()
    while active := left_over(folder):
        for job in active:
            if job.hopeless and job.id not in hopeless:
                hopeless.add(job.id)
                _say(f"{job.remedy} `scancel {job.id}` ends it.")
        if time.monotonic() - said >= _SAID_EVERY:
            said = time.monotonic()
            _say(f"waiting for {len(active)} jobs of the killed run: {', '.join(map(str, active))}; --cancel ends them")
        time.sleep(_PAUSE)


def unrecorded(folder: Path) -> list[str]:
    """Outputs that were made after Snakemake's record of them was written: their jobs outlived it.

    The job itself has told that they are complete; the record would be of the time before, perhaps with other
    parameters, for which Snakemake would make them again. There is one file an output in .snakemake/metadata and, while
    it is being made, in .snakemake/incomplete, named by the path in base64.
    """
    marks = folder / ".snakemake"
    incomplete = {_output(mark, marks / "incomplete") for mark in (marks / "incomplete").rglob("*") if mark.is_file()}
    found = []
    for record in (marks / "metadata").rglob("*"):
        with suppress(OSError, ValueError, TypeError, KeyError):
            ended = json.loads(record.read_text(encoding="utf-8"))["endtime"]
            output = _output(record, marks / "metadata")
            path = folder / output
            # a folder's time is Snakemake's own mark in it
            made = (path / ".snakemake_timestamp" if path.is_dir() else path).stat().st_mtime
            if made > ended + 1 and output not in incomplete:
                found.append(output)
    return sorted(found)


def _output(record: Path, folder: Path) -> str:
    """The path that a record's name stands for; long names are split into folders that begin with @."""
    return urlsafe_b64decode("".join(part.removeprefix("@") for part in record.relative_to(folder).parts)).decode()


def locks(folder: Path) -> list[Path]:
    """What locks the folder."""
    return list((folder / ".snakemake" / "locks").glob("*.lock"))


def running_snakemake(folder: Path) -> int | None:
    """The process of another Snakemake that runs in this folder on this machine; jobs are none."""
    here = folder.resolve()
    for path in marks(folder):
        mark = _read_mark(path)
        if mark.get("host") == socket.gethostname() and mark.get("pid") != os.getpid():
            if _started(mark.get("pid", 0)) == mark.get("started"):
                return int(mark["pid"])
            # it was killed
            path.unlink(missing_ok=True)
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            main = any(word.endswith(b"snakemake") for word in words[:4]) and b"--mode" not in words
            if main and int(entry.name) != os.getpid() and (entry / "cwd").resolve() == here:
                return int(entry.name)
    return None


def mark(folder: Path) -> None:
    """Leave a mark that this process is Snakemake in this folder: other login nodes do not see its process."""
    since = datetime.now().isoformat(" ", "seconds")
    row = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid()), "since": since}
    write_json(_mark(folder), row)


def unmark(folder: Path) -> None:
    """Take this process's mark away."""
    _mark(folder).unlink(missing_ok=True)


def refuse_beside_another_machine(folder: Path) -> None:
    """Look for marks of Snakemakes on other machines: nobody can tell from here whether they live.

    Raises:
        UserError: there is one.
    """
    for path in _marks_of_others(folder):
        mark = _read_mark(path)
        host, pid = mark.get("host", "another machine"), mark.get("pid", "?")
        raise UserError(
            f"Snakemake was started in {folder.resolve()} on {host} (process {pid}) at {mark.get('since', '?')}, and "
            f"did not say that it ended; this is {socket.gethostname()}. Look there (`ssh {host} ps {pid}`): if it "
            f"runs, wait for it or stop it; if it is gone, `{COMMAND} --force` goes on here."
        )


def _mark(folder: Path) -> Path:
    return folder / ".snakemake" / f"errata-main.{socket.gethostname()}.{os.getpid()}.json"


def marks(folder: Path) -> list[Path]:
    return sorted((folder / ".snakemake").glob("errata-main.*.json"))


def _marks_of_others(folder: Path) -> list[Path]:
    return [path for path in marks(folder) if _read_mark(path).get("host") != socket.gethostname()]


def _read_mark(path: Path) -> dict[str, Any]:
    """What a mark says; nothing where it cannot be read."""
    with suppress(OSError, ValueError):
        told = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(told, dict):
            return told
    return {}


def _started(pid: int) -> str:
    """When a process of this machine started, in the kernel's ticks; empty where there is none (any more)."""
    with suppress(OSError, IndexError):
        # the fields after the command's name, which may hold anything, in parentheses
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    return ""


def _snakemake(folder: Path, *arguments: str) -> None:
    """Snakemake's own bookkeeping; it needs some Snakefile, and the workflow's would look at the configuration.

    Its status is no help: it also complains of files that have no record.
    """
    with tempfile.NamedTemporaryFile(suffix=".smk") as empty:
        command = [sys.executable, "-m", "snakemake", "--snakefile", empty.name, "--directory", str(folder), *arguments]
        subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)


def _say(text: str) -> None:
    print(f"recover: {text}", file=sys.stderr, flush=True)
