"""Step merge-lora: merge an adapter and its base model into a full checkpoint, with LLaMA-Factory."""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from errata.config.trainer_keys import read_options
from errata.core.errors import Faults, UserError
from errata.core.files import atomic_folder, write_text
from errata.core.patches import keep_deepspeed_off_gpus
from errata.core.processes import running, tail
from errata.models import checkpoints
from errata.models.checkpoints import check_checkpoint, copy_tokenizer
from errata.training.adapter import WEIGHTS
from errata.training.llamafactory import offline, to_yaml

# The user's keys, with our defaults. On the CPU: a merge computes little but needs memory for all weights.
SETTINGS: dict[str, Any] = {"export_size": 4, "export_device": "cpu"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", type=Path, required=True, help="checkpoint that the adapter was trained on")
    parser.add_argument("--adapter", type=Path, required=True, help="folder of the adapter")
    parser.add_argument("--template", required=True, help="LLaMA-Factory's name of the chat template")
    parser.add_argument("--settings", default="{}", help="JSON object: export_size (GB a shard), export_device")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    parser.add_argument("--output", type=Path, required=True, help="folder of the merged checkpoint")


def run(arguments: argparse.Namespace) -> None:
    merge(
        arguments.base,
        arguments.adapter,
        arguments.output,
        template=arguments.template,
        settings=read_options(arguments.settings),
        trust_remote_code=arguments.trust_remote_code,
    )


def merge(
    base: Path,
    adapter: Path,
    output: Path,
    *,
    template: str,
    settings: Mapping[str, Any],
    trust_remote_code: bool = False,
) -> None:
    """Write base model and adapter as one safetensors checkpoint with the base's number format and tokenizer.

    Args:
        base: folder of the checkpoint that the adapter was trained on.
        adapter: folder of the adapter.
        output: folder of the merged checkpoint.
        template: LLaMA-Factory's name of the chat template.
        settings: the user's values for keys of SETTINGS.
        trust_remote_code: whether code that comes with the model is run.

    Raises:
        UserError: base or adapter is incomplete, a setting is unknown, or LLaMA-Factory failed.
    """
    unknown = [f"export.{key}: unknown key; there are {', '.join(SETTINGS)}" for key in settings if key not in SETTINGS]
    if unknown:
        raise Faults("export", unknown)
    check_checkpoint(base)
    if not (adapter / WEIGHTS).is_file():
        raise UserError(f"{adapter}: no {WEIGHTS}, so this is no finished adapter. Train it again.")
    with atomic_folder(output) as folder:
        scratch = folder.parent
        configuration = {
            "model_name_or_path": str(base.resolve()),
            "adapter_name_or_path": str(adapter.resolve()),
            "template": template,
            "finetuning_type": "lora",
            "trust_remote_code": trust_remote_code,
            # without it, LLaMA-Factory writes bf16 whatever the base has
            "infer_dtype": checkpoints.weights_dtype(base),
            "export_dir": str(folder.resolve()),
            **SETTINGS,
            **settings,
        }
        write_text(scratch / "export.yaml", to_yaml(configuration))
        log = scratch / "export.log"
        command = [sys.executable, "-m", "llamafactory.cli", "export", "export.yaml"]
        environment = offline(os.environ, scratch)
        keep_deepspeed_off_gpus(environment)
        with running(command, log, cwd=scratch, environment=environment) as process:
            status = process.wait()
        if status != 0 or not any(folder.glob("*.safetensors")):
            raise UserError(f"LLaMA-Factory's export failed with status {status}. The end of its output:\n{tail(log)}")
        copy_tokenizer(base, folder)
        (folder / "Modelfile").unlink(missing_ok=True)  # LLaMA-Factory writes it for Ollama
