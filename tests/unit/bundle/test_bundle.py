import errno
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from errata.bundle import bundle, relocate
from errata.config.validation import validated
from errata.core.errors import UserError
from errata.environments import environment
from errata.models import fetch, store
from errata.plan import plan as plan_module
from errata.plan.plan import Plan
from errata.reporting import provenance
from helpers import REPOSITORY

OLD = 1_700_000_000


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


def checkpoint(folder: Path) -> Path:
    for name in ("config.json", "tokenizer.json", "model.safetensors", ".gitattributes"):
        write(folder / name, f"{name} of {folder.name}")
    return folder


def packed(base: str, source: str, **config: Any) -> dict[str, tarfile.TarInfo]:
    """Bundle the project; the members of the archive by their names in it."""
    whole = {"models": {"m": {"source": source}}, "baselines": {}, "dataset": {}, **config}
    bundle.run(
        SimpleNamespace(  # type: ignore[arg-type]
            output=Path("results/bundle/errata.tar"),
            environments=["workflow"],
            bases=[Path(base)],
            config=json.dumps(whole),
            configfiles=[Path("config/config.yaml")],
        )
    )
    with tarfile.open("results/bundle/errata.tar") as archive:
        return {member.name.removeprefix("errata/"): member for member in archive}


def unpacked(folder: Path) -> Path:
    folder.mkdir()
    subprocess.run(["tar", "-xf", "results/bundle/errata.tar", "-C", folder], check=True)
    return folder / "errata"


def kept_gguf(root: Path) -> None:
    write(root / "models" / "m-1.gguf", "weights")
    store.link_file(Path("models/m-1.gguf"), Path("results/m/base/model.gguf"))


@pytest.mark.usefixtures("project")
def test_project_environment_and_model_come_out_as_they_went_in(tmp_path: Path) -> None:
    kept_gguf(Path())
    for path in (Path("envs/workflow.txt"), Path(".envs/workflow.ok"), Path("models/m-1.gguf")):
        os.utime(path, (OLD + 0.9, OLD + 0.9))
    names = packed("results/m/base/model.gguf", "pypi:m==1")
    assert {name for name in names if not name.startswith((".envs", "envs"))} == {
        *("errata-bundle.json", "Snakefile", "config/config.yaml", "data/train.jsonl", "profiles/slurm/config.yaml"),
        *("slurm", "models/m-1.gguf", "results/m/base/model.gguf"),
    }
    assert names["slurm"].linkname == "profiles/slurm"
    assert {member.uname for member in names.values()} == {""}

    shutil.rmtree("models")
    there = unpacked(tmp_path / "there")
    assert (there / "results/m/base/model.gguf").readlink() == Path("../../../models/m-1.gguf")
    assert (there / "results/m/base/model.gguf").read_text() == "weights"
    prefix = there / ".envs" / "workflow"
    assert (prefix / "lib/one.so").stat().st_ino == (prefix / "lib/other.so").stat().st_ino
    assert (prefix / "bin/python3").readlink() == Path("python")
    # what was older or as old stays so: nothing is built or fetched again
    ages = [(there / path).stat().st_mtime for path in ("envs/workflow.txt", ".envs/workflow.ok", "models/m-1.gguf")]
    assert ages == [OLD, OLD, OLD]
    assert provenance.revision(there).startswith("unknown (not a git checkout, or git is missing), in a bundle of 20")


