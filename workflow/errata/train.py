"""Step train: a LoRA adapter by LLaMA-Factory, which can be interrupted and taken up again."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from errata.errors import UserError
from errata.files import read_json, write_text
from errata.folders import remove, whole
from errata.llamafactory import DEFAULTS, check_settings, offline, read_settings, to_yaml
from errata.processes import running, tail
from errata.training_run import (
    COPIED,
    checkpoints,
    cut_log,
    fingerprint,
    longer_than,
    newest_checkpoint,
    validation_rows,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", type=Path, required=True, help="checkpoint to train from")
    parser.add_argument("--dataset", type=Path, required=True, help="training set; dataset_info.json stands beside it")
    parser.add_argument("--template", required=True, help="LLaMA-Factory's name of the chat template, e.g. smollm2")
    parser.add_argument("--stage", choices=["sft", "dpo"], default="sft")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settings", default="{}", help="JSON object of LLaMA-Factory keys, laid over ours")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints of an unfinished training")
    parser.add_argument("--output", type=Path, required=True, help="folder of the adapter")


def run(arguments: argparse.Namespace) -> None:
    settings = read_settings(arguments.settings)
    check_settings(settings)
    rows = read_rows(arguments.dataset)
    configuration = configure(
        settings,
        base=arguments.base,
        dataset=arguments.dataset,
        rows=len(rows),
        template=arguments.template,
        stage=arguments.stage,
        seed=arguments.seed,
        trust_remote_code=arguments.trust_remote_code,
        hardware=hardware_settings(),
    )
    cut = longer_than(rows, configuration["cutoff_len"], arguments.base)
    if cut:
        _say(f"{cut} of {len(rows)} rows are longer than cutoff_len and lose their end: raise train.cutoff_len")
    train(configuration, arguments.base, arguments.dataset, arguments.work, arguments.output, gpus())


def read_rows(dataset: Path) -> list[dict[str, Any]]:
    """The rows of a training set.

    Raises:
        UserError: it is no JSON array of objects, or empty.
    """
    rows = read_json(dataset)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{dataset}: not a JSON array of objects. Delete it and run again.")
    if not rows:
        raise UserError(
            f"{dataset}: no rows, so there is nothing to learn from. Raise generate.attempts, so that more wrong "
            "answers become right, or bring more questions."
        )
    return rows


def gpus() -> int:
    """How many GPUs the trainer sees; LLaMA-Factory starts a process on each."""
    import torch

    return int(torch.cuda.device_count())


def hardware_settings() -> dict[str, Any]:
    """What the trainer must know of this machine: no GPU, or which 16-bit format it has."""
    import torch

    if not torch.cuda.is_available():
        # Activations of the small models that a CPU can train fit into memory: no need to compute them twice.
        return {"use_cpu": True, "dataloader_pin_memory": False, "disable_gradient_checkpointing": True}
    return {"bf16": True} if torch.cuda.is_bf16_supported() else {"fp16": True}


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
    """The trainer's whole configuration: our defaults, the machine's, the user's, then what is not to be chosen."""
    result: dict[str, Any] = {**DEFAULTS, **hardware, **settings}
    if "bf16" in settings or "fp16" in settings:
        # the user's format, not both
        for name in {"bf16", "fp16"} - set(settings):
            result.pop(name, None)
    if result.get("quantization_bit") is None:
        for name in ("quantization_bit", "quantization_method", "quantization_type", "double_quantization"):
            result.pop(name, None)
    result["val_size"] = validation_rows(rows, result.get("max_samples"), result["val_size"])
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
        "dataset_dir": str(dataset.parent.resolve()),
        # relative to the work folder, where the trainer runs
        "output_dir": "output",
        "seed": seed,
        **result,
    }


