"""The contents of a bundle are complete, and are the same after unpacking."""

import errno
import fnmatch
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from bundles import checkpoint, keep_gguf, pack_project, unpack, write
from errata.bundle import bundle
from errata.core.errors import UserError
from errata.models import fetch, store
from errata.reporting import provenance

OLD = 1_700_000_000


@pytest.mark.usefixtures("project")
def test_project_environment_and_model_come_out_as_they_went_in(tmp_path: Path) -> None:
    keep_gguf(Path())
    for path in (Path("envs/workflow.txt"), Path(".envs/workflow.ok"), Path("models/m-1.gguf")):
        os.utime(path, (OLD + 0.9, OLD + 0.9))
    names = pack_project("results/m/base/model.gguf", "pypi:m==1")
    assert {name for name in names if not name.startswith((".envs", "envs"))} == {
        *("errata-bundle.json", "Snakefile", "config/config.yaml", "data/train.jsonl", "profiles/slurm/config.yaml"),
        *("slurm", "models/m-1.gguf", "results/m/base/model.gguf"),
    }
    assert names["slurm"].linkname == "profiles/slurm"
    assert {member.uname for member in names.values()} == {""}

    shutil.rmtree("models")
    there = unpack(tmp_path / "there")
    assert (there / "results/m/base/model.gguf").readlink() == Path("../../../models/m-1.gguf")
    assert (there / "results/m/base/model.gguf").read_text() == "weights"
    prefix = there / ".envs" / "workflow"
    assert (prefix / "lib/one.so").stat().st_ino == (prefix / "lib/other.so").stat().st_ino
    assert (prefix / "bin/python3").readlink() == Path("python")
    # the order of the ages stays, so nothing is built or fetched again
    ages = [(there / path).stat().st_mtime for path in ("envs/workflow.txt", ".envs/workflow.ok", "models/m-1.gguf")]
    assert ages == [OLD, OLD, OLD]
    assert provenance.describe_revision(there).startswith(
        "unknown (not a git checkout, or git is missing), in a bundle of 20"
    )


@pytest.mark.usefixtures("project")
def test_a_checkpoint_of_the_hub_is_packed_completely_and_linked(tmp_path: Path) -> None:
    elsewhere = tmp_path / "scratch"
    elsewhere.mkdir()
    Path("models").symlink_to(elsewhere)
    folder = checkpoint(elsewhere / "org--name@c")
    store.mark_complete(folder, "org/name", "c", ["main"])
    store.link_folder(Path("models/org--name@c"), Path("results/m/base/checkpoint"))
    write(Path("results/m/base/checkpoint/.snakemake_timestamp"))
    names = pack_project("results/m/base/checkpoint", "org/name")
    shutil.rmtree(elsewhere)
    there = unpack(tmp_path / "there")
    assert store.read_download(there / "models" / "org--name@c")
    link = there / "results/m/base/checkpoint/config.json"
    assert link.readlink() == Path("../../../../models/org--name@c/config.json")
    assert link.read_text() == "config.json of org--name@c"
    assert names["results/m/base/checkpoint/.snakemake_timestamp"].isreg()
    assert ".gitattributes" not in str(names)


@pytest.mark.parametrize("before", ["a folder of links", "a link to the folder"])
def test_a_folder_from_outside_is_packed_with_its_content(project: Path, tmp_path: Path, before: str) -> None:
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
    pack_project(str(base), source)
    there = unpack(tmp_path / "there")
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
    names = pack_project(str(base), str(project / place))
    there = unpack(tmp_path / "there")
    assert {path.name for path in (there / base).iterdir()} == {*OF_A_MODEL, "sub"}
    assert {path.name for path in (there / base / "sub").iterdir()} == OF_A_MODEL
    assert all((there / base / name).read_text() == f"this is {name}" for name in OF_A_MODEL)
    assert not NOT_OF_A_MODEL & {Path(name).name for name in names if name.startswith(("models", "results"))}


def test_a_bundle_packs_the_files_that_a_download_fetches() -> None:
    for pattern in fetch.HUB_FILES:
        assert fnmatch.filter(OF_A_MODEL, pattern), pattern
    for name in OF_A_MODEL:
        assert any(fnmatch.fnmatch(name, pattern) for pattern in fetch.HUB_FILES), name


@pytest.mark.usefixtures("project")
def test_a_teacher_from_outside_is_packed(tmp_path: Path) -> None:
    outside = checkpoint(tmp_path / "big")
    store.link_folder(outside, Path("results/big/base/checkpoint"))
    names = pack_project("results/big/base/checkpoint", "pypi:m==1", baselines={"big": {"source": str(outside)}})
    assert f"models/{fetch.packed_name(str(outside))}/model.safetensors" in names


@pytest.mark.usefixtures("project")
def test_a_model_that_is_no_link_is_packed_in_its_place() -> None:
    write(Path("results/m/base/model.gguf"), "weights")
    names = pack_project("results/m/base/model.gguf", "pypi:m==1")
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
    keep_gguf(Path())
    before = bundle.digest_project(project)
    names = pack_project("results/m/base/model.gguf", "pypi:m==1", dataset={"train": "data/mine.jsonl"})
    assert {name for name in names if name.split("/")[0] in ("data", "config", "notes", "workflow", ".env")} == {
        *("config/config.yaml", "config/new.yaml", "data/mine.jsonl", "notes/tracked.md")
    }
    assert "config/hf_token.txt: left out, since it may hold a secret" in capsys.readouterr().out
    assert bundle.digest_project(project) == before
    write(project / "notes" / "tracked.md", "changed")
    assert bundle.digest_project(project) != before


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
def test_secrets_are_recognized_by_their_names(name: str) -> None:
    assert bundle._secret(Path("config") / name)


def test_files_outside_and_missing_environments_are_reported(project: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "far.jsonl")
    with pytest.raises(UserError, match=r"far\.jsonl: is outside the project"):
        list(bundle.named_files(project, {"dataset": {"train": str(data)}}))
    assert list(bundle.named_files(project, {"train": {"deepspeed": "data/train.jsonl", "x": str(data)}})) == [
        Path("data/train.jsonl")
    ]
    with pytest.raises(UserError, match=r"\.envs/serve-cpu: not built"):
        list(bundle.environment(project, "serve-cpu"))


def test_a_bundle_is_written_completely_or_not_at_all(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    keep_gguf(project)
    pack_project("results/m/base/model.gguf", "pypi:m==1")
    output = project / "results" / "bundle" / "errata.tar"
    before = output.read_bytes()
    gone = bundle.Member("b", project / "gone")
    with pytest.raises(UserError, match="gone: cannot read"):
        bundle.pack([bundle.Member("a", project / "Snakefile"), gone], output)
    monkeypatch.setattr(bundle, "_total_bytes", lambda _: 0)
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
