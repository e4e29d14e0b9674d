"""Reads the configuration from a file."""

import json
from pathlib import Path

from errata.config.configuration import Configuration
from errata.config.validation import validate
from errata.core.errors import UserError


def read_configuration_file(path: Path) -> Configuration:
    """Read, check and complete a configuration, YAML or JSON.

    Raises:
        UserError: the file cannot be read or is not a mapping.
        Faults: the configuration is not valid.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        # the YAML reader takes JSON too, but reads its 1e-05 as a text
        config = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"--config {path}: cannot read ({error}). Give a YAML or JSON file.") from error
    if not isinstance(config, dict):
        raise UserError(f"--config {path}: not a mapping of keys. Give a YAML or JSON file.")
    return validate(config, str(path))
