"""Patches of libraries are checked again when the version of a library changes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from errata.core.patches import CHECKED
from errata.core.places import ENVS


def locked_versions(distribution: str) -> set[str]:
    """The versions of a distribution in the locks of training and quantizing, without torch's suffix `+cpu`."""
    locks = [path.read_text(encoding="utf-8") for path in (*ENVS.glob("train-*.txt"), *ENVS.glob("quantize-*.txt"))]
    assert len(locks) == 4
    return {found for lock in locks for found in re.findall(rf"^{distribution}==([^+\s]+)", lock, re.MULTILINE)}


@pytest.mark.parametrize("distribution", CHECKED)
def test_patches_were_checked_with_the_locked_versions(distribution: str) -> None:
    message = f"look at the patches of {distribution} in errata/core/patches.py: are they still needed?"
    assert locked_versions(distribution) == CHECKED[distribution], message


@pytest.mark.parametrize("gpu", [True, False])
def test_deepspeed_is_imported_as_if_there_were_no_gpu(gpu: bool, tmp_path: Path) -> None:
    """DeepSpeed asks for CUDA's compiler if it sees a GPU, and always asks for the capability of the GPU.

    After the import the GPU is visible again.
    """
    (tmp_path / "torch.py").write_text(
        f"class cuda:\n    is_available = staticmethod(lambda: {gpu})\n"
        "    def get_device_capability():\n        raise TypeError('no device')\n"
    )
    (tmp_path / "deepspeed.py").write_text(
        "import torch\nassert not torch.cuda.is_available(), 'no nvcc'\n"
        "assert torch.cuda.get_device_capability()[0] < 8\n"
    )
    script = "import os, sys, torch; from errata.core.patches import import_deepspeed; import_deepspeed()\n"
    script += "print(torch.cuda.is_available(), 'deepspeed' in sys.modules, os.environ.get('DS_ACCELERATOR'))"
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    shown = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == ["True", "True", "cuda"] if gpu else ["False", "False", "None"]
