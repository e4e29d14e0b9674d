"""Recognizes base models whose source this workflow makes itself."""

import os
import re
from collections.abc import Mapping


def own_source(source: str | None) -> str | None:
    """The path below the working directory of a source that this workflow makes; None for any other source."""
    path = os.path.relpath(source) if source else ""
    return path if path.startswith("results/") else None


def trained_here(sources: Mapping[str, str | None], model: str) -> bool:
    """Whether a base model was trained by this workflow, and so has seen all the training questions.

    Args:
        sources: of all models by name, baselines included.
    """
    seen = set()
    while model in sources and model not in seen:
        seen.add(model)
        match = re.match(r"results/([^/]+)/(\w+)", own_source(sources[model]) or "")
        if match is None:
            return False
        if match[2] != "base":
            return True
        model = match[1]
    return False
