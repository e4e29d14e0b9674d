"""Step gguf: convert a checkpoint to a GGUF file for llama.cpp."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from errata.core.errors import UserError
from errata.core.files import cannot_write
from errata.core.secrets import without_secrets
from errata.models.checkpoints import check_checkpoint

FORMATS = ("f32", "f16", "bf16", "q8_0")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a Hugging Face checkpoint")
    parser.add_argument("--format", choices=FORMATS, default="f16", help="number format of the weights")
    parser.add_argument("--output", type=Path, required=True, help="GGUF file to write")


def run(arguments: argparse.Namespace) -> None:
    convert(arguments.checkpoint, arguments.output, arguments.format)


def convert(checkpoint: Path, output: Path, format: str = "f16") -> None:
    """Write a checkpoint's weights (norms in fp32), tokenizer and chat template as one GGUF file.

    Raises:
        UserError: the checkpoint is not complete, or llama.cpp's converter does not know its architecture or tokenizer.
    """
    check_checkpoint(checkpoint)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
            fresh = Path(scratch) / "model.gguf"
            command = [sys.executable, "-m", "convert_hf_to_gguf", str(checkpoint.resolve()), "--outtype", format]
            done = subprocess.run(
                [*command, "--outfile", str(fresh)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                env={**without_secrets(os.environ), "HF_HUB_OFFLINE": "1"},
            )
            if done.returncode != 0 or not fresh.is_file():
                tail = "\n".join(done.stdout.splitlines()[-15:])
                raise UserError(f"{checkpoint}: llama.cpp's converter failed. The end of its output:\n{tail}")
            fresh.replace(output)
    except OSError as error:
        raise cannot_write(output, error) from error
