"""Rewrite Snakemake's records about results of version 0.1.0 once, so that these results are not made again.

In that version the rules report, ablation and baselines had the whole configuration in their commands and did not
declare everything that they read. A changed command or input is a reason for Snakemake to rerun a rule. A record of
version 0.1.0 is recognized by the configuration among its params. The configuration is replaced by the path of its
file, so that changing it is still a reason. The inputs and the command are removed, since Snakemake compares only what
is recorded.

This module can be deleted when nobody has results of version 0.1.0 any more. Records in a database
(`--persistence-backend db`) are left as they are: these rules, which take seconds, then run once more.
"""

import ast
import contextlib
import json
import os
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

from errata.plan import layout
from errata.plan.configuration_file import configuration_path

_TABLES = (layout.ABLATION, layout.BASELINES)
_OUTPUTS = (layout.LEADERBOARD, layout.REPORT, *_TABLES, *map(layout.markdown, _TABLES))


def migrate(snakemake: Path) -> None:
    """Rewrite the records of version 0.1.0.

    Args:
        snakemake: the folder .snakemake of the working directory.
    """
    for output in _OUTPUTS:
        # nothing to do if the record is missing, or incomplete because another process is writing it
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            _migrate(snakemake / "metadata" / urlsafe_b64encode(output.encode()).decode())


def _migrate(path: Path) -> None:
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    params = [_without_configuration(param) for param in record["params"]]
    if params == record["params"]:
        return
    record |= {"params": sorted(params), "input": None, "code": None}
    fresh = path.with_name(f".errata.{os.getpid()}")
    fresh.write_text(json.dumps(record), encoding="utf-8")
    fresh.chmod(path.stat().st_mode)
    fresh.replace(path)


def _without_configuration(param: str) -> str:
    """A recorded param, with the path in place of the configuration.

    Args:
        param: Python's representation of the value.
    """
    value = ast.literal_eval(param)
    if not (isinstance(value, str) and value.startswith("{") and {"dataset", "models"} <= json.loads(value).keys()):
        return param
    return repr(configuration_path(value))
