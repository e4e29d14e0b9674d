import json
import struct
from pathlib import Path
from typing import Any

import pytest

from errata.core.errors import UserError
from errata.models import from_gguf
from errata.models.checkpoints import copy_tokenizer

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def fixed(tmp_path: Path, tokenizer: dict[str, Any], pre: str | None) -> dict[str, Any]:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tokenizer))
    from_gguf.fix_tokenizer(path, pre)
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def test_tokenizer_that_looks_like_sentencepiece(tmp_path: Path) -> None:
    tokenizer = {
        "model": {"type": "BPE", "byte_fallback": True, "vocab": {"é": 0}},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [BYTE_LEVEL]},
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}]},
    }
    result = fixed(tmp_path, tokenizer, "gpt-2")
    assert result["model"] == {"type": "BPE", "byte_fallback": False, "vocab": {"é": 0}}
    assert result["decoder"]["type"] == "ByteLevel"
    assert result["pre_tokenizer"] == tokenizer["pre_tokenizer"]


def test_digits_stand_alone_where_the_model_splits_them(tmp_path: Path) -> None:
    tokenizer = {"model": {"type": "BPE"}, "pre_tokenizer": BYTE_LEVEL, "decoder": None}
    parts = fixed(tmp_path, tokenizer, "smollm")["pre_tokenizer"]["pretokenizers"]
    assert [part["type"] for part in parts] == ["Digits", "ByteLevel"]


def test_tokenizer_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    for tokenizer in (
        {"model": {"type": "Unigram", "byte_fallback": True}, "pre_tokenizer": None},
        {"model": {"type": "BPE", "byte_fallback": True}, "pre_tokenizer": {"type": "Metaspace"}},
    ):
        assert fixed(tmp_path, tokenizer, "smollm") == tokenizer


def field(key: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value


def test_text_in_a_gguf_header(tmp_path: Path) -> None:
    gguf = tmp_path / "model.gguf"
    text = "naïve"
    gguf.write_bytes(
        b"GGUF"
        + field("tokenizer.ggml.pre.other", 8, struct.pack("<Q", 1) + b"x")
        + field("tokenizer.ggml.pre", 8, struct.pack("<Q", len(text.encode())) + text.encode())
        + field("general.version", 4, struct.pack("<I", 3) + bytes(8))
    )
    assert from_gguf.read_string(gguf, "tokenizer.ggml.pre") == text
    assert from_gguf.read_string(gguf, "general.version") is None
    assert from_gguf.read_string(gguf, "general.name") is None


def test_copied_tokenizer_replaces_the_written_one(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source, target):
        folder.mkdir()
        (folder / "tokenizer.json").write_text(folder.name)
        (folder / "config.json").write_text(folder.name)
    (target / "special_tokens_map.json").touch()
    (source / "chat_template.jinja").touch()
    copy_tokenizer(source, target)
    assert sorted(path.name for path in target.iterdir()) == ["chat_template.jinja", "config.json", "tokenizer.json"]
    assert (target / "tokenizer.json").read_text() == "source"
    assert (target / "config.json").read_text() == "target"


def test_missing_gguf(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        from_gguf.convert(tmp_path / "model.gguf", tmp_path / "out")
