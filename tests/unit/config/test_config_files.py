"""The files that a configuration is read from contain no key twice, and the files that it names exist."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from errata.config.files import repeated_keys
from errata.config.validation import read_configuration
from errata.core.errors import Faults


def repeated(tmp_path: Path, text: str, name: str = "my.yaml") -> list[str]:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return [fault.removeprefix(f"{path}:") for fault in repeated_keys([path])]


def test_a_section_that_is_there_twice_is_reported_with_both_lines(tmp_path: Path) -> None:
    text = "generate:\n  attempts: 3\nmodels: {}\ngenerate:\n  keep: 2\n"
    assert repeated(tmp_path, text) == ["4: generate: line 1 contains this key too, and would be ignored; join the two"]


@pytest.mark.parametrize(
    ("text", "lines_and_keys"),
    [
        ("models:\n  m: {engine: vllm}\n  m: {source: x}\n", ["3: models.m"]),
        ("models:\n  m:\n    serve: {a: 1,\n      a: 2}\n", ["4: models.m.serve.a"]),
        ("a: [{b: 1, c: 2}, {b: 1, b: 2}]\n", ["1: a.1.b"]),
        ("a: 1\na: 2\na: 3\n", ["2: a", "3: a"]),
        ("memory_budget_gib:\n  3: 1\n  '3': 2\n", ["3: memory_budget_gib.3"]),
        ("z: {b: 1,\n b: 2}\na: 1\na: 2\n", ["2: z.b", "4: a"]),
        ("a: 1\nb: {a: 1}\n", []),
        ("", []),
        ("a: [unclosed", []),
    ],
)
def test_keys_are_compared_within_each_mapping(tmp_path: Path, text: str, lines_and_keys: list[str]) -> None:
    assert [": ".join(fault.split(": ")[:2]) for fault in repeated(tmp_path, text)] == lines_and_keys


def test_merge_keys_and_aliases_repeat_nothing(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: 2}\nm: {<<: *base, a: 3}\nn: *base\no:\n  <<: *base\n  <<: {c: 1}\n"
    assert repeated(tmp_path, text) == []
    assert yaml.safe_load(text)["m"] == {"a": 3, "b": 2}


def test_json_is_checked_too(tmp_path: Path) -> None:
    text = '{\n\t"models": {"m": {}},\n\t"models": {}\n}\n'
    assert [fault.split(":")[0] for fault in repeated(tmp_path, text, "my.json")] == ["3"]


def test_files_that_cannot_be_read_again_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert repeated_keys([tmp_path / "missing.yaml", tmp_path / "binary.yaml", tmp_path]) == []


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    for name in ("train", "test"):
        Path(f"{name}.jsonl").write_text("{}\n")
    return {"dataset": {"train": "train.jsonl", "test": "test.jsonl"}, "models": {"m": {"source": "org/model"}}}


def test_files_are_named_from_the_working_directory(config: dict[str, Any], tmp_path: Path) -> None:
    assert read_configuration(config).dataset.train == "train.jsonl"
    config["dataset"]["train"] = str(tmp_path / "train.jsonl")
    read_configuration(config)


def test_every_missing_file_is_reported_with_all_other_faults(config: dict[str, Any], tmp_path: Path) -> None:
    twice = tmp_path / "my.yaml"
    twice.write_text("hardware: cpu\nhardware: cpu\n")
    (tmp_path / "folder").mkdir()
    config["dataset"] |= {"train": "trian.jsonl", "test": 3, "corrections": "folder"}
    config |= {"prompts": {"answer": "mine.txt"}, "score": {"majority": [9]}, "colour": "red"}
    with pytest.raises(Faults) as error:
        read_configuration(config, [twice])
    remedy = f"Put the file there, or correct the path, which starts from {tmp_path}."
    assert error.value.faults == [
        f"{twice}:2: hardware: line 1 contains this key too, and would be ignored; join the two",
        "colour: unknown key; there are dataset, prompts, models, baselines, hardware, strategies, ablation, generate, "
        "score, train, distributed, export, quantize, memory_budget_gib",
        "dataset.test: 3 is not a text",
        "score.samples: 8 are too few for the majority of 9",
        f"dataset.train: trian.jsonl does not exist. {remedy}",
        f"dataset.corrections: folder is a folder, not a file. {remedy}",
        f"prompts.answer: mine.txt does not exist. {remedy}",
    ]
