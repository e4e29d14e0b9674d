"""Step recover: after Snakemake was killed on Slurm, wait for its jobs, keep what they finished, unlock the folder."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from errata import slurm
from errata.errors import UserError

_PAUSE = 10.0
_SAID_EVERY = 300.0


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
    outputs = submitted(folder)
    if outputs:
        if arguments.cancel:
            _cancel(outputs, folder)
        finished = wait(outputs, folder)
        kept = sorted(path for path, job in outputs.items() if job in finished and (folder / path).exists())
        if kept:
            # what Snakemake cannot know of itself: the job ended well after its Snakemake was gone
            _snakemake(folder, "--cleanup-metadata", *kept)
            marked = sorted(set(kept) & set(submitted(folder)))
            if marked:
                raise UserError(f"snakemake --cleanup-metadata did not free {', '.join(marked)}.")
            _say(f"kept, since their jobs ended well: {', '.join(kept)}")
    if locks(folder):
        _snakemake(folder, "--unlock")
        if locks(folder):
            raise UserError(f"{folder / '.snakemake' / 'locks'}: cannot be removed. Remove it by hand.")
        _say("the folder is unlocked")
    _say("run snakemake again: it goes on from here")


def submitted(folder: Path) -> dict[str, str]:
    """The outputs of Slurm jobs that Snakemake has not seen end, and the job of each.

    Snakemake keeps one file an output in .snakemake/incomplete, named by the path in base64.
    """
    marks = folder / ".snakemake" / "incomplete"
    found = {}
    for mark in marks.rglob("*"):
        with suppress(OSError, ValueError, AttributeError):
            job = json.loads(mark.read_text(encoding="utf-8")).get("external_jobid")
            # long names are split into folders that begin with @
            name = "".join(part.removeprefix("@") for part in mark.relative_to(marks).parts)
            if job:
                found[urlsafe_b64decode(name).decode()] = str(job)
    return found


def left_over(folder: Path) -> list[slurm.Job]:
    """Jobs of an earlier Snakemake in this folder that wait or run."""
    outputs = submitted(folder)
    jobs = slurm.known(outputs.values(), folder) if outputs else {}
    return [job for _, job in sorted(jobs.items()) if job.active]


def wait(outputs: Mapping[str, str], folder: Path) -> set[str]:
    """Wait until none of these jobs is at work any more; the ids of those that ended well."""
    said = -_SAID_EVERY
    while True:
        jobs = slurm.known(outputs.values(), folder)
        active = [str(job) for job in jobs.values() if job.active]
        if not active:
            return {id for id, job in jobs.items() if job.state == "COMPLETED"}
        if time.monotonic() - said >= _SAID_EVERY:
            said = time.monotonic()
            _say(f"waiting for {len(active)} jobs of the killed run: {', '.join(active)}; --cancel ends them")
        time.sleep(_PAUSE)


def locks(folder: Path) -> list[Path]:
    """What locks the folder."""
    return list((folder / ".snakemake" / "locks").glob("*.lock"))


def running_snakemake(folder: Path) -> int | None:
    """The process of a Snakemake that runs in this folder on this machine; jobs are none."""
    here = folder.resolve()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            main = any(word.endswith(b"snakemake") for word in words[:4]) and b"--mode" not in words
            if main and int(entry.name) != os.getpid() and (entry / "cwd").resolve() == here:
                return int(entry.name)
    return None


def _cancel(outputs: Mapping[str, str], folder: Path) -> None:
    active = [job.id for job in slurm.known(outputs.values(), folder).values() if job.active]
    if active:
        slurm.ask("scancel", *active)
        _say(f"cancelled: {', '.join(active)}")


def _snakemake(folder: Path, *arguments: str) -> None:
    """Snakemake's own bookkeeping; it needs some Snakefile, and the workflow's would look at the configuration.

    Its status is no help: it also complains of files that have no record yet.
    """
    with tempfile.NamedTemporaryFile(suffix=".smk") as empty:
        command = [sys.executable, "-m", "snakemake", "--snakefile", empty.name, "--directory", str(folder), *arguments]
        subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)


def _say(text: str) -> None:
    print(f"recover: {text}", file=sys.stderr, flush=True)
