"""Steps run in different environments: none may need at its import what its environment does not have."""

import subprocess
import sys

import pytest

from errata.__main__ import STEPS

HEAVY = ("numpy", "pandas", "scipy", "torch", "transformers", "datasets", "llamafactory", "gptqmodel")
# Their environments, the servers', have the client's packages.
ASKING = {"answer", "retry", "sample", "report", "score", "ablation", "baselines"}


@pytest.mark.parametrize(
    ("steps", "missing"),
    [
        # Snakemake's own Python, those that train and quantize
        (sorted(STEPS.keys() - ASKING), ("aiohttp", "openai", *HEAVY)),
        (sorted(ASKING), HEAVY),
    ],
    ids=["others", "asking"],
)
def test_steps_are_imported_without_what_their_environment_lacks(steps: list[str], missing: tuple[str, ...]) -> None:
    lines = ["import importlib, sys", f"sys.modules.update(dict.fromkeys({missing!r}))"]
    lines += [f"importlib.import_module({STEPS[step][0]!r})" for step in steps]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