@pytest.mark.usefixtures("project")
def test_a_checkpoint_of_the_hub_is_packed_whole_and_linked(tmp_path: Path) -> None:
    elsewhere = tmp_path / "scratch"
    elsewhere.mkdir()
    Path("models").symlink_to(elsewhere)
    folder = checkpoint(elsewhere / "org--name@c")
    store.mark_complete(folder, "org/name", "c", ["main"])
    store.link_folder(Path("models/org--name@c"), Path("results/m/base/checkpoint"))
    write(Path("results/m/base/checkpoint/.snakemake_timestamp"))
    names = packed("results/m/base/checkpoint", "org/name")
    shutil.rmtree(elsewhere)
    there = unpacked(tmp_path / "there")
    assert store.read_download(there / "models" / "org--name@c")
    link = there / "results/m/base/checkpoint/config.json"
    assert link.readlink() == Path("../../../../models/org--name@c/config.json")
    assert link.read_text() == "config.json of org--name@c"
    assert names["results/m/base/checkpoint/.snakemake_timestamp"].isreg()
    assert ".gitattributes" not in str(names)


@pytest.mark.parametrize("before", ["a folder of links", "a link to the folder"])
def test_a_folder_from_outside_is_packed_as_what_it_holds(project: Path, tmp_path: Path, before: str) -> None:
    outside = checkpoint(tmp_path / "blobs" / "mine")
    (tmp_path / "mine").mkdir()
    for path in outside.iterdir():
        (tmp_path / "mine" / path.name).symlink_to(path)  # as in the hub's cache
    base = Path("results/m/base/checkpoint")
    if before == "a folder of links":
        store.link_folder(tmp_path / "mine", base)
    else:
        base.parent.mkdir(parents=True)
        base.symlink_to(tmp_path / "mine")
    source = str(tmp_path / "mine")
    packed(str(base), source)
    there = unpacked(tmp_path / "there")
    shutil.rmtree(tmp_path / "mine")
    shutil.rmtree(outside)
    shutil.rmtree(project)
    assert (there / base / "config.json").read_text() == "config.json of mine"
    os.chdir(there)
    # and results/ can be cleaned there
    shutil.rmtree("results")
    arguments = {"source": source, "revision": None, "sha256": None, "output": base, "models": Path("models")}
    fetch.run(SimpleNamespace(**arguments))  # type: ignore[arg-type]
    assert (base / "model.safetensors").read_text() == "model.safetensors of mine"


# A name for each of fetch.HUB_FILES, and what slow tokenizers and code of a model's own read.
OF_A_MODEL = {
    *("config.json", "generation_config.json", "model.safetensors", "model.safetensors.index.json"),
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("special_tokens.json", "audio-tokens.json", "vocab.json", "vocab.txt", "vocab_tokens.txt", "merges.txt"),
    *("spiece.model", "qwen.tiktoken", "chat_template.jinja", "preprocessor_config.json"),
}
NOT_OF_A_MODEL = {
    *("token", "tokens.txt", "hf_token.txt", "token.json", "HF_TOKEN.json", "credentials.json", "secrets.yaml"),
    *(".env", "key.pem", "id_rsa"),
}


@pytest.mark.parametrize("place", ["models/org--name@c", "models/of-mine", "data/mine", "../outside"])
def test_a_model_is_packed_with_all_its_own_files_and_with_no_secret(project: Path, tmp_path: Path, place: str) -> None:
    for name in OF_A_MODEL | NOT_OF_A_MODEL:
        write(project / place / name, f"this is {name}")
        write(project / place / "sub" / name)
    base = Path("results/m/base/checkpoint")
    store.link_folder(Path(place), base)
    names = packed(str(base), str(project / place))
    there = unpacked(tmp_path / "there")
    assert {path.name for path in (there / base).iterdir()} == {*OF_A_MODEL, "sub"}
    assert {path.name for path in (there / base / "sub").iterdir()} == OF_A_MODEL
    assert all((there / base / name).read_text() == f"this is {name}" for name in OF_A_MODEL)
    assert not NOT_OF_A_MODEL & {Path(name).name for name in names if name.startswith(("models", "results"))}


def test_what_a_download_takes_is_what_the_test_before_packs() -> None:
    for pattern in fetch.HUB_FILES:
        assert fnmatch.filter(OF_A_MODEL, pattern), pattern
    for name in OF_A_MODEL:
        assert any(fnmatch.fnmatch(name, pattern) for pattern in fetch.HUB_FILES), name


