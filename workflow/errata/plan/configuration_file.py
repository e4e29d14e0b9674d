"""The file by which steps receive the configuration."""

import hashlib
import json
import os
from pathlib import Path

from errata.config.configuration import Configuration
from errata.plan import layout


def write_configuration(configuration: Configuration) -> str:
    """Write a configuration in the working directory, where jobs on other nodes read it too.

    Returns:
        The file's path. It contains a digest of the content: jobs of an earlier or a concurrent run with another
        configuration keep theirs, and Snakemake reruns a rule with the path among its params when the content changes.
    """
    text = json.dumps(configuration.to_record())
    path = Path(configuration_path(text))
    # once is enough, and a folder that cannot be written to is then none of a dry run's business
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    return str(path)


def configuration_path(text: str) -> str:
    """The path of the file with this text."""
    return str(layout.PRIVATE / f"config-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json")
