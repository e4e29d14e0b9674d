"""Snakemake as it is, but for its Slurm plugin's patience: looks at the jobs come every 2 s.

The plugin's pauses grow by 10 s from look to look, so that a job of 35 s is seen to have ended after 64.
"""

from typing import Any

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor


def unheard(self: Executor, value: Any) -> None:
    """The plugin says when it wants to look again."""


Executor.next_seconds_between_status_checks = property(lambda _: 2, unheard)

if __name__ == "__main__":
    main()
