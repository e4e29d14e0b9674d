"""Checkpoints on disk: their files, size, identity and completeness. No weights are loaded."""

import hashlib
import shutil
from pathlib import Path

from errata.core.errors import UserError
from errata.core.files import read_json

# A checkpoint is identified by this number of samples of each weight file, each of this size.
_SAMPLES = 64
_SAMPLE_BYTES = 64 * 1024

# The files that a derived checkpoint takes from its original.
_INHERITED = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "generation_config.json",
)
# A checkpoint has at least one of these files.
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "*.tiktoken")


def weight_files(path: Path) -> list[Path]:
    """The weight files of a model: the GGUF file itself, or the safetensors files of a checkpoint folder.

    Raises:
        UserError: there are none, or only pickled ones, which are never loaded.
    """
    if path.is_file():
        return [path]
    found = sorted(path.glob("*.safetensors"))
    if not found:
        if not path.is_dir():
            raise UserError(f"{path}: no such model folder or GGUF file.")
        pickled = sorted(file.name for file in [*path.glob("*.bin"), *path.glob("*.pt")])
        remedy = (
            f"it contains {', '.join(pickled)}, which may run code when loaded: convert it to safetensors"
            if pickled
            else "copy the *.safetensors files of the model there"
        )
        raise UserError(f"{path}: no weights in this model folder; {remedy}.")
    return found


def size_gib(path: Path) -> float:
    """Size of the weight files in GiB (2**30 bytes), links followed."""
    return float(sum(file.stat().st_size for file in weight_files(path)) / 2**30)


def weights_digest(path: Path) -> str:
    """Identity of a model's weights: a hash of names, sizes and samples of each weight file.

    Training and quantizing change every layer, so 64 samples of 64 KiB a file distinguish two versions without reading
    140 GB.
    """
    digest = hashlib.sha256()
    for file in weight_files(path):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as stream:
            last = max(size - _SAMPLE_BYTES, 0)
            for offset in sorted({last * sample // (_SAMPLES - 1) for sample in range(_SAMPLES)}):
                stream.seek(offset)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:32]


def weights_dtype(checkpoint: Path) -> str:
    """Number format of a checkpoint's weights by its config.json: float32, float16 or (default) bfloat16."""
    config = read_json(checkpoint / "config.json")
    named = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16").removeprefix("torch.")
    return named if named in ("float32", "float16", "bfloat16") else "bfloat16"


def gptq_bits(checkpoint: Path) -> int | None:
    """Bits of a GPTQ checkpoint's weights; None for any other checkpoint."""
    file = checkpoint / "config.json"
    settings = read_json(file).get("quantization_config") if file.is_file() else None
    return int(settings["bits"]) if settings and settings.get("quant_method") == "gptq" else None


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy tokenizer, chat template and generation settings from a checkpoint to one that was made from it.

    The trainer and the quantizer write versions that they changed for their own use. These are replaced.
    """
    for pattern in _INHERITED:
        for written in target.glob(pattern):
            written.unlink()
        for path in source.glob(pattern):
            shutil.copyfile(path, target / path.name)


def check_checkpoint(folder: Path) -> None:
    """Check that a folder is a complete checkpoint in safetensors.

    Raises:
        UserError: something is missing; the message names it.
    """
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