def threads_each(processes: int) -> int:
    """Threads for each of the trainer's processes: Snakemake says the job's, torchrun would give every process one."""
    threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    return max(1, threads // max(1, processes))


def train(
    configuration: dict[str, Any], base: Path, dataset: Path, work: Path, output: Path, processes: int = 1
) -> None:
    """Train, from the newest complete checkpoint in `work` if that belongs to this very training.

    Args:
        base: the checkpoint's folder.
        work: keeps checkpoints until the training is finished, then it is removed.
        output: folder of the finished adapter, with log, loss curve and the trainer's configuration.
        processes: how many processes share the job's threads.

    Raises:
        UserError: the trainer failed; with the end of its log.
    """
    mark = fingerprint(configuration, dataset, base)
    made = work / "output"
    if not (work / "fingerprint").is_file() or (work / "fingerprint").read_text(encoding="utf-8") != mark:
        if checkpoints(made):
            _say("the checkpoints there belong to another training (settings, data or base changed): starting anew")
        remove(work)
    work.mkdir(parents=True, exist_ok=True)
    write_text(work / "fingerprint", mark)
    resumed = newest_checkpoint(made)
    if resumed is None:
        remove(made)
    else:
        cut_log(made / "trainer_log.jsonl", resumed.step)
        for incomplete in checkpoints(made):
            if incomplete.step > resumed.step:
                remove(incomplete.path)
        _say(f"resuming after step {resumed.step}")
    write_text(work / "train.yaml", to_yaml(configuration))
    log = work / "train.log"
    remove(log)
    command = [sys.executable, "-m", "llamafactory.cli", "train", "train.yaml"]
    environment = {**offline(os.environ, work), "OMP_NUM_THREADS": str(threads_each(processes))}
    _say(f"LLaMA-Factory is starting; its output goes to {log}")
    with running(command, log, cwd=work, environment=environment) as process:
        _follow(process, made / "trainer_log.jsonl")
        status = process.wait()
    if status != 0:
        raise UserError(f"LLaMA-Factory failed with status {status}. The end of {log}:\n{tail(log)}")
    check_result(configuration, made, log)
    with whole(output) as folder:
        for pattern in COPIED:
            for path in made.glob(pattern):
                (folder / path.name).write_bytes(path.read_bytes())
        (folder / "train.yaml").write_bytes((work / "train.yaml").read_bytes())
        portable = read_json(folder / "adapter_config.json") | {"base_model_name_or_path": str(base)}
        write_text(folder / "adapter_config.json", json.dumps(portable, indent=2) + "\n")
    remove(work)


def check_result(configuration: Mapping[str, Any], made: Path, log: Path) -> None:
    """Raise a UserError if the trainer ended well without doing what it was told."""
    if not (made / "adapter_model.safetensors").is_file():
        raise UserError(f"LLaMA-Factory wrote no adapter_model.safetensors. The end of {log}:\n{tail(log)}")
    bits = configuration.get("quantization_bit")
    if bits and f"Quantizing model to {bits} bit" not in log.read_text(encoding="utf-8", errors="replace"):
        raise UserError(
            f"LLaMA-Factory ignored quantization_bit: {bits}, so this was no QLoRA. Check train.quantization_method."
        )


def _follow(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Show what the trainer logs until it ends. Its own estimate of the time left is wrong after a resumption."""
    shown = _last_entry(log)
    first: tuple[int, float] | None = None
    while process.poll() is None:
        time.sleep(1.0)
        entry = _last_entry(log)
        if entry is None or entry == shown:
            continue
        shown, step, now = entry, entry["current_steps"], time.monotonic()
        first = first or (step, now)
        parts = [f"step {step}/{entry['total_steps']}"]
        parts += [f"{name.replace('_', ' ')} {entry[name]:.3f}" for name in ("loss", "eval_loss") if name in entry]
        if step > first[0]:
            pace = (now - first[1]) / (step - first[0])
            left = timedelta(seconds=round(pace * (entry["total_steps"] - step)))
            parts += [f"{pace:.1f} s a step", f"{left} left"]
        _say(", ".join(parts))


def _last_entry(log: Path) -> dict[str, Any] | None:
    """The last line of the trainer's log; None while it is not there or just being written."""
    try:
        entry = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return None
    return entry if isinstance(entry, dict) else None


def _say(text: str) -> None:
    print(f"train: {text}", file=sys.stderr, flush=True)
