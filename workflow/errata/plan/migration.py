"""Records of Snakemake about results of version 0.1.0, rewritten once so that they need not be made again.

Until then the rules report, ablation and baselines had the whole configuration in their commands and did not declare
everything that they read. Both are among Snakemake's reasons to rerun a rule. A record of that time is known by
the configuration among its params: it is replaced by the path of its file, so that a changed configuration is still a
reason; recorded inputs and command are removed, since Snakemake does not compare what was not recorded.

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
        # a record may be missing, or be one that another process is writing; then there is nothing to do
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
    """A recorded param, Python's representation of its value, with the path in place of the configuration."""
    value = ast.literal_eval(param)
    if not (isinstance(value, str) and value.startswith("{") and {"dataset", "models"} <= json.loads(value).keys()):
        return param
    return repr(configuration_path(value))
