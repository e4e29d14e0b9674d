"""What pytest sessions that run side by side make once for all of them, such as a whole run of the small pipeline."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Set by tests/lanes.py.
VARIABLE = "ERRATA_TEST_SHARED"


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder of this name, filled by `make` unless another session has done so.

    Sessions that need it meanwhile wait. Where no runner gave the sessions a common folder, this one has its own.

    Raises:
        RuntimeError: another session could not make it. Its log says why; trying again would take as long.
    """
    root = Path(os.environ.get(VARIABLE) or factory.getbasetemp() / "shared")
    root.mkdir(parents=True, exist_ok=True)
    folder, made, failed = (root / f"{name}{suffix}" for suffix in ("", ".made", ".failed"))
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if failed.exists():
            raise RuntimeError(f"{name} could not be made in {failed.read_text()}; see there")
        if not made.exists():
            folder.mkdir()
            try:
                make(folder)
            except BaseException:
                failed.write_text(os.environ.get("PYTEST_CURRENT_TEST", "another session"))
                raise
            made.touch()
    return folder
