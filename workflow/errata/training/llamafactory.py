"""What LLaMA-Factory 0.9.5 is told: our defaults, and the keys that would not do what they say."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from errata.core.patches import torchaudio_stub
from errata.core.places import PACKAGE
from errata.core.secrets import without_secrets


def to_yaml(configuration: Mapping[str, Any]) -> str:
    """The configuration as the trainer reads it."""
    return yaml.safe_dump(dict(configuration), sort_keys=False, allow_unicode=True)


def offline(environ: Mapping[str, str], work: Path) -> dict[str, str]:
    """The trainer's environment variables: no network, caches of its own, and torchrun on the PATH.

    Two trainings that share a dataset cache would wait for each other or read half-written files.
    """
    cache = (work / "cache").resolve()
    return {
        # nothing is downloaded, and code that a model brings need not see what opens the hub
        **without_secrets(environ),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(cache / "datasets"),
        "HF_MODULES_CACHE": str(cache / "modules"),
        "WANDB_MODE": "disabled",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        # the trainer's processes are ours, wherever they are started
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE), environ.get("PYTHONPATH"), *torchaudio_stub()])),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", "")]),
    }
