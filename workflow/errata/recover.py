"""Step recover: after Snakemake was killed on Slurm, wait for its jobs, keep what they finished, unlock the folder."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64decode
from contextlib import suppress
from pathlib import Path

from errata import slurm
from errata.errors import UserError

_PAUSE = 5.0
_SAID_EVERY = 300.0


# How it is called, whether this Python has the package installed or not.
COMMAND = f"PYTHONPATH=workflow {shlex.quote(sys.executable)} -m errata recover"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--directory", type=Path, default=Path(), help="where the workflow runs; here if left out")
    parser.add_argument("--cancel", action="store_true", help="cancel the jobs that are still there, do not wait")


def run(arguments: argparse.Namespace) -> None:
    """Leave the folder so that `snakemake` goes on where it was killed.

    Raises:
        UserError: a Snakemake still runs there, or Slurm does not answer.
    """
    folder: Path = arguments.directory
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
    while active := left_over(folder):
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
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            main = any(word.endswith(b"snakemake") for word in words[:4]) and b"--mode" not in words
            if main and int(entry.name) != os.getpid() and (entry / "cwd").resolve() == here:
                return int(entry.name)
    return None


def _snakemake(folder: Path, *arguments: str) -> None:
    """Snakemake's own bookkeeping; it needs some Snakefile, and the workflow's would look at the configuration.

    Its status is no help: it also complains of files that have no record.
    """
    with tempfile.NamedTemporaryFile(suffix=".smk") as empty:
        command = [sys.executable, "-m", "snakemake", "--snakefile", empty.name, "--directory", str(folder), *arguments]
        subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)


def _say(text: str) -> None:
    print(f"recover: {text}", file=sys.stderr, flush=True)
