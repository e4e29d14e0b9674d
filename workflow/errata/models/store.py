"""The folder models/: downloads that all configurations share. results/ contains links to them."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from errata.core.errors import UserError
from errata.core.files import atomic_folder, read_json, remove, write_json

MODELS = Path("models")
# The file that is written into a downloaded checkpoint last. It names the source; a folder without it is not used.
MARK = "errata-source.json"


class Download(NamedTuple):
    """A complete checkpoint of the hub.

    Attributes:
        source: ORG/NAME.
        revisions: names, such as main, by which this commit was requested.
        fetched: time of the download in ISO 8601.
    """

    folder: Path
    source: str
    commit: str
    revisions: list[str]
    fetched: str


def checkpoint_folder(models: Path, name: str, commit: str) -> Path:
    """The folder of a commit of the Hugging Face repository ORG/NAME."""
    return models / f"{name.replace('/', '--')}@{commit}"


def read_download(folder: Path) -> Download | None:
    """The download in a folder; None unless it is complete."""
    try:
        mark = read_json(folder / MARK)
        return Download(folder, mark["source"], mark["commit"], list(mark["revisions"]), mark["fetched"])
    except (UserError, KeyError, TypeError):
        return None


def mark_complete(folder: Path, source: str, commit: str, revisions: list[str]) -> None:
    """Record that a folder contains all files of a commit."""
    fetched = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / MARK, {"source": source, "commit": commit, "revisions": revisions, "fetched": fetched})


def find_newest(models: Path, name: str, revision: str | None) -> Download | None:
    """The newest download of a repository that was requested as `revision`; None if there is none.

    Args:
        name: ORG/NAME.
        revision: a branch or tag. With None any download counts, but those of `main` are preferred.
    """
    wanted = revision or "main"
    found = [each for each in map(read_download, models.glob("*@*")) if each]
    matching = [each for each in found if each.source == name and (revision is None or wanted in each.revisions)]
    return max(matching, key=lambda each: (wanted in each.revisions, each.fetched), default=None)


def link_file(target: Path, output: Path) -> None:
    """Make `output` a link to a file."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
        fresh = Path(scratch) / output.name
        fresh.symlink_to(route(target, output.parent.resolve()))
        remove(output)
        fresh.rename(output)


def link_folder(target: Path, output: Path) -> None:
    """Make `output` a folder of links to the files of `target`, except hidden ones.

    A link to the folder itself would not do. Its time changes whenever a file is written there, so that Snakemake would
    make all later files again. Also, a step that writes into its checkpoint would change the download.
    """
    with atomic_folder(output) as folder:
        place = output.parent.resolve() / output.name
        for path in sorted(target.iterdir()):
            if not path.name.startswith("."):
                (folder / path.name).symlink_to(route(path, place), target_is_directory=path.is_dir())


def route(target: Path, folder: Path) -> Path:
    """The path of `target` that a link in `folder` contains.

    Inside the project it is relative, so that the project can be moved; otherwise it is absolute.

    Args:
        folder: an absolute path without links.
    """
    project = Path.cwd().resolve()
    # the last part is not resolved: it may be the user's own link
    target = target.parent.resolve() / target.name
    if target.is_relative_to(project) and folder.is_relative_to(project):
        return Path(os.path.relpath(target, folder))
    return target
