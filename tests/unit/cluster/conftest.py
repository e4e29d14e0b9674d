"""A stand-in for Slurm in each test. No thread may outlive its test."""

import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from errata.cluster import slurm
from errata.cluster.hooks import Hooks
from errata.core.slurm_job import MARK
from slurms import Prints


@pytest.fixture
def prints(monkeypatch: pytest.MonkeyPatch) -> Prints:
    """Set what a command of Slurm prints; any other command prints nothing."""
    outputs = {"scontrol": "AccountingStorageType   = accounting_storage/none\nMinJobAge               = 300 sec\n"}
    monkeypatch.setattr(slurm, "ask", lambda *words: outputs.get(words[0], ""))
    return outputs.__setitem__


@pytest.fixture
def hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hooks]:
    """The hooks of a run in the test's folder; the watch that they start ends with the test."""
    monkeypatch.setenv(MARK, "")
    hooks = Hooks(tmp_path, datetime(2020, 1, 1))
    yield hooks
    hooks.stop()


@pytest.fixture(autouse=True)
def no_watch_is_left() -> Iterator[None]:
    """A watch of an earlier test would start commands of Slurm in the middle of later tests."""
    yield
    assert "errata-watch" not in {thread.name for thread in threading.enumerate()}
