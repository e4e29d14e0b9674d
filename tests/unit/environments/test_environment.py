import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from errata.core.errors import UserError
from errata.environments import environment
from helpers import REPOSITORY

ENVS = REPOSITORY / "envs"
LOCKS = sorted(ENVS.glob("*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_lock_contains_no_path_and_every_pin_has_a_hash(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "/" not in text
    assert not re.search(r"^\s*(-[a-z]|--(?!hash=sha256:))", text, re.MULTILINE), "options of an index"
    entries = re.sub(r"\\\n", " ", text).strip().splitlines()
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ;[^-]+)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", entry), entry


def test_every_lock_pins_the_requested_packages() -> None:
    assert {path.stem for path in ENVS.glob("*.in")} == {path.stem for path in LOCKS}
    for asked in ENVS.glob("*.in"):
        pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", asked.with_suffix(".txt").read_text(), re.MULTILINE))
        for name, version in re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?(?:==(\S+))?", asked.read_text(), re.MULTILINE):
            pinned = pins[re.sub(r"[-_.]+", "-", name).lower()]
            assert version in ("", pinned), name


def test_the_workflow_environment_of_a_bundle_has_the_dependencies_of_the_project() -> None:
    project = tomllib.loads((ENVS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [line for line in (ENVS / "workflow.in").read_text().splitlines() if not line.startswith("#")]
    assert asked == project["dependencies"]


def test_settings_of_pip_variables_win() -> None:
    listing = ":env:.find-links='/a'\nglobal.find-links='/b'\nglobal.extra-index-url='x\\ny'\nodd\nglobal.cert=~\n"
    assert environment.parse_pip_settings(listing) == {"find-links": "/a", "extra-index-url": "x\ny"}


def test_uv_uses_the_package_sources_of_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        environment,
        "pip_settings",
        lambda _: {"find-links": "/w /v", "extra-index-url": "u\nv", "cert": "/c"},
    )
    assert environment.uv_environment({"PATH": "/bin"}) == {
        "PATH": "/bin",
        "UV_FIND_LINKS": "/w,/v",
        "UV_INDEX": "u v",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/c",
    }
    assert environment.uv_environment({"UV_DEFAULT_INDEX": "mine", "SSL_CERT_FILE": "/mine"}) == {
        "UV_DEFAULT_INDEX": "mine",
        "UV_FIND_LINKS": "/w,/v",
        "SSL_CERT_FILE": "/mine",
    }


@pytest.mark.parametrize(
    ("lock", "variables", "backend"),
    [
        ("numpy==2.4.6 \\\n", {}, None),
        ("torch==2.11.0 \\\n", {}, None),
        ("numpy==2.4.6 \\\ntorch==2.13.0+cpu \\\n", {}, "cpu"),
        ("torch==2.13.0+cu130 \\\n", {}, "cu130"),
        ("torch==2.13.0+cu130 \\\n", {"UV_TORCH_BACKEND": "auto"}, None),
        ("torch==2.13.0+cpu \\\n", {"UV_FIND_LINKS": "x://wheels"}, None),
    ],
)
def test_torch_backend(lock: str, variables: dict[str, str], backend: str | None) -> None:
    assert environment.torch_backend(lock, variables) == backend


def test_torch_backend_is_left_out_when_a_folder_holds_the_wheel(tmp_path: Path) -> None:
    lock = "torch==2.13.0+cpu \\\n"
    assert environment.torch_backend(lock, {"UV_FIND_LINKS": f"/none,{tmp_path}"}) == "cpu"
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    assert environment.torch_backend(lock, {"UV_FIND_LINKS": f"/none,file://{tmp_path}"}) is None


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for uv that logs its calls, makes a Python and fails to install a lock that says so."""
    path = tmp_path / "bin" / "uv"
    path.parent.mkdir()
    path.write_text(
        f"""#!{sys.executable}
import os, sys
with open({str(tmp_path / "calls")!r}, "a") as file:
    print(*sys.argv[1:], file=file)
if sys.argv[1] == "venv":
    os.makedirs(sys.argv[-1] + "/bin")
    os.symlink(sys.executable, sys.argv[-1] + "/bin/python")
elif "broken" in open(sys.argv[sys.argv.index("--requirement") + 1]).read():
    sys.exit(2)
"""
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # else every library there is gets imported
    return tmp_path / "calls"


def test_an_environment_is_built_once_and_its_flag_is_written_again(uv: Path, tmp_path: Path) -> None:
    lock, prefix, flag = tmp_path / "a.txt", tmp_path / "envs" / "a", tmp_path / "envs" / "a.ok"
    lock.write_text("one==1 \\\n")
    environment.build(lock, prefix, flag)
    assert flag.read_text().strip() == hashlib.sha256(lock.read_bytes()).hexdigest()
    assert [line.split()[0] for line in uv.read_text().splitlines()] == ["venv", "pip"]
    assert "--require-hashes" in uv.read_text()
    flag.unlink()
    environment.build(lock, prefix, flag)
    assert flag.exists()
    assert len(uv.read_text().splitlines()) == 2
    assert sorted(path.name for path in prefix.parent.iterdir()) == ["a", "a.ok"]


@pytest.mark.usefixtures("uv")
def test_a_changed_lock_or_a_broken_environment_is_built_again(tmp_path: Path) -> None:
    lock, prefix, flag = tmp_path / "a.txt", tmp_path / "a", tmp_path / "a.ok"
    lock.write_text("one==1 \\\n")
    environment.build(lock, prefix, flag)
    (prefix / "old").touch()
    lock.write_text("one==2 \\\n")
    environment.build(lock, prefix, flag)
    assert not (prefix / "old").exists()
    (prefix / "bin" / "python").unlink()
    environment.build(lock, prefix, flag)
    assert subprocess.run([prefix / "bin" / "python", "-c", ""]).returncode == 0


@pytest.mark.usefixtures("uv")
def test_failed_build_leaves_the_old_environment_and_no_flag(tmp_path: Path) -> None:
    lock, prefix, flag = tmp_path / "a.txt", tmp_path / "a", tmp_path / "a.ok"
    lock.write_text("one==1 \\\n")
    environment.build(lock, prefix, flag)
    flag.unlink()
    lock.write_text("broken==1 \\\n")
    with pytest.raises(UserError, match=r"a\.txt.*UV_INDEX"):
        environment.build(lock, prefix, flag)
    assert not flag.exists()
    assert (prefix / "bin" / "python").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.txt", "bin", "calls"]


def test_a_missing_uv_is_reported_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(environment.sys, "executable", str(python))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="Install it"):
        environment.find_uv()
