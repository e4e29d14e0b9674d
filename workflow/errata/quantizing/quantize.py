"""Step quantize: GPTQ at a few bits with GPTQModel."""

import argparse
import contextlib
import csv
import json
import os
import random
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from errata.core import gpus
from errata.core.errors import UserError
from errata.core.files import atomic_folder, read_json, write_json
from errata.core.patches import hide_gptqmodel_bars
from errata.core.processes import diverted, tail
from errata.core.progress import Progress
from errata.core.secrets import drop_secrets
from errata.models.checkpoints import check_checkpoint, copy_tokenizer, size_gib, weight_files

GROUP_SIZES = (16, 32, 64, 128, 256, 512, 1024)
# CPU flags for bf16 arithmetic. With it, bf16 is four times as fast as fp32; without it, many times slower.
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


class Settings(NamedTuple):
    """How a model is quantized.

    Attributes:
        bits: bits of a weight.
        group_size: weights that share a scale; -1 for one scale a row.
        max_length: tokens of a calibration text at most.
        seed: for the windows of longer texts, and for torch.
        trust_remote_code: whether code that comes with the model may run.
    """

    bits: int
    group_size: int
    max_length: int
    seed: int
    trust_remote_code: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a full checkpoint")
    parser.add_argument("--calibration", type=Path, required=True, help="JSON array of {id, question, text}")
    parser.add_argument("--bits", type=int, choices=[2, 3, 4, 8], required=True)
    parser.add_argument("--group-size", type=int, default=128, help="weights that share a scale")
    parser.add_argument("--samples", type=int, default=1024, help="number of calibration texts at most")
    parser.add_argument("--max-length", type=int, default=256, help="tokens of a text at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="CPU threads (default: OMP_NUM_THREADS, else all usable cores)")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    parser.add_argument("--output", type=Path, required=True, help="folder of the quantized checkpoint")


def run(arguments: argparse.Namespace) -> None:
    """Check checkpoint and group size before anything is loaded, then quantize.

    Raises:
        UserError: see `check_checkpoint`, `check_group_size`, `read_texts` and `quantize`.
    """
    drop_secrets()
    check_checkpoint(arguments.checkpoint)
    check_group_size(arguments.checkpoint, arguments.group_size)
    texts = read_texts(arguments.calibration)[: arguments.samples]
    settings = Settings(
        arguments.bits, arguments.group_size, arguments.max_length, arguments.seed, arguments.trust_remote_code
    )
    quantize(arguments.checkpoint, texts, arguments.output, settings, arguments.threads)


def read_texts(calibration: Path) -> list[str]:
    """The texts of a calibration file.

    Raises:
        UserError: the file has none.
    """
    rows = read_json(calibration)
    texts = [row["text"] for row in rows if isinstance(row, dict) and row.get("text")] if isinstance(rows, list) else []
    if not texts:
        raise UserError(f"{calibration}: no texts, so there is nothing to calibrate on. Delete it and run again.")
    return texts


def input_sizes(checkpoint: Path) -> dict[int, str]:
    """The input sizes of the linear layers in the model's blocks, each with the name of one such layer.

    Only the headers of the weight files are read.

    Raises:
        UserError: a weight file is not a safetensors file.
    """
    sizes: dict[int, str] = {}
    for file in weight_files(checkpoint):
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            try:
                # a truncated or foreign file may claim any length
                header = json.loads(stream.read(length if length <= file.stat().st_size else 0))
            except ValueError as error:
                raise UserError(f"{file}: not a safetensors file ({error}). Fetch or make it again.") from error
        for name, tensor in header.items():
            shape = tensor.get("shape", [])
            if ".layers." in name and name.endswith(".weight") and len(shape) == 2:
                sizes.setdefault(shape[1], name.removesuffix(".weight"))
    return sizes


def check_group_size(checkpoint: Path, group_size: int) -> None:
    """Refuse a group size that does not divide every layer.

    Raises:
        UserError: it names the sizes that are possible.
    """
    sizes = input_sizes(checkpoint)
    if group_size == -1:
        return
    uneven = [f"{name} has {size} inputs" for size, name in sizes.items() if group_size < 1 or size % group_size]
    if uneven:
        fitting = [str(one) for one in GROUP_SIZES if all(size % one == 0 for size in sizes)]
        raise UserError(
            f"quantize.group_size: {group_size} does not divide the layers of {checkpoint} ({'; '.join(uneven)}). "
            f"Sizes that do: {', '.join(fitting) or 'none'}; -1 for one scale a row."
        )


def cut_windows(rows: Sequence[list[int]], max_length: int, seed: int) -> list[list[int]]:
    """Each row of tokens, cut to a random window of `max_length` tokens where it is longer."""
    generator = random.Random(seed)
    windows = []
    for row in rows:
        start = generator.randint(0, len(row) - max_length) if len(row) > max_length else 0
        windows.append(row[start : start + max_length])
    return windows


def quantize(
    checkpoint: Path, texts: Sequence[str], output: Path, settings: Settings, threads: int | None = None
) -> None:
    """Write a symmetric GPTQ checkpoint with configuration, tokenizer and chat template.

    `desc_act` is off because the fast kernels refuse it; `act_group_aware` orders the groups by activation instead.
    `quantize_log.csv` contains the loss of each module.

    Args:
        checkpoint: a full checkpoint.
        texts: the calibration texts, with the special tokens of the chat template.
        output: folder of the quantized checkpoint.
        threads: CPU threads; see `prepare_environment`.

    Raises:
        UserError: the checkpoint is already quantized, or GPTQModel failed; the message ends with its output.
    """
    if "quantization_config" in read_json(checkpoint / "config.json"):
        raise UserError(f"{checkpoint}: already quantized. Give the checkpoint that it was made from.")
    prepare_environment(os.environ, os.cpu_count() or 1, threads)
    hide_gptqmodel_bars(os.environ)
    with gpus.reserve(None) as visible, atomic_folder(output) as folder:
        os.environ.update(visible)
        log = folder.parent.resolve() / "gptqmodel.log"
        checkpoint, folder = checkpoint.resolve(), folder.resolve()
        # GPTQModel prints thousands of partial lines, even without a terminal, and writes a folder `logs` into the
        # working directory
        with diverted(log) as terminal, contextlib.chdir(folder.parent):
            try:
                _quantize(checkpoint, texts, folder, settings, terminal)
            except (RuntimeError, ValueError, NotImplementedError, TypeError, KeyError, AttributeError) as error:
                raise UserError(
                    f"{checkpoint}: GPTQModel failed ({error}). The end of its output:\n{tail(log)}"
                ) from error
        finish(checkpoint, folder)


def prepare_environment(environ: MutableMapping[str, str], cpus: int, threads: int | None = None) -> None:
    """Set the environment variables that torch and GPTQModel read when they are imported.

    Args:
        environ: the environment to change; variables that the user has set stay, except the threads.
        cpus: the cores of the machine.
        threads: CPU threads; None for OMP_NUM_THREADS, or all usable cores if it is not set.
    """
    if threads:
        environ["OMP_NUM_THREADS"] = str(threads)
    environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    # waiting threads leave their cores to the quantizer's other workers
    environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environ.setdefault("HF_HUB_OFFLINE", "1")
    environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    if cpus < 3:
        # with the default, half of the cores, GPTQModel's thread pool is too small on two cores, and it stops
        environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    # The C++ extension packs the same weights, bit by bit, but needs a compiler and 30 to 150 s to build.
    environ.setdefault("GPTQMODEL_DISABLE_PACK_EXT", "1")


def fast_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this machine's cores have bf16 arithmetic."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return not _BF16_FLAGS.isdisjoint(flags.split())


def fits_in_memory(checkpoint: Path) -> bool:
    """Whether two fp32 copies of a model fit into memory. If not, GPTQModel moves weights to the disk."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 4 * size_gib(checkpoint) * 2**30 < free


def _quantize(checkpoint: Path, texts: Sequence[str], folder: Path, settings: Settings, terminal: IO[str]) -> None:
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig
    from transformers import AutoTokenizer

    bits, group_size, max_length, seed, trust_remote_code = settings
    torch.manual_seed(seed)
    cuda = torch.cuda.is_available()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=trust_remote_code)
    # the texts already contain the template's special tokens
    rows = cut_windows([tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts], max_length, seed)
    config = QuantizeConfig(
        bits=bits,
        group_size=group_size,
        sym=True,
        desc_act=False,
        act_group_aware=True,
        device="cuda" if cuda else "cpu",
        offload_to_disk=cuda or not fits_in_memory(checkpoint),
        # beside the output: a temporary folder may be too small for a whole model
        offload_to_disk_path=str(folder.parent / "offload"),
    )
    dtype = torch.bfloat16 if cuda or fast_bf16() else torch.float32
    model = GPTQModel.load(str(checkpoint.resolve()), config, trust_remote_code=trust_remote_code, dtype=dtype)
    layers = model.model.config.get_text_config().num_hidden_layers
    print(f"quantize: {len(rows)} texts, {sum(map(len, rows))} tokens, {dtype} on {config.device.value}", file=terminal)
    progress = Progress(f"quantize to {bits} bits, layers", layers, every=10, stream=terminal)

    def layer_complete(*, layer_idx: int, submodule_finalized: bool) -> None:  # noqa: ARG001 (GPTQModel's name)
        if not submodule_finalized:
            progress.step()

    model.layer_callback = layer_complete
    model.quantize(
        [{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows],
        # takes an eighth less time than one by one
        batch_size=max(1, min(8, 4096 // max_length)),
    )
    progress.close()
    model.save(str(folder), max_shard_size="4GB")
    store_in_bf16(folder)


def store_in_bf16(folder: Path) -> None:
    """Convert the fp32 weights that are not quantized (embeddings, norms) to bf16."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    for file in weight_files(folder):
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
        if any(tensor.dtype == torch.float32 for tensor in tensors.values()):
            smaller = {
                name: tensor.bfloat16() if tensor.dtype == torch.float32 else tensor for name, tensor in tensors.items()
            }
            save_file(smaller, file, metadata={"format": "pt"})
    config = read_json(folder / "config.json")
    if config.get("dtype") == "float32":
        write_json(folder / "config.json", {**config, "dtype": "bfloat16"})


def finish(checkpoint: Path, folder: Path) -> None:
    """Check what GPTQModel wrote, copy the original's tokenizer, and remove this machine's paths.

    Raises:
        UserError: there are no weights.
    """
    weight_files(folder)
    log = folder / "quant_log.csv"
    with log.open(encoding="utf-8", newline="") as file:
        rounded = [f"{row['layer']}.{row['module']}" for row in csv.DictReader(file) if "fallback" in str(row["loss"])]
    if rounded:
        print(
            f"quantize: {len(rounded)} modules saw too few calibration tokens and were only rounded, e.g. {rounded[0]}",
            file=sys.stderr,
        )
    log.rename(folder / "quantize_log.csv")
    copy_tokenizer(checkpoint, folder)
    for name in ("config.json", "quantize_config.json"):
        path = folder / name
        config = read_json(path)
        for settings in (config, config.get("quantization_config") or {}):
            settings.get("meta", {}).pop("offload_to_disk_path", None)
        write_json(path, config)
