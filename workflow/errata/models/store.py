"""The folder models/: what was downloaded, kept once for all configurations; results/ holds links to it."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from errata.core.errors import UserError
from errata.core.files import read_json, remove, whole, write_json

MODELS = Path("models")
# Written into a downloaded checkpoint last: a folder without it is not used. It says where the files come from.
MARK = "errata-source.json"


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
