"""A small project with an environment, and bundles of it."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from errata.bundle import bundle
from errata.environments import environment
from errata.models import store


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def make_environment(root: Path, name: str) -> Path:
    """An environment as uv makes it: by links and pyvenv.cfg, with a file that has two names."""
    prefix = root / ".envs" / name
    base = Path(sys.base_prefix) / "bin"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    write(prefix / "pyvenv.cfg", f"home = {base}\nversion_info = {version}.0\ninclude-system-site-packages = false\n")
    (prefix / "lib" / f"python{version}" / "site-packages").mkdir(parents=True)
    (prefix / "bin").mkdir()
    (prefix / "bin" / "python").symlink_to(base / f"python{version}")
    (prefix / "bin" / "python3").symlink_to("python")
    write(prefix / "lib" / "one.so", "library")
    (prefix / "lib" / "other.so").hardlink_to(prefix / "lib" / "one.so")
    lock = write(root / "envs" / f"{name}.txt", "one==1\n")
    (prefix / environment.MARKER).write_text(environment.sha256(lock) + "\n")
    write(root / ".envs" / f"{name}.ok")
    return prefix


def checkpoint(folder: Path) -> Path:
    for name in ("config.json", "tokenizer.json", "model.safetensors", ".gitattributes"):
        write(folder / name, f"{name} of {folder.name}")
    return folder


def pack_project(base: str, source: str, **config: Any) -> dict[str, tarfile.TarInfo]:
    """Bundle the project; the members of the archive by their names in it."""
    configuration = {"models": {"m": {"source": source}}, "baselines": {}, "dataset": {}, **config}
    # not among the files of the project
    path = write(Path(".snakemake/errata/config.json"), json.dumps(configuration))
    bundle.run(
        SimpleNamespace(  # type: ignore[arg-type]
            output=Path("results/bundle/errata.tar"),
            environments=["workflow"],
            bases=[Path(base)],
            config=path,
            configfiles=[Path("config/config.yaml")],
        )
    )
    with tarfile.open("results/bundle/errata.tar") as archive:
        return {member.name.removeprefix("errata/"): member for member in archive}


def unpack(folder: Path) -> Path:
    folder.mkdir()
    subprocess.run(["tar", "-xf", "results/bundle/errata.tar", "-C", folder], check=True)
    return folder / "errata"


def keep_gguf(root: Path) -> None:
    write(root / "models" / "m-1.gguf", "weights")
    store.link_file(Path("models/m-1.gguf"), Path("results/m/base/model.gguf"))
