"""Steps run in different environments: no step may need a package at import that its environment lacks."""

import subprocess
import sys
from pathlib import Path

import pytest

from asking import StepRunner
from errata.__main__ import STEPS
from helpers import indexed, problem, write_jsonl

# What `make setup` does not install: a user of .venv has only the dependencies of pyproject.toml, and the environments
# that train and quantize have no client.
LACKING = (
    *("aiohttp", "httpx", "openai"),
    *("jinja2", "matplotlib", "numpy", "pandas", "scipy"),
    *("torch", "transformers", "datasets", "llamafactory", "gptqmodel", "xllamacpp", "huggingface_hub"),
)
BLOCK = f"import sys\nsys.modules.update(dict.fromkeys({LACKING!r}))\n"
MAIN = f"{BLOCK}from errata.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"


def python(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)


def test_steps_are_imported_without_the_packages_that_some_environment_lacks() -> None:
    lines = [f"importlib.import_module({module!r})" for module, _ in STEPS.values()]
    done = python(f"{BLOCK}import importlib\n" + "\n".join(lines))
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_step_shows_its_flags_after_make_setup_alone() -> None:
    # one process for all: starting thirty takes most of a minute
    program = f"""{BLOCK}
from errata.__main__ import STEPS, main
for step in STEPS:
    try:
        main([step, "--help"])
    except SystemExit as end:
        assert end.code == 0, step
"""
    done = python(program)
    assert done.returncode == 0, done.stderr[-2000:]
    for step in STEPS:
        assert f"usage: python -m errata {step} " in done.stdout


@pytest.mark.parametrize(
    ("engine", "made", "environment"),
    [
        ("endpoint", None, ".envs/serve-cpu"),
        ("llamacpp", None, ".envs/serve-cpu"),
        ("vllm", None, ".envs/serve-cuda"),
        ("vllm", ".envs/serve-vllm-cpu", ".envs/serve-vllm-cpu"),
    ],
)
def test_a_step_that_asks_names_the_environment_it_needs(
    steps: StepRunner, monkeypatch: pytest.MonkeyPatch, engine: str, made: str | None, environment: str
) -> None:
    monkeypatch.chdir(steps.folder)
    if made:
        Path(made).mkdir(parents=True)
    write_jsonl(steps.data, indexed(problem("p", "A")))
    (steps.folder / "model.gguf").write_bytes(b"weights")
    flags = steps.command("answer", "http://127.0.0.1:9/v1", engine=engine, weights=steps.folder / "model.gguf")
    done = python(MAIN, *flags)
    assert done.returncode == 1
    assert f"step answer needs the packages of {environment}" in done.stderr
    assert f"{environment}/bin/python -m errata answer" in done.stderr
    assert f"snakemake {environment}.ok" in done.stderr
    assert "Traceback" not in done.stderr
