from pathlib import Path

import pytest

from errata.core.errors import UserError
from errata.core.files import remove, whole


def fail_in(path: Path) -> float:
    with whole(path) as folder:
        (folder / "two").touch()
        return 1 / 0


def test_folder_replaces_the_old_one_only_when_finished(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    with whole(path) as folder:
        (folder / "one").write_text("1")
        (folder / "one").chmod(0o600)
    assert (path / "one").stat().st_mode & 0o044 == 0o044
    with pytest.raises(ZeroDivisionError):
        fail_in(path)
    assert [file.name for file in path.iterdir()] == ["one"]
    with whole(path) as folder:
        (folder / "three").touch()
    assert [file.name for file in path.iterdir()] == ["three"]
    assert [file.name for file in path.parent.iterdir()] == ["folder"]


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"), whole(tmp_path / "file" / "folder"):
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
