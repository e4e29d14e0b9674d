"""Step checkpoint: convert a GGUF model to a Hugging Face checkpoint, for training and quantizing."""

import argparse
import json
import mmap
import os
import struct
import sys
from pathlib import Path
from typing import Any

from errata.core.errors import UserError
from errata.core.files import atomic_folder, read_json, write_json
from errata.core.patches import provide_gguf_metadata
from errata.core.secrets import drop_secrets

STRING = 8  # GGUF's number of the type string
# llama.cpp's names of the pre-tokenizers that split numbers into single digits.
SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell")
END_OF_TURN = "<|im_end|>"  # of ChatML; the file may name another token as the end of text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gguf", type=Path, required=True, help="GGUF model, of any quantization")
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint (fp32 safetensors)")


def run(arguments: argparse.Namespace) -> None:
    drop_secrets()
    convert(arguments.gguf, arguments.output)


def convert(gguf: Path, output: Path) -> None:
    """Dequantize a GGUF model to an fp32 checkpoint with its tokenizer and chat template.

    fp32, because a CPU without bfloat16 arithmetic trains it ten times faster than bf16.

    Raises:
        UserError: the file is no GGUF model that transformers can read, or has no chat template.
    """
    if not gguf.is_file():
        raise UserError(f"{gguf}: no such file.")
    provide_gguf_metadata()
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars fill a log with partial lines
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with atomic_folder(output) as folder:
        try:
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent.resolve(),
                gguf_file=gguf.name,
                # without it transformers refuses to save a model that comes from a GGUF file
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
                local_files_only=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent.resolve(), gguf_file=gguf.name, local_files_only=True)
        except (OSError, ValueError, KeyError, NotImplementedError) as error:
            raise UserError(
                f"{gguf}: cannot be converted ({error}). Use a model of an architecture that transformers reads "
                "from GGUF (Llama, Qwen2, Mistral, Gemma, ...), or a Hugging Face checkpoint as `source`."
            ) from error
        if not tokenizer.chat_template:
            raise UserError(f"{gguf}: has no chat template. Use an instruction-tuned model.")
        if END_OF_TURN in tokenizer.get_vocab() and END_OF_TURN in tokenizer.chat_template:
            tokenizer.eos_token = END_OF_TURN
        if tokenizer.pad_token is None or tokenizer.eos_token == END_OF_TURN:
            tokenizer.pad_token = tokenizer.eos_token
        for config in (model.config, model.generation_config):
            config.eos_token_id = tokenizer.eos_token_id
            config.pad_token_id = tokenizer.pad_token_id
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        fix_tokenizer(folder / "tokenizer.json", read_string(gguf, "tokenizer.ggml.pre"))
        _remove_paths(folder / "tokenizer_config.json")


def fix_tokenizer(path: Path, pre: str | None) -> None:
    """Fix a byte-level BPE tokenizer that transformers read from a GGUF file, so that it splits text as the model does.

    transformers ignores the pre-tokenizer that the file names (`tokenizer.ggml.pre`). SmolLM's splits off each digit,
    so that "  12" begins with a token of two spaces. Some versions of transformers also declare `byte_fallback` and
    SentencePiece's decoder. The converter back to GGUF then takes the tokenizer for SentencePiece, and llama.cpp cannot
    serve the result.

    Args:
        path: tokenizer.json, which is changed in place.
        pre: `tokenizer.ggml.pre` of the GGUF file; None if it has none.
    """
    tokenizer = read_json(path)
    model, splitter = tokenizer["model"], tokenizer.get("pre_tokenizer") or {}
    parts = splitter.get("pretokenizers", [splitter])
    if model.get("type") != "BPE" or not any(part.get("type") == "ByteLevel" for part in parts):
        return
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    if pre in SINGLE_DIGITS:
        digits = {"type": "Digits", "individual_digits": True}
        splitter = {"type": "Sequence", "pretokenizers": [digits, byte_level]}
    fixed: dict[str, Any] = {
        **tokenizer,
        "model": {**model, "byte_fallback": False},
        "pre_tokenizer": splitter,
        "decoder": {**byte_level, "add_prefix_space": True},
    }
    if fixed != tokenizer:
        path.write_text(json.dumps(fixed, ensure_ascii=False), encoding="utf-8")


def read_string(gguf: Path, key: str) -> str | None:
    """The text of a key in a GGUF file's header; None if the key is missing or is no text.

    The header is searched, not parsed: parsing its 100,000 tokens and merges in Python takes seconds.
    """
    name = key.encode()
    with gguf.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(struct.pack("<Q", len(name)) + name)
        if start < 0:
            return None
        start += 8 + len(name)
        kind, length = struct.unpack_from("<IQ", data, start)
        return data[start + 12 : start + 12 + length].decode() if kind == STRING else None


def _remove_paths(path: Path) -> None:
    """Remove the keys that say how the tokenizer was loaded."""
    settings = read_json(path)
    write_json(path, {key: settings[key] for key in settings if key not in {"is_local", "local_files_only"}})
