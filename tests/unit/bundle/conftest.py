from pathlib import Path

import pytest

from bundles import make_environment, write
from errata.bundle import bundle


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    write(root / "Snakefile")
    write(root / "config" / "config.yaml")
    write(root / "data" / "train.jsonl")
    write(root / "profiles" / "slurm" / "config.yaml")
    (root / "slurm").symlink_to("profiles/slurm")
    make_environment(root, "workflow")
    monkeypatch.chdir(root)
    monkeypatch.setattr(bundle, "interpreter", lambda _: [])
    return root
