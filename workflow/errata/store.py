"""The folder models/: what was downloaded, kept once for all configurations; results/ holds links to it."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from errata.errors import UserError
from errata.files import read_json, write_json
from errata.folders import remove, whole

MODELS = Path("models")
# Written into a downloaded checkpoint last: a folder without it is not used. It says where the files come from.
MARK = "errata-source.json"
# What file systems without locks say; some clusters mount theirs so.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


class Kept(NamedTuple):
    """A complete checkpoint of the hub. `revisions`: the names, such as main, under which this commit was asked for."""

    folder: Path
    source: str
    commit: str
    revisions: list[str]
    fetched: str


def checkpoint_folder(models: Path, name: str, commit: str) -> Path:
    """Where a commit of the Hugging Face repository ORG/NAME is kept."""
    return models / f"{name.replace('/', '--')}@{commit}"


def kept(folder: Path) -> Kept | None:
    """What a folder holds, None unless its download was completed."""
    try:
        mark = read_json(folder / MARK)
        return Kept(folder, mark["source"], mark["commit"], list(mark["revisions"]), mark["fetched"])
    except (UserError, KeyError, TypeError):
        return None


def mark(folder: Path, source: str, commit: str, revisions: list[str]) -> None:
    """Say that a folder holds all of a commit."""
    fetched = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / MARK, {"source": source, "commit": commit, "revisions": revisions, "fetched": fetched})


def newest(models: Path, name: str, revision: str | None) -> Kept | None:
    """The checkpoint of a repository that was fetched last, among those that were asked for as `revision`.

    Without a revision one that was `main` comes before one that was fetched as something else.
    """
    wanted = revision or "main"
    found = [each for each in map(kept, checkpoint_folder(models, name, "x").parent.glob("*@*")) if each]
    mine = [each for each in found if each.source == name and (revision is None or wanted in each.revisions)]
    return max(mine, key=lambda each: (wanted in each.revisions, each.fetched), default=None)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one process of all workflows at a time make `path`; the others wait and find it made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as file:
        try:
            lock(file, path, "let no two workflows fetch the same model at once")
        except BlockingIOError:
            print(f"{path}: another workflow is fetching it; waiting for that", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lock(file: IO[Any], path: Path, beware: str) -> None:
    """Lock an open file for this process alone; where the file system has no locks, say so and go on without.

    Args:
        path: what the lock is for.
        beware: what the user has to see to instead.

    Raises:
        BlockingIOError: another process has the lock.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print(f"{path}: this file system has no locks: {beware}", flush=True)


def link_file(target: Path, output: Path) -> None:
    """Make `output` a link to a file."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
        fresh = Path(scratch) / output.name
        fresh.symlink_to(route(target, output.parent.resolve()))
        remove(output)
        fresh.rename(output)


def link_folder(target: Path, output: Path) -> None:
    """Make `output` a folder of links to what stands in `target`, hidden files apart.

    A link to the folder itself would be newer than all that was made from it whenever anything is written there, and
    Snakemake would make all of it anew; and a step that writes into its checkpoint would change the kept one.
    """
    with whole(output) as folder:
        place = output.parent.resolve() / output.name
        for path in sorted(target.iterdir()):
            if not path.name.startswith("."):
                (folder / path.name).symlink_to(route(path, place), target_is_directory=path.is_dir())


def route(target: Path, folder: Path) -> Path:
    """How a link in `folder` (in full, no links in it) names `target`.

    Inside the project it goes from one to the other, so that the project can be moved; else it is the full path.
    """
    project = Path.cwd().resolve()
    # the last part stays as it is: it may be a link of the user's own
    target = target.parent.resolve() / target.name
    if target.is_relative_to(project) and folder.is_relative_to(project):
        return Path(os.path.relpath(target, folder))
    return target
