"""Sources of base models: which of them this workflow has made itself."""

import os
import re
from collections.abc import Mapping
from typing import Any


def own_source(source: str | None) -> str | None:
    """A source that is made here, as its path below the project; None for any other."""
    path = os.path.relpath(source) if source else ""
    return path if path.startswith("results/") else None


def trained_here(models: Mapping[str, Mapping[str, Any]], model: str) -> bool:
    """Whether a base model comes of a training of this workflow, and so has seen all the training questions.

    Args:
        models: settings by name, those that are only scored included.
    """
    seen = set()
    while model in models and model not in seen:
        seen.add(model)
        found = re.match(r"results/([^/]+)/(\w+)", own_source(models[model]["source"]) or "")
        if found is None:
            return False
        if found[2] != "base":
            return True
        model = found[1]
    return False
