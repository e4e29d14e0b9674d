"""The file that passes the configuration to steps."""

import hashlib
import json
import os
from pathlib import Path

from errata.config.configuration import Configuration
from errata.plan import layout


def write_configuration(configuration: Configuration) -> str:
    """Write a configuration in the working directory, where jobs on other nodes read it too.

    Returns:
        The file's path. It contains a digest of the content. So runs with different configurations have different
        files, and Snakemake reruns a rule that has the path among its params when the configuration changes.
    """
    text = json.dumps(configuration.to_record())
    path = Path(configuration_path(text))
    # an existing file is not written again, so that dry runs work in folders without write permission
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    return str(path)


def configuration_path(text: str) -> str:
    """The path of the configuration file with this text."""
    return str(layout.PRIVATE / f"config-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json")
