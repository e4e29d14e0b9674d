"""Files and folders are written completely or not at all, and broken ones are named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from errata.core.errors import UserError
from errata.core.files import (
    atomic_file,
    atomic_folder,
    read_json,
    read_jsonl,
    remove,
    write_json,
    write_jsonl,
    write_text,
)


def test_a_file_is_replaced_only_when_all_of_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    write_jsonl(path, [{"a": 1}])

    def rows() -> object:
        yield {"a": 2}
        raise KeyError("stop")

    with pytest.raises(KeyError):
        write_jsonl(path, rows())  # type: ignore[arg-type]
    assert list(read_jsonl(path)) == [{"a": 1}]
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"], "a temporary file is left"


def test_a_new_file_gets_the_usual_rights_and_its_folder(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    write_text(tmp_path / "a" / "b" / "out", "x")
    assert (tmp_path / "a" / "b" / "out").stat().st_mode == plain.stat().st_mode


def test_characters_are_not_escaped(tmp_path: Path) -> None:
    write_json(tmp_path / "out.json", {"题": "因此\n答案是：A"})
    assert "因此\\n答案是：A" in (tmp_path / "out.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "out.json") == {"题": "因此\n答案是：A"}


def test_half_a_character_from_a_model_can_be_written_and_read_again(tmp_path: Path) -> None:
    rows = [{"completion": "cut off at \ud83d"}, {"completion": "a\u2028b\x00c\r\n"}]
    write_jsonl(tmp_path / "out.jsonl", rows)
    assert list(read_jsonl(tmp_path / "out.jsonl")) == rows
    write_json(tmp_path / "out.json", rows)
    assert read_json(tmp_path / "out.json") == rows


@pytest.mark.parametrize("limit", [0, 1000, 100_000])
def test_a_full_disk_is_reported_and_the_old_file_is_kept(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"old": true}\n')
    # a limit on file sizes stands in for a full disk
    program = (
        "import pathlib, resource, sys\nfrom errata.core.errors import UserError\n"
        "from errata.core.files import write_jsonl\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))\n"
        "try:\n    write_jsonl(pathlib.Path(sys.argv[1]), ({'row': 'x' * 100} for _ in range(10_000)))\n"
        "except UserError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", program, str(path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path}: cannot write (File too large)")
    assert path.read_text() == '{"old": true}\n'
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_file_in_place_of_the_folder_and_a_folder_in_place_of_the_file_are_reported(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(UserError, match=r"results/out: cannot write"):
        write_text(tmp_path / "results" / "out", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"folder: cannot write"), atomic_file(tmp_path / "folder") as file:
        file.write("x")
    assert not list((tmp_path / "folder").iterdir())


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(UserError, match=r"answers\.jsonl:2: not valid JSON .*Delete the file"):
        list(read_jsonl(path))
    path.write_text(json.dumps([1]) + "\n")
    with pytest.raises(UserError, match=r"answers\.jsonl:1: not a JSON object"):
        list(read_jsonl(path))
    path.write_bytes(b'{"a": "\xff"}\n')
    with pytest.raises(UserError, match=r"answers\.jsonl"):
        list(read_jsonl(path))


@pytest.mark.parametrize("content", [None, b"{", b'{"a": "\xff"}', b""])
def test_a_broken_document_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "score.json").write_bytes(content)
    with pytest.raises(UserError, match=r"score\.json: (cannot read|not valid JSON)"):
        read_json(tmp_path / "score.json")


def fail_in(path: Path) -> float:
    with atomic_folder(path) as folder:
        (folder / "two").touch()
        return 1 / 0


def test_folder_replaces_the_old_one_only_when_finished(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    with atomic_folder(path) as folder:
        (folder / "one").write_text("1")
        (folder / "one").chmod(0o600)
    assert (path / "one").stat().st_mode & 0o044 == 0o044
    with pytest.raises(ZeroDivisionError):
        fail_in(path)
    assert [file.name for file in path.iterdir()] == ["one"]
    with atomic_folder(path) as folder:
        (folder / "three").touch()
    assert [file.name for file in path.iterdir()] == ["three"]
    assert [file.name for file in path.parent.iterdir()] == ["folder"]


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"), atomic_folder(tmp_path / "file" / "folder"):
        pass


def test_remove_leaves_what_a_link_points_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    link = tmp_path / "link"
    link.symlink_to(kept)
    remove(link)
    remove(link)
    assert kept.is_dir()
    remove(kept)
    assert not kept.exists()
