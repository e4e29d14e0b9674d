"""Step dequantize: convert a GPTQ checkpoint to a plain one, for servers without kernels for its bits."""

import argparse
import os
from pathlib import Path

from errata.core.errors import UserError
from errata.core.files import atomic_folder
from errata.core.processes import diverted, tail
from errata.core.secrets import drop_secrets
from errata.models.checkpoints import check_checkpoint, copy_tokenizer, gptq_bits
from errata.quantizing.quantize import prepare_environment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a GPTQ checkpoint")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="accepted and ignored: this step runs no code of the model"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the plain checkpoint (fp16)")


def run(arguments: argparse.Namespace) -> None:
    drop_secrets()
    dequantize(arguments.checkpoint, arguments.output)


def dequantize(checkpoint: Path, output: Path) -> None:
    """Write the dequantized weights of a GPTQ checkpoint as fp16 safetensors.

    A weight is the fp16 scale of its group times a small integer. Rounding it to fp16 changes it by less than a
    2,000th. The GGUF file made from the result is the same as with fp32 in between.

    Raises:
        UserError: the checkpoint is not quantized, or GPTQModel cannot read it.
    """
    check_checkpoint(checkpoint)
    if gptq_bits(checkpoint) is None:
        raise UserError(f"{checkpoint}: not a GPTQ checkpoint (config.json has no such quantization_config).")
    prepare_environment(os.environ, os.cpu_count() or 1)
    with atomic_folder(output) as folder:
        log = folder.parent / "gptqmodel.log"
        with diverted(log):
            import torch
            from gptqmodel.utils.model_dequant import dequantize_model

            folder.rmdir()  # dequantize_model insists on making the folder
            try:
                dequantize_model(checkpoint, folder, target_dtype=torch.float16, device="cpu")
            except (RuntimeError, ValueError, NotImplementedError, KeyError) as error:
                raise UserError(f"{checkpoint}: cannot be dequantized ({error}). {tail(log, 5)}") from error
        copy_tokenizer(checkpoint, folder)
        # dequantize_model copies these too; loaders take a folder with the first one for a quantized checkpoint
        for name in ("quantize_config.json", "quantize_log.csv"):
            (folder / name).unlink(missing_ok=True)
