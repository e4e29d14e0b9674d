"""Step quantize: GPTQ at a few bits with GPTQModel, on a CPU or a GPU."""

import argparse
import contextlib
import io
import json
import math
import os
import random
import re
import shutil
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from errata.errors import UserError
from errata.fetch import check_checkpoint
from errata.files import read_json, write_json
from errata.folders import whole
from errata.progress import Progress
from errata.weights import size_gib, weight_files

BITS = (2, 3, 4, 8)
GROUP_SIZES = (16, 32, 64, 128, 256, 512, 1024)  # what GPTQModel takes
BATCH_TOKENS = 2048
SHARD = "4GB"
# Files that come with the weights in a checkpoint's folder; the quantized folder gets the same ones.
COMPANIONS = (
    "tokenizer*",
    "*.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
)
CODE = ("*.py",)  # only with --trust-remote-code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a Hugging Face checkpoint")
    parser.add_argument("--calibration", type=Path, required=True, help="results/{model}/calibration/{strategy}.json")
    parser.add_argument("--bits", type=int, choices=BITS, required=True)
    parser.add_argument("--group-size", type=int, default=128, help="weights that share a scale")
    parser.add_argument("--samples", type=int, required=True, help="calibration texts at most")
    parser.add_argument("--max-length", type=int, default=2048, help="tokens of a text at most")
    parser.add_argument("--seed", type=int, default=1, help="of the windows cut out of longer texts")
    parser.add_argument("--threads", type=int, help="CPU threads (default: the cores this process may use)")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that the model brings")
    parser.add_argument("--output", type=Path, required=True, help="folder of the GPTQ checkpoint")


def run(arguments: argparse.Namespace) -> None:
    """Quantize a checkpoint's decoder layers; embeddings and norms stay in 16 bits.

    Raises:
        UserError: no weights, a group size that does not fit them, or no calibration texts.
    """
    started = time.monotonic()
    check_checkpoint(arguments.checkpoint)
    config = read_json(arguments.checkpoint / "config.json")
    if "quantization_config" in config:
        raise UserError(f"{arguments.checkpoint}: is quantized already. Give the checkpoint it was made from.")
    layers = layer_shapes(arguments.checkpoint)
    check_group_size(arguments.checkpoint, layers, arguments.group_size)
    texts = calibration_texts(arguments.calibration, arguments.samples)
    threads = arguments.threads or len(os.sched_getaffinity(0))
    set_environment(threads)
    with whole(arguments.output) as folder:
        quantize(arguments, config, texts, threads, folder)
    before, after = size_gib(arguments.checkpoint), size_gib(arguments.output)
    print(
        f"{arguments.output}: {before:.3f} GiB became {after:.3f} GiB in {time.monotonic() - started:.0f} s",
        file=sys.stderr,
    )


