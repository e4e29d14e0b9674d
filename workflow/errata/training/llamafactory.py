"""What LLaMA-Factory 0.9.5 gets: its configuration and its environment variables."""

import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from errata.config.trainer_keys import DEFAULTS, PREFERENCE_DEFAULTS
from errata.core.patches import torchaudio_stub
from errata.core.places import PACKAGE
from errata.core.secrets import without_secrets


def configure(
    settings: Mapping[str, Any],
    *,
    base: Path,
    dataset: Path,
    rows: int,
    template: str,
    stage: str,
    seed: int,
    trust_remote_code: bool,
    hardware: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole configuration of a training: our defaults, then the hardware's keys, the user's, and the fixed ones.

    Args:
        settings: the user's keys of LLaMA-Factory.
        base: folder of the checkpoint to train from.
        dataset: training set.
        rows: its number of rows.
        template: LLaMA-Factory's name of the chat template.
        stage: `sft` or `dpo`.
        seed: of everything random.
        trust_remote_code: whether code that comes with the model is run.
        hardware: keys of `hardware_settings` and of `errata.training.distributed.settings`.
    """
    defaults = {**DEFAULTS, **PREFERENCE_DEFAULTS} if stage == "dpo" else DEFAULTS
    result: dict[str, Any] = {**defaults, **hardware, **settings}
    if "bf16" in settings or "fp16" in settings:
        # the user's number format takes the place of the hardware's
        for name in {"bf16", "fp16"} - set(settings):
            result.pop(name, None)
    if result.get("quantization_bit") is None:
        for name in ("quantization_bit", "quantization_method", "quantization_type", "double_quantization"):
            result.pop(name, None)
    result["val_size"] = validation_size(rows, result.get("max_samples"), result["val_size"])
    if not result["val_size"]:
        result = {name: value for name, value in result.items() if "eval" not in name and name != "val_size"}
        result.pop("load_best_model_at_end", None)
    return {
        "model_name_or_path": str(base.resolve()),
        "trust_remote_code": trust_remote_code,
        "stage": stage,
        "do_train": True,
        "template": template,
        "dataset": dataset.stem,
        # The trainer runs in the work folder. The dataset_info.json there describes this set alone; the one beside the
        # set changes with every other strategy.
        "dataset_dir": ".",
        "output_dir": "output",
        "seed": seed,
        **result,
    }


def hardware_settings() -> dict[str, Any]:
    """LLaMA-Factory's keys for this machine: no GPU, or the GPU's 16-bit number format."""
    import torch

    if not torch.cuda.is_available():
        # A model that a CPU can train is small: its activations fit into memory and need not be computed twice.
        return {"use_cpu": True, "dataloader_pin_memory": False, "disable_gradient_checkpointing": True}
    return {"bf16": True} if torch.cuda.is_bf16_supported() else {"fp16": True}


def validation_size(rows: int, max_samples: int | None, size: float) -> float:
    """LLaMA-Factory's `val_size`: the share or number of rows to validate on, 0 if that is less than one row.

    Args:
        rows: number of rows of the training set.
        max_samples: the trainer uses at most so many rows; None for all.
        size: below 1 a share, else a number of rows.
    """
    used = min(rows, max_samples) if max_samples else rows
    if size < 1:
        # the trainer rounds up, which would take a large part of a tiny set
        return size if used * size >= 1 and used - math.ceil(used * size) >= 1 else 0
    return int(size) if size < used else 0


def count_longer(texts: Sequence[str], limit: int, base: Path) -> int:
    """How many texts have more than `limit` tokens: the trainer cuts off their end, which is the answer.

    The chat template's own tokens are not counted. 0 if the base model has no tokenizer.json.
    """
    if not (base / "tokenizer.json").is_file():
        return 0
    from tokenizers import Tokenizer  # type: ignore[import-not-found, unused-ignore]

    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    return sum(len(encoding.ids) > limit for encoding in tokenizer.encode_batch(list(texts)))


def to_yaml(configuration: Mapping[str, Any]) -> str:
    """The configuration in the form that LLaMA-Factory reads."""
    return yaml.safe_dump(dict(configuration), sort_keys=False, allow_unicode=True)


def offline(environ: Mapping[str, str], work: Path) -> dict[str, str]:
    """Environment variables of a LLaMA-Factory process: no network, its own caches, and torchrun on the PATH.

    Two trainings that shared a dataset cache would wait for each other or read half-written files.

    Args:
        environ: this process's variables.
        work: folder for the caches.
    """
    cache = (work / "cache").resolve()
    return {
        # nothing is downloaded, and code that comes with a model must not see keys or tokens
        **without_secrets(environ),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(cache / "datasets"),
        "HF_MODULES_CACHE": str(cache / "modules"),
        "WANDB_MODE": "disabled",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        # for errata.training.trainer_process
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE), environ.get("PYTHONPATH"), *torchaudio_stub()])),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", "")]),
    }


def thread_variables(environ: Mapping[str, str], processes: int) -> dict[str, str]:
    """The number of threads of each trainer process, for all libraries that have a variable for it.

    Snakemake sets all these variables (OMP_NUM_THREADS, MKL_NUM_THREADS, ...) to the job's threads; torchrun would set
    only one of them, to 1. With more threads than cores, threads wait for each other: two processes on two cores took
    ten times as long for a step.

    Args:
        environ: this process's variables.
        processes: trainer processes on this node, which share its threads.
    """
    threads = int(environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    share = str(max(1, threads // max(1, processes)))
    return {name: share for name in ["OMP_NUM_THREADS", *environ] if name.endswith("_NUM_THREADS")}
