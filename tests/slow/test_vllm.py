"""The vllm engine, real: its CPU build serves the base checkpoint with the code that serves on GPUs."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import REPOSITORY, indexed, problem, read_jsonl, write_jsonl

pytestmark = pytest.mark.slow


def test_vllm_answers_a_question(environment: Callable[[str], Path], base_checkpoint: Path, tmp_path: Path) -> None:
    python = environment("serve-vllm-cpu")
    data = write_jsonl(tmp_path / "data.jsonl", indexed(problem("p1", "A", text="Ann is older than Bob.")))
    command = [python, "-m", "errata", "answer", "--data", data, "--model", "tiny", "--engine", "vllm"]
    command += ["--prompt", REPOSITORY / "config" / "prompts" / "en" / "answer.txt"]
    command += ["--weights", base_checkpoint, "--max-tokens", "16", "--journal", tmp_path / "journal.jsonl"]
    options = {"dtype": "float32", "enforce_eager": True, "max_model_len": 512, "max_num_seqs": 2}
    command += ["--server-options", json.dumps(options), "--server-log", tmp_path / "server.log"]
    command += ["--output", tmp_path / "answers.jsonl", "--summary", tmp_path / "summary.json"]
    run = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    (row,) = read_jsonl(tmp_path / "answers.jsonl")
    assert row["model"] == "tiny"
    assert row["completion"]
    assert row["prompt_tokens"] > 20
    assert 0 < row["completion_tokens"] <= 16
    left = subprocess.run(["pgrep", "-f", str(base_checkpoint)], capture_output=True, text=True)
    assert left.stdout == "", "vLLM's processes outlive the step"