def tensor_shapes(file: Path) -> dict[str, list[int]]:
    """Names and shapes of the tensors in a safetensors file, read from its header alone.

    Raises:
        UserError: it is no safetensors file.
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(stream.read(length))
        return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise UserError(f"{file}: not a readable safetensors file ({error}). Fetch or make it again.") from error


def layer_shapes(checkpoint: Path) -> dict[str, list[int]]:
    """The weight matrices of numbered layers, which are those that GPTQ quantizes.

    Raises:
        UserError: there are none.
    """
    found = {
        name: shape
        for file in weight_files(checkpoint)
        for name, shape in tensor_shapes(file).items()
        if len(shape) == 2 and name.endswith(".weight") and re.search(r"\.\d+\.", name)
    }
    if not found:
        raise UserError(f"{checkpoint}: no layers with weight matrices, so there is nothing to quantize.")
    return found


def check_group_size(checkpoint: Path, layers: Mapping[str, Sequence[int]], group_size: int) -> None:
    """Refuse a group size that does not divide the input sizes of the layers, and name those that do.

    Raises:
        UserError: it does not divide them, or GPTQModel does not know it.
    """
    inputs = sorted({shape[1] for shape in layers.values()})
    fitting = [size for size in GROUP_SIZES if math.gcd(*inputs) % size == 0]
    if group_size not in fitting:
        sizes = ", ".join(map(str, fitting)) or "none: GPTQ cannot quantize this model"
        raise UserError(
            f"quantize.group_size: {group_size} does not fit {checkpoint}, whose layers have the input sizes "
            f"{', '.join(map(str, inputs))}. Group sizes that fit: {sizes}."
        )


def calibration_texts(path: Path, samples: int) -> list[str]:
    """The first `samples` texts of a calibration file.

    Raises:
        UserError: there are none.
    """
    rows = read_json(path)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and "text" in row for row in rows):
        raise UserError(f"{path}: no calibration texts. Delete it and run again to make it anew.")
    return [row["text"] for row in rows[:samples]]


def windows(token_rows: Sequence[Sequence[int]], max_length: int, seed: int) -> list[list[int]]:
    """Each row of tokens, or a window of `max_length` tokens out of it at a random place.

    Not always the beginning: that is the same instruction in every text, and the reasoning stands at the end.
    """
    chance = random.Random(seed)
    cut = []
    for row in token_rows:
        start = chance.randint(0, max(len(row) - max_length, 0))
        cut.append(list(row[start : start + max_length]))
    return cut


def set_environment(threads: int) -> None:
    """Settings that the libraries read when they are imported."""
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false",
        OMP_NUM_THREADS=str(threads),
        # It wants two workers at least, and has one by default on two cores: ValueError.
        GPTQMODEL_CPU_WORKERS=str(max(2, threads)),
        # Packing in C++ would be compiled first, for minutes; in torch it takes milliseconds a layer.
        GPTQMODEL_DISABLE_PACK_EXT="1",
    )
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")


def quantize(
    arguments: argparse.Namespace, config: dict[str, Any], texts: list[str], threads: int, folder: Path
) -> None:
    """Run GPTQModel and write the complete checkpoint into `folder`."""
    with quiet():
        import torch
        from gptqmodel import GPTQModel, QuantizeConfig

    torch.set_num_threads(threads)
    torch.manual_seed(arguments.seed)
    cuda = torch.cuda.is_available()
    settings = QuantizeConfig(
        bits=arguments.bits,
        group_size=arguments.group_size,
        sym=True,
        desc_act=False,
        device="cuda" if cuda else "cpu",
        offload_to_disk=cuda,
    )
    with quiet():
        model = GPTQModel.load(
            str(arguments.checkpoint.resolve()),
            settings,
            trust_remote_code=arguments.trust_remote_code,
            # Most CPUs compute in fp32 several times as fast as in bf16.
            **({} if cuda else {"dtype": torch.float32}),
        )
        rows = model.tokenizer(texts, add_special_tokens=False)["input_ids"]
        calibration = [
            {"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row), dtype=torch.long)}
            for row in windows(rows, arguments.max_length, arguments.seed)
            if row
        ]
    longest = max(row["input_ids"].shape[1] for row in calibration)
    progress = Progress(f"quantize to {arguments.bits} bits, layers", config.get("num_hidden_layers", 0), every=10)

    def layer_complete(layer_idx: int, submodule_finalized: bool) -> None:  # noqa: ARG001 (its names)
        if not submodule_finalized:
            progress.step()

    model.layer_callback = layer_complete
    with quiet():
        model.quantize(calibration, batch_size=max(1, BATCH_TOKENS // longest), calibration_data_min_length=1)
        progress.close()
        model.save(str(folder), max_shard_size=SHARD)
    finish(arguments.checkpoint, folder, arguments.trust_remote_code)


def finish(checkpoint: Path, folder: Path, trust_remote_code: bool) -> None:
    """Make the saved folder complete and free of traces: the checkpoint's own tokenizer, weights in 16 bits."""
    import torch
    from safetensors.torch import load_file, save_file

    copy_companions(checkpoint, folder, trust_remote_code)
    for file in weight_files(folder):
        tensors = load_file(file)
        if any(tensor.dtype == torch.float32 for tensor in tensors.values()):
            tensors = {
                name: tensor.to(torch.bfloat16) if tensor.dtype == torch.float32 else tensor
                for name, tensor in tensors.items()
            }
            save_file(tensors, file, metadata={"format": "pt"})
    config = read_json(folder / "config.json")
    if config.get("dtype") == "float32":
        config["dtype"] = "bfloat16"
    quantize_config = read_json(folder / "quantize_config.json")
    for settings in (config["quantization_config"], quantize_config):
        settings.get("meta", {}).pop("offload_to_disk_path", None)
    write_json(folder / "config.json", config)
    write_json(folder / "quantize_config.json", quantize_config)


def copy_companions(checkpoint: Path, folder: Path, trust_remote_code: bool) -> None:
    """Copy what is no weights and no config.json: tokenizer, chat template, generation settings, trusted code."""
    for pattern in (*COMPANIONS, *(CODE if trust_remote_code else ())):
        for file in checkpoint.glob(pattern):
            if file.is_file():
                shutil.copyfile(file, folder / file.name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep GPTQModel's banner, tables and bars out of the log; its warnings come through, each once."""
    # Its own bars are left out where it finds itself tested without a terminal.
    os.environ["PYTEST_CURRENT_TEST"] = "quiet"
    from logbar import LogBar  # type: ignore[import-not-found]

    heard = io.StringIO()
    with contextlib.redirect_stdout(heard):
        LogBar.shared().setLevel("WARNING")
        try:
            yield
        finally:
            for line in dict.fromkeys(heard.getvalue().splitlines()):
                print(line, file=sys.stderr)