ENDPOINT = {"engine": "endpoint", "base_url": "http://127.0.0.1:9/v1"}


def plan(teacher: str | None = None, source: str = "org/m", **baselines: dict[str, Any]) -> Plan:
    strategies = {"self": {}, "distill": {"teacher": teacher}}
    models = {"m": {"source": source}, "asked": ENDPOINT}
    dataset = {"train": "a", "test": "b"}
    return Plan(validated({"dataset": dataset, "models": models, "baselines": baselines, "strategies": strategies}))


@pytest.mark.parametrize(
    ("teacher", "baselines", "bases"),
    [
        (None, {"big": {"source": "org/big"}}, []),
        ("m", {"big": {"source": "org/big"}}, []),
        ("asked", {}, []),
        ("big", {"big": {"source": "org/big"}, "other": {"source": "org/other"}}, ["big/base/checkpoint"]),
        ("big", {"big": {"source": "pypi:big==1"}}, ["big/base/model.gguf"]),
        ("big", {"big": {"source": "/shared/big"}}, ["big/base/checkpoint"]),
        ("big", {"big": {**ENDPOINT, "source": "org/big"}}, []),
        # made here, of what is there anyway, of another baseline, of nothing known, of itself
        ("big", {"big": {"source": "results/m/tuned/self"}}, []),
        (
            "big",
            {"big": {"source": "results/seed/base/checkpoint"}, "seed": {"source": "o/s"}},
            ["seed/base/checkpoint"],
        ),
        ("big", {"big": {"source": "results/nobody/tuned/self"}}, []),
        ("big", {"big": {"source": "results/big/tuned/self"}}, []),
    ],
)
def test_the_bases_are_those_of_trained_models_and_of_teachers_that_are_served_here(
    teacher: str | None, baselines: dict[str, dict[str, Any]], bases: list[str]
) -> None:
    assert plan_module.bases(plan(teacher, **baselines)) == [
        f"results/{path}" for path in ["m/base/checkpoint", *bases]
    ]


def test_a_trained_model_that_is_made_here_is_not_made_to_be_packed() -> None:
    assert plan_module.bases(plan(source="results/seed/tuned/self", seed={"source": "org/seed"})) == [
        "results/seed/base/checkpoint"
    ]


@pytest.mark.usefixtures("project")
def test_a_teacher_from_outside_is_packed(tmp_path: Path) -> None:
    outside = checkpoint(tmp_path / "big")
    store.link_folder(outside, Path("results/big/base/checkpoint"))
    names = packed("results/big/base/checkpoint", "pypi:m==1", baselines={"big": {"source": str(outside)}})
    assert f"models/{fetch.packed_name(str(outside))}/model.safetensors" in names


@pytest.mark.usefixtures("project")
def test_a_plain_model_of_before_is_packed_in_its_place() -> None:
    write(Path("results/m/base/model.gguf"), "weights")
    names = packed("results/m/base/model.gguf", "pypi:m==1")
    assert names["results/m/base/model.gguf"].isreg()
    assert not any(name.startswith("models") for name in names)


def test_with_git_what_it_tracks_new_code_and_what_the_configuration_names(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project / ".gitignore", "/data/mine.jsonl\n/results/\n/.envs/\n/models/\n")
    write(project / "notes" / "tracked.md")
    write(project / "config" / "hf_token.txt")
    write(project / ".env", "KEY=1")
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "."], check=True)
    write(project / "data" / "mine.jsonl")
    write(project / "config" / "new.yaml")
    write(project / "workflow" / "__pycache__" / "x.pyc")
    write(project / "notes" / "untracked.md")
    (project / "data" / "train.jsonl").unlink()
    kept_gguf(Path())
    before = bundle.state(project)
    names = packed("results/m/base/model.gguf", "pypi:m==1", dataset={"train": "data/mine.jsonl"})
    assert {name for name in names if name.split("/")[0] in ("data", "config", "notes", "workflow", ".env")} == {
        *("config/config.yaml", "config/new.yaml", "data/mine.jsonl", "notes/tracked.md")
    }
    assert "config/hf_token.txt: left out, since it may hold a secret" in capsys.readouterr().out
    assert bundle.state(project) == before
    write(project / "notes" / "tracked.md", "changed")
    assert bundle.state(project) != before


