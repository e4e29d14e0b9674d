"""Snakemake without its start: a process that has imported it is forked for every call, which saves 1.5 s of CPU."""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
# what a dry run imports, none of it ours
_CONTEXT.set_forkserver_preload(["snakemake.cli", "snakemake.api", "snakemake_executor_plugin_slurm"])


def snakemake(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str], *, errors: bool = True
) -> tuple[int, str]:
    """Run `python -m snakemake` in a folder; give its exit status and everything that it printed.

    Args:
        errors: whether the text contains what goes to stderr.
    """
    with tempfile.TemporaryDirectory() as scratch:
        output, status = Path(scratch) / "output", Path(scratch) / "status"
        words = (folder, output, status, list(arguments), dict(environment), errors)
        process = _CONTEXT.Process(target=_run, args=words)
        process.start()
        process.join()
        # not process.exitcode: when another thread starts a process meanwhile, both may read it, and one gets 255
        return int(status.read_text()), output.read_text(encoding="utf-8")


def _run(
    folder: Path, output: Path, status: Path, arguments: list[str], environment: dict[str, str], errors: bool
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file if errors else os.open(os.devnull, os.O_WRONLY), 2)
    # without the folders of this test session, as in a process of its own
    sys.path[:] = ["", *(path for path in sys.path if "-packages" in path or path.startswith(sys.base_prefix))]
    sys.argv = ["snakemake", *arguments]
    from snakemake.cli import main

    code: int | str | None = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        status.write_text(str(code if isinstance(code, int) else int(code is not None)))
