"""LLaMA-Factory's keys: the defaults of this workflow, and the keys and values that it refuses."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from errata.config.faults import Fault
from errata.core.errors import Faults, UserError

STRATEGIES = ("ddp", "zero2", "zero3", "fsdp")

# The keys of LLaMA-Factory that set a strategy. In `train` they replace the values that Errata sets.
KEYS = {"zero2": {"deepspeed"}, "zero3": {"deepspeed"}, "fsdp": {"fsdp", "fsdp_config"}, "ddp": set[str]()}

# QLoRA as in the recipe that this project reproduces. config/llama3.1-70b.yaml contains all its values itself.
DEFAULTS: dict[str, Any] = {
    "finetuning_type": "lora",
    "lora_target": "all",
    "lora_rank": 16,
    "lora_alpha": 32,
    "quantization_bit": 4,
    "quantization_method": "bnb",
    "quantization_type": "nf4",
    "double_quantization": True,
    "cutoff_len": 2048,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "learning_rate": 5e-5,
    "num_train_epochs": 3,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1,
    "val_size": 0.1,
    "eval_strategy": "steps",
    "eval_steps": 10,
    "per_device_eval_batch_size": 1,
    "logging_steps": 5,
    "logging_first_step": True,  # without it a training shorter than logging_steps has no loss curve
    "save_strategy": "steps",
    "save_steps": 20,
    "save_total_limit": 2,
    "plot_loss": True,
    "report_to": "none",
}

# For stage dpo only. Its reference is the model without the adapter, with which the training starts.
PREFERENCE_DEFAULTS: dict[str, Any] = {"pref_beta": 0.1, "pref_loss": "sigmoid"}

_OURS = "Errata sets it"

# Keys that cannot be passed through, and why.
REFUSED = {
    "model_name_or_path": f"{_OURS}: the model's `source` decides",
    "adapter_name_or_path": f"{_OURS}: training starts from the base model",
    "template": f"{_OURS}: it is a key of the model",
    "stage": f"{_OURS}: the strategy decides",
    "dataset": f"{_OURS}: the strategy decides",
    "dataset_dir": _OURS,
    "eval_dataset": "validation rows are taken from the training set, see val_size",
    "tokenized_path": "a stored tokenized dataset would hide changes of the data",
    "ref_model": "the reference is the model that the training starts from",
    "ref_model_adapters": "the reference is the model that the training starts from",
    "ref_model_quantization_bit": "the reference is the model that the training starts from",
    "output_dir": _OURS,
    "overwrite_output_dir": f"{_OURS}: a training resumes when its inputs are the same",
    "resume_from_checkpoint": f"{_OURS}: a training resumes when its inputs are the same",
    "do_train": _OURS,
    "do_predict": "scoring is a step of its own",
    "seed": f"{_OURS}: `generate.seed`",
    "trust_remote_code": f"{_OURS}: it is a key of the model",
    "add_tokens": "the tuned model keeps the base's tokenizer",
    "add_special_tokens": "the tuned model keeps the base's tokenizer",
    "new_special_tokens_config": "the tuned model keeps the base's tokenizer",
    "resize_vocab": "the tuned model keeps the base's tokenizer",
    "push_to_hub": "nothing is uploaded",
    "save_only_model": "a training cannot resume from such a checkpoint",
    "enable_jit_checkpoint": "Errata itself saves a checkpoint when a training must stop",
    "use_ray": "the trainer must run on the machine of its rule",
    "deepspeed_plugin": _OURS,
    "evaluation_strategy": "its name is now eval_strategy",
    "no_cuda": "its name is now use_cpu",
    "save_safetensors": "the trainer writes nothing else",
}

# Values that the trainer does not check: it ignores a misspelt one silently.
ALLOWED: dict[str, tuple[Any, ...]] = {
    "quantization_method": ("bnb",),
    "quantization_bit": (None, 4, 8),
    "quantization_type": ("nf4", "fp4"),
    "finetuning_type": ("lora",),
    "plot_loss": (True,),
}


def read_options(text: str) -> dict[str, Any]:
    """Read the value of --settings, a JSON object.

    Raises:
        UserError: it is not one.
    """
    try:
        options = json.loads(text)
    except ValueError as error:
        raise UserError(f"--settings: not valid JSON ({error}).") from error
    if not isinstance(options, dict):
        raise UserError("--settings: not a JSON object.")
    return options


def check_options(options: Mapping[str, Any], strategy: str = "ddp") -> None:
    """Check the keys of LLaMA-Factory.

    Raises:
        Faults: all that `trainer_faults` finds.
    """
    if faults := [str(fault.below("train")) for fault in trainer_faults(options, strategy)]:
        raise Faults("train", faults, "Fix these keys in the configuration.")


def trainer_faults(options: Mapping[str, Any], strategy: str = "ddp") -> Iterator[Fault]:
    """Keys and values that the trainer would ignore, that Errata sets itself, or that contradict each other.

    Args:
        options: the user's keys of LLaMA-Factory.
        strategy: `distributed.strategy`.
    """
    yield from (Fault(key, REFUSED[key]) for key in options if key in REFUSED)
    for key, allowed in ALLOWED.items():
        value = options.get(key, allowed[0])
        if value not in allowed:
            hint = " (the trainer's name for bitsandbytes)" if value == "bitsandbytes" else ""
            yield Fault(key, f"{value!r} is not {' or '.join(map(str, allowed))}{hint}")
    yield from _distributed_faults(options, strategy)


def _distributed_faults(options: Mapping[str, Any], strategy: str) -> Iterator[Fault]:
    """Keys that do not go with `distributed.strategy`."""
    for key in sorted({"deepspeed", "fsdp", "fsdp_config"} & set(options) - KEYS[strategy]):
        fitting = " or ".join(each for each, keys in KEYS.items() if key in keys)
        yield Fault(key, f"only with distributed.strategy {fitting}, whose own value it replaces")
    for key in ("deepspeed", "fsdp_config"):
        if isinstance(options.get(key), str):
            yield Fault(key, "give the settings themselves; a file could change unnoticed")
    # LLaMA-Factory refuses it too, but only when all GPUs are there
    if strategy in ("zero3", "fsdp") and options.get("quantization_bit", 4) == 8:
        text = f"8 bits cannot be sharded by {strategy}; use 4, null, or strategy ddp or zero2"
        yield Fault("quantization_bit", text)
    if strategy == "zero3" and options.get("pure_bf16"):
        yield Fault("pure_bf16", "not with distributed.strategy zero3")
