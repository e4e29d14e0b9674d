"""Weight files are found, measured and identified without loading them."""

from pathlib import Path

import pytest

from errata.core.errors import UserError
from errata.models.checkpoints import size_gib, weight_files, weights_digest


def checkpoint(folder: Path, **files: bytes) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.safetensors").write_bytes(content)
    return folder


@pytest.mark.parametrize("place", [0, 70_000, 1_000_000, 3_999_999])
def test_two_versions_of_the_same_size_differ(tmp_path: Path, place: int) -> None:
    content = bytearray(4_000_000)
    one = checkpoint(tmp_path / "one", model=bytes(content))
    # training changes every layer: here a stretch of 128 KiB, anywhere
    content[max(0, place - 131_072) : place + 1] = b"\x01" * (place + 1 - max(0, place - 131_072))
    other = checkpoint(tmp_path / "other", model=bytes(content))
    assert weights_digest(one) != weights_digest(other)


def test_a_copy_elsewhere_is_the_same_model(tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "one", a=b"1" * 1000, b=b"2")
    other = checkpoint(tmp_path / "other", b=b"2", a=b"1" * 1000)
    (other / "README.md").write_text("remarks do not count")
    assert weights_digest(one) == weights_digest(other)
    assert weights_digest(checkpoint(tmp_path / "third", a=b"1" * 1000)) != weights_digest(one), "a shard is missing"


def test_the_size_counts_weights_only_and_follows_links(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", a=b"x" * 2**20, b=b"x" * 2**20)
    (folder / "tokenizer.json").write_bytes(b"x" * 2**20)
    assert size_gib(folder) == pytest.approx(2 / 1024)
    link = tmp_path / "link"
    link.mkdir()
    (link / "a.safetensors").symlink_to(folder / "a.safetensors")
    assert size_gib(link) == pytest.approx(1 / 1024)
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"x" * 2**19)
    assert (weight_files(gguf), size_gib(gguf)) == ([gguf], pytest.approx(0.5 / 1024))


def test_missing_and_pickled_weights_are_reported_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such model folder or GGUF file"):
        weight_files(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no weights in this model folder; copy the \*\.safetensors"):
        weights_digest(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(UserError, match=r"contains pytorch_model\.bin, which may run code .*convert it to safetensors"):
        size_gib(tmp_path)
