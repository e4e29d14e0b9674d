"""Small things that several tests need."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
PROMPTS = REPOSITORY / "config" / "prompts"


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def problem(id: str, *answers: str | None, text: str = "", options: int = 4, **extra: Any) -> dict[str, Any]:
    """A problem as a user's file has it, with one question for each answer; None leaves the answer out."""
    questions: list[dict[str, Any]] = []
    for number, answer in enumerate(answers):
        question = {
            "question": f"Question {number} of {id}?",
            "options": [f"option {letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:options]],
        }
        questions.append(question if answer is None else {**question, "answer": answer})
    return {"id": id, "problem": text or f"The text of {id}.", "questions": questions, **extra}


def indexed(*records: dict[str, Any]) -> list[dict[str, Any]]:
    """Problems as they stand in results/data: each question with its index."""
    return [
        {**record, "questions": [{"index": index, **each} for index, each in enumerate(record["questions"])]}
        for record in records
    ]


def copy_project(folder: Path, configuration: Path) -> Path:
    """Copy the project as a user has it, with this configuration in place of the laptop's; environments are shared."""
    (folder / "config").mkdir(parents=True)
    shutil.copy2(REPOSITORY / "Snakefile", folder)
    for name in ["workflow", "data", "envs", "profiles"]:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "config" / "prompts", folder / "config" / "prompts")
    (folder / "slurm").symlink_to("profiles/slurm")
    shutil.copy2(configuration, folder / "config" / "config.yaml")
    (REPOSITORY / ".envs").mkdir(exist_ok=True)
    (folder / ".envs").symlink_to(REPOSITORY / ".envs")
    return folder


def copy_run(run: Path, folder: Path) -> Path:
    """The same with all that it has made; environments and weights are shared, which no step writes in place."""
    shutil.copytree(run, folder, symlinks=True, copy_function=_copy)
    return folder


def _copy(source: str, target: str) -> None:
    if source.endswith((".safetensors", ".gguf")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def snakemake(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a copy of the project on this machine."""
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def errata(python: Path | str, step: str, *arguments: object) -> None:
    """Run a step, which must succeed, in the repository."""
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow")}
    subprocess.run([python, "-m", "errata", step, *map(str, arguments)], cwd=REPOSITORY, env=variables, check=True)


class StandInTemplate:
    """ChatML in place of the checkpoint's own template, which takes transformers (tests/slow renders the real one)."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint

    def render_exchange(self, prompt: str, completion: str) -> str:
        return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{completion}<|im_end|>"
