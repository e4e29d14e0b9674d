"""A Snakemake that was killed: its jobs, its records, and its mark in the folder."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake.persistence import MetadataRecord
from snakemake.persistence.file import FilePersistence

from errata.__main__ import main
from errata.cluster import recover
from errata.cluster.hooks import Hooks
from errata.core.errors import UserError
from errata.core.files import write_json
from slurms import Prints, queue, workflow


def recorded(folder: Path, output: str, ended: float, *, incomplete: bool = False) -> None:
    """Make an output, and Snakemake's record of it as Snakemake writes it."""
    path = folder / output
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    book = FilePersistence(nolock=True, path=folder / ".snakemake")
    book._write_record(output, MetadataRecord(endtime=ended))
    if incomplete:
        book._mark_incomplete(output, None)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/."), min_size=1, max_size=60)


@given(parts=st.lists(NAMES, min_size=1, max_size=4))
def test_snakemakes_records_are_read_whatever_the_output_is_called(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("records")
    recorded(folder, "/".join(parts), time.time() - 60)
    assert recover.find_unrecorded(folder) == ["/".join(parts)]


def test_only_what_is_complete_and_newer_than_its_record_is_kept_without_it(tmp_path: Path) -> None:
    recorded(tmp_path, "results/new", time.time() - 60)
    recorded(tmp_path, "results/unchanged", time.time() + 1)
    recorded(tmp_path, "results/half", time.time() - 60, incomplete=True)
    recorded(tmp_path, "results/gone", time.time() - 60)
    (tmp_path / "results/gone").unlink()
    assert recover.find_unrecorded(tmp_path) == ["results/new"]
    assert recover.find_unrecorded(tmp_path / "elsewhere") == []


def test_a_job_that_was_preempted_for_good_does_not_stop_the_next_run(tmp_path: Path, prints: Prints) -> None:
    prints("squeue", queue(("7", "PREEMPTED", "train"), ("8", "NODE_FAIL", "answer"), folder=tmp_path))
    assert recover.active_jobs(tmp_path) == []
    # one that Slurm starts again waits
    prints("squeue", queue(("7", "PENDING", "train"), folder=tmp_path, reason="BeginTime"))
    assert [str(job) for job in recover.active_jobs(tmp_path)] == ["7 (train, pending: BeginTime)"]


@pytest.fixture
def other(tmp_path: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Another process that has marked the folder as Snakemake does."""
    code = "import pathlib, sys; from errata.cluster import recover; recover.mark(pathlib.Path(sys.argv[1]))"
    words = [sys.executable, "-c", f"{code}; print(flush=True); input()", str(tmp_path)]
    where = {**os.environ, "PYTHONPATH": str(Path(recover.__file__).parents[1])}
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=where)
    assert process.stdout
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_nothing_is_done_while_a_snakemake_may_live_on_another_login_node(
    hooks: Hooks, tmp_path: Path, prints: Prints, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = {"host": "login2", "pid": 4711, "started": "1", "since": "2026-11-25 18:00:00"}
    path = tmp_path / ".snakemake" / "errata-main.login2.4711.json"
    write_json(path, mark)
    lock = tmp_path / ".snakemake" / "locks" / "0.input.lock"
    lock.parent.mkdir()
    lock.touch()
    prints("squeue", queue(("7", "RUNNING", "train"), folder=tmp_path))
    words = ["recover", "--directory", str(tmp_path)]
    assert main([*words, "--cancel"]) == 1
    assert lock.exists()
    shown = capsys.readouterr().err
    for part in ("login2", "4711", "2026-11-25 18:00:00", "ssh login2 ps 4711", "--force"):
        assert part in shown
    with pytest.raises(UserError, match=r"on login2 \(process 4711\)"):
        hooks.before("slurm", workflow())
    # once it is known to be gone
    prints("squeue", "")
    monkeypatch.setattr(recover, "_snakemake", lambda *_: lock.unlink())
    assert main([*words, "--force"]) == 0
    assert not path.exists()
    hooks.before("slurm", workflow())
    assert recover.marks(tmp_path)


def test_on_the_same_machine_a_snakemake_lives_if_its_process_has_not_been_another_since(
    tmp_path: Path, other: "subprocess.Popen[bytes]"
) -> None:
    assert recover.running_snakemake(tmp_path) == other.pid
    [path] = recover.marks(tmp_path)
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"started": "1"}))
    assert recover.running_snakemake(tmp_path) is None
    assert not path.exists()
    path.write_text(text)
    assert recover.running_snakemake(tmp_path) == other.pid
    # killed, though its parent does not know yet
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert recover.running_snakemake(tmp_path) is None


def test_recover_says_why_it_waits(
    tmp_path: Path, prints: Prints, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prints("squeue", queue(("7", "PENDING", "train"), folder=tmp_path, reason="QOSMaxWallDurationPerJobLimit"))
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            prints("squeue", "")

    monkeypatch.setattr(time, "sleep", sleep)
    recover.wait(tmp_path)
    shown = capsys.readouterr().err
    assert shown.count("time alone will not start it: QOSMaxWallDurationPerJobLimit") == 1
    assert "`scancel 7` ends it" in shown
    assert "7 (train, pending: QOSMaxWallDurationPerJobLimit)" in shown
