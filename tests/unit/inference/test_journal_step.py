"""Step journal: tables of the completions in journals, and compacting."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asking import StepRunner
from engines import wait_for
from errata.__main__ import main
from errata.data.records import Key
from errata.inference.journal import Journal
from errata.inference.requests import Completion, Request, Sampling
from helpers import indexed, problem, write_jsonl
from servers import Start


def request(id: str, attempt: int = 0) -> Request:
    return Request(Key(id, 0), attempt, "?", Sampling(64, 0.0, 1.0, 7))


def completion(text: str = "The answer is A", reason: str = "stop") -> Completion:
    return Completion(text, reason, prompt_tokens=30, completion_tokens=5, seconds=0.25, cached_tokens=20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of two models: three first answers and two second attempts of m, one first answer of n."""
    path = tmp_path / "journal" / "train.jsonl"
    with Journal(path, "weights 1", "m") as journal:
        for id in "abc":
            journal.add(request(id), completion(f"想 {id}\u2028\n"))
        journal.add(request("a", 1), completion(reason="length"))
        journal.add(request("b", 1), completion())
    with Journal(path, "weights 2", "n") as journal:
        journal.add(request("a"), completion("of n"))
    return path


def labels(path: Path) -> list[str]:
    return [json.loads(line)["model"] for line in path.read_bytes().splitlines()]


def show(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main(["journal", "show", str(path)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def table(shown: str) -> list[list[str]]:
    """The rows of the table, without the times."""
    return [line.split()[:6] for line in shown.splitlines() if "@" in line]


def test_show_counts_by_model_and_attempt(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, shown, _ = show(path, capsys)
    assert status == 0
    assert shown.startswith(f"{path}: 6 completions, 0.0 MiB\n")
    assert shown.splitlines()[1].split()[:4] == ["model", "attempt", "completions", "truncated"]
    of_m, of_n = labels(path)[0], labels(path)[-1]
    assert (of_m[:2], of_n[:2]) == ("m@", "n@")
    assert table(shown) == [
        [of_m, "0", "3", "0", "90", "15"],
        [of_m, "1", "2", "1", "60", "10"],
        [of_n, "0", "1", "0", "30", "5"],
    ]
    other = path.parent / "empty.jsonl"
    other.touch()
    assert main(["journal", "show", str(other), str(path)]) == 0
    assert capsys.readouterr().out == f"{other}: 0 completions, 0.0 MiB\n{shown}"


def test_a_journal_is_shown_while_a_run_writes_it_and_compacting_is_refused(
    steps: StepRunner, scripted: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(steps.data, indexed(*(problem(f"p{number}", "A") for number in range(10))))
    hang = {"content": "The answer is A", "delay": 1000}
    server = scripted(rules=[{"match": "of p9?", "replies": [hang]}])
    command = [sys.executable, "-m", "errata", *steps.command("answer", server.base_url)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        wait_for(lambda: steps.journal.exists() and steps.journal.read_bytes().count(b"\n") == 9)
        with steps.journal.open("ab") as file:
            # as if it were writing at this moment
            file.write(b'{"digest": "00')
        status, shown, _ = show(steps.journal, capsys)
        before = steps.journal.read_bytes()
        assert main(["journal", "compact", str(steps.journal)]) == 1
        message = capsys.readouterr().err
        running.kill()
    assert status == 0
    assert [row[1:3] for row in table(shown)] == [["0", "9"]]
    assert f"{steps.journal}: a run writes this journal. Wait for it or stop it." in message
    assert steps.journal.read_bytes() == before
    assert sorted(each.name for each in steps.folder.glob("*journal*")) == ["journal.jsonl"]


def test_compacting_drops_repeated_and_torn_lines_and_keeps_every_completion(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[1], lines[0], lines[1]]) + lines[2][:50])
    _, shown, _ = show(path, capsys)
    assert "3 lines repeat others; `compact` removes them" in shown
    assert main(["journal", "compact", str(path)]) == 0
    assert f"{path}: 6 completions" in capsys.readouterr().err
    assert path.read_bytes() == b"".join(lines)
    assert "lines repeat" not in show(path, capsys)[1]
    with Journal(path, "weights 1", "m") as journal:
        assert [journal.get(request(id)) for id in "abc"] == [completion(f"想 {id}\u2028\n") for id in "abc"]
        journal.add(request("d"), completion())
    assert main(["journal", "compact", str(path)]) == 0
    assert path.read_bytes().startswith(b"".join(lines))


@pytest.mark.parametrize(
    ("code", "status", "output"),
    [
        (errno.ENOSYS, 0, "this file system has no locks: let no run write this journal meanwhile"),
        (errno.EIO, 1, "cannot write (Input/output error)"),
        (errno.EWOULDBLOCK, 1, "a run writes this journal. Wait for it or stop it."),
    ],
)
def test_a_journal_is_compacted_without_a_lock_only_where_there_are_no_locks(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, status: int, output: str
) -> None:
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[0]]))
    monkeypatch.setattr(fcntl, "flock", flock)
    assert main(["journal", "compact", str(path)]) == status
    assert f"{path}: {output}" in "".join(capsys.readouterr())
    assert path.read_bytes() == b"".join(lines if status == 0 else [*lines, lines[0]])


def test_half_a_character_survives_compacting(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, "w", "m") as journal:
        journal.add(request("a"), completion("\ud83d"))
    assert main(["journal", "compact", str(path)]) == 0
    with Journal(path, "w", "m") as journal:
        assert journal.get(request("a")) == completion("\ud83d")


def test_compacting_for_one_model_keeps_only_that_model(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of_m, of_n = labels(path)[0], labels(path)[-1]
    before = path.read_bytes()
    assert main(["journal", "compact", str(path), "--only-model", "m"]) == 1
    assert f"no completion of m; it has {of_m}, {of_n}." in capsys.readouterr().err
    assert main(["journal", "show", str(path), "--only-model", of_m]) == 1
    assert "--only-model goes with compact" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main(["journal", "compact", str(path), "--only-model", of_n]) == 0
    assert labels(path) == [of_n]
    with Journal(path, "weights 2", "n") as journal:
        assert journal.get(request("a")) == completion("of n")


BROKEN = [b"{\n", b"[1]\n", b"\n", b"\xff\n", b'{"model": "m"}\n', b'{"digest": 1}\n']


@pytest.mark.parametrize("action", ["show", "compact"])
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_line_is_named_and_nothing_is_changed(
    path: Path, capsys: pytest.CaptureFixture[str], action: str, broken: bytes
) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], broken, *lines[2:]]))
    before = path.read_bytes()
    status = main(["journal", action, str(path)])
    message = capsys.readouterr().err
    assert status == 1
    assert f"{path}:3: broken line" in message
    assert "Remove this line" in message
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("action", ["show", "compact"])
def test_a_missing_journal_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str) -> None:
    assert main(["journal", action, str(tmp_path / "nowhere.jsonl")]) == 1
    assert f"{tmp_path / 'nowhere.jsonl'}: cannot read" in capsys.readouterr().err
    assert not (tmp_path / "nowhere.jsonl").exists()