@pytest.mark.parametrize(
    "name",
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "test_token.py"],
)
def test_files_of_a_tokenizer_are_no_secrets(name: str) -> None:
    assert not bundle._secret(Path(name))


@pytest.mark.parametrize(
    "name",
    [".env", ".env.local", "token", "hf_token", "HF-TOKEN.txt", "id_ed25519", "a.pem", ".netrc", "api_tokens.json"],
)
def test_secrets_are_known_by_their_names(name: str) -> None:
    assert bundle._secret(Path("config") / name)


def test_what_lies_outside_or_is_not_built_is_said(project: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "far.jsonl")
    with pytest.raises(UserError, match=r"far\.jsonl: lies outside the project"):
        list(bundle.named_files(project, {"dataset": {"train": str(data)}}))
    assert list(bundle.named_files(project, {"train": {"deepspeed": "data/train.jsonl", "x": str(data)}})) == [
        Path("data/train.jsonl")
    ]
    with pytest.raises(UserError, match=r"\.envs/serve-cpu: not built"):
        list(bundle.environment(project, "serve-cpu"))


def test_a_bundle_is_written_whole_or_not_at_all(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kept_gguf(project)
    packed("results/m/base/model.gguf", "pypi:m==1")
    output = project / "results" / "bundle" / "errata.tar"
    before = output.read_bytes()
    gone = bundle.Member("b", project / "gone")
    with pytest.raises(UserError, match="gone: cannot read"):
        bundle.pack([bundle.Member("a", project / "Snakefile"), gone], output)
    monkeypatch.setattr(bundle, "_bytes", lambda _: 0)
    with pytest.raises(UserError, match="gone: cannot read"):
        bundle.pack([bundle.Member("a", project / "Snakefile"), gone], output)
    monkeypatch.setattr(bundle.os, "fsync", full)
    with pytest.raises(UserError, match=r"errata\.tar: cannot write \(No space left"):
        bundle.pack([bundle.Member("a", project / "Snakefile")], output)
    assert output.read_bytes() == before
    assert [path.name for path in output.parent.iterdir()] == ["errata.tar"]


def test_a_packed_interpreter_looks_for_its_library_beside_itself(tmp_path: Path) -> None:
    binary = tmp_path / "python"
    path = str(tmp_path / "lib").encode()
    binary.write_bytes(b"ELF\0libc.so.6\0" + path + b"\0" + path + b"/more\0end")
    changed = bundle._own_library(binary, tmp_path)
    assert len(changed) == binary.stat().st_size
    assert re.fullmatch(rb"ELF\0libc\.so\.6\0\$ORIGIN/\.\./lib\0+" + re.escape(path) + rb"/more\0end", changed)


# --- after it was unpacked


@pytest.fixture
def moved(project: Path, tmp_path: Path) -> Path:
    """An environment whose base interpreter is gone."""
    (project / ".envs/workflow/bin/python").unlink()
    (project / ".envs/workflow/bin/python").symlink_to("/gone/bin/python")
    return project.rename(tmp_path / "elsewhere")


def test_an_environment_is_made_to_stand_on_this_python(moved: Path) -> None:
    prefix = moved / ".envs" / "workflow"
    digest = environment.sha256(moved / "envs/workflow.txt")
    assert not environment.is_built(prefix, digest)
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    for _ in range(2):
        relocate.point(prefix, base, moved)
        assert relocate.check(prefix).startswith("Python 3.")
    assert f"home = {base.parent}\n" in (prefix / "pyvenv.cfg").read_text()
    assert sorted(path.name for path in (prefix / "bin").iterdir()) == ["python", "python3"]
    # rule environment takes it for built, and needs no uv
    assert environment.is_built(prefix, digest)


def test_an_interpreter_inside_is_linked_so_that_the_folder_can_be_moved(moved: Path) -> None:
    prefix = moved / ".envs" / "workflow"
    relocate.point(prefix, moved / ".envs" / "python" / "bin" / "python3.11", moved)
    assert (prefix / "bin" / "python").readlink() == Path("../../python/bin/python3.11")


def test_another_python_is_refused(moved: Path) -> None:
    path = moved / ".envs" / "workflow" / "pyvenv.cfg"
    path.write_text(path.read_text().replace(f"version_info = {sys.version_info.major}", "version_info = 2"))
    with pytest.raises(UserError, match=r"is for Python 2\.\d+, this is 3.*unpack\.sh --python"):
        relocate.point(path.parent, Path(sys.executable), moved)


def test_an_environment_that_does_not_start_is_said(moved: Path) -> None:
    with pytest.raises(UserError, match="does not start"):
        relocate.check(moved / ".envs" / "workflow")


def test_another_machine_is_told_apart() -> None:
    made = {"machine": "x86_64", "libc": "glibc 2.36"}
    assert not relocate.check_machine(made, "x86_64", "glibc 2.36")
    assert not relocate.check_machine(made, "x86_64", "glibc 2.40")
    assert relocate.check_machine(made, "x86_64", "glibc 2.9")
    with pytest.raises(UserError, match="This machine is aarch64"):
        relocate.check_machine(made, "aarch64", "glibc 2.36")
    with pytest.raises(UserError, match="not glibc"):
        relocate.check_machine(made, "x86_64", "unknown")


def test_libraries_that_do_not_load_are_listed(moved: Path) -> None:
    prefix = moved / ".envs" / "workflow"
    relocate.point(prefix, Path(sys._base_executable), moved)  # type: ignore[attr-defined]
    assert relocate.faults([prefix]) == ["all of them load"]
    (packages,) = prefix.glob("lib/python*/site-packages")
    write(packages / "peft.py", "raise ImportError('GLIBC_2.36 not found')")
    assert relocate.faults([prefix]) == ["workflow: peft: GLIBC_2.36 not found"]


@pytest.fixture
def bare_path(tmp_path: Path) -> Callable[[str], str]:
    """A PATH with hardly anything on it, and a Python that does as told."""

    def path(python: str) -> str:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in ("dirname", "env"):
            (folder / name).symlink_to(shutil.which(name) or "")
        if python:
            write(folder / "python3.11", f"#!/bin/sh\n{python}\n").chmod(0o755)
        return str(folder)

    return path


@pytest.mark.parametrize(
    ("python", "flags", "said"),
    [
        ("", [], "No Python 3.11 with its whole standard library was found"),
        ("echo no ssl >&2; exit 1", [], "No Python 3.11"),
        ("", ["--python", "/bin/false"], "/bin/false does not do here"),
        ("", ["--pyton"], "usage: sh envs/unpack.sh"),
        ('[ "$1" = -c ] || echo "with $@ in $PYTHONPATH"', [], "with -m errata relocate in workflow"),
    ],
)
def test_unpack_finds_a_python_or_says_what_to_do(
    tmp_path: Path, bare_path: Callable[[str], str], python: str, flags: list[str], said: str
) -> None:
    script = write(tmp_path / "errata" / "envs" / "unpack.sh", (REPOSITORY / "envs" / "unpack.sh").read_text())
    done = subprocess.run(
        ["/bin/sh", script, *flags], env={"PATH": bare_path(python)}, capture_output=True, text=True, cwd="/"
    )
    assert said in done.stdout + done.stderr
    assert (done.returncode == 0) == said.startswith("with")
