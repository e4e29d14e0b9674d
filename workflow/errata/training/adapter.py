"""The finished adapter: check what the trainer wrote, and copy what belongs to the adapter."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from errata.core.errors import UserError
from errata.core.files import atomic_folder, read_json, write_text
from errata.training.distributed import failure_excerpt
from errata.training.trainer_log import LOG
from errata.training.work_folder import WorkFolder

WEIGHTS = "adapter_model.safetensors"
# Patterns of the files of the trainer's output that an adapter's folder contains.
_COPIED = (
    "adapter_config.json",
    WEIGHTS,
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.*",
    "merges.txt",
    LOG,
    "trainer_state.json",
    "all_results.json",
    "train_results.json",
    "training_*.png",
)


def check_result(configuration: Mapping[str, Any], work: WorkFolder) -> None:
    """Check that a trainer that ended without an error did what its configuration says.

    Raises:
        UserError: there is no adapter, or the base was not quantized.
    """
    log = work.terminal_log
    if not (work.output / WEIGHTS).is_file():
        raise UserError(f"LLaMA-Factory wrote no {WEIGHTS}. The end of {log}:\n{failure_excerpt(log)}")
    bits = configuration.get("quantization_bit")
    if bits and f"Quantizing model to {bits} bit" not in log.read_text(encoding="utf-8", errors="replace"):
        raise UserError(
            f"LLaMA-Factory ignored quantization_bit: {bits}, so this was no QLoRA. Check train.quantization_method."
        )


def write_adapter(work: WorkFolder, base: Path, output: Path) -> None:
    """Write the adapter's folder: weights, tokenizer, logs, loss curve, the trainer's configuration and the runs.

    Args:
        base: folder of the checkpoint that was trained from; the adapter names it as it is given here.
    """
    with atomic_folder(output) as folder:
        for pattern in _COPIED:
            for path in work.output.glob(pattern):
                (folder / path.name).write_bytes(path.read_bytes())
        for path in (work.configuration, work.runs):
            (folder / path.name).write_bytes(path.read_bytes())
        config = read_json(folder / "adapter_config.json") | {"base_model_name_or_path": str(base)}
        write_text(folder / "adapter_config.json", json.dumps(config, indent=2) + "\n")
