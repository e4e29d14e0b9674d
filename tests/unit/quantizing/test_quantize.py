"""The checks of quantize before GPTQModel, and its corrections after it. tests/slow runs GPTQModel itself."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.core.errors import UserError
from errata.quantizing import dequantize, quantize


def safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    """Write the header of a weight file, without weights."""
    header = {"__metadata__": {"format": "pt"}}
    header |= {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}  # type: ignore[misc]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    (folder / "config.json").write_text("{}")
    safetensors(
        folder / "model-1.safetensors",
        {
            "model.embed_tokens.weight": [49152, 100],
            "model.layers.0.self_attn.q_proj.weight": [576, 576],
            "model.layers.0.input_layernorm.weight": [576],
        },
    )
    safetensors(folder / "model-2.safetensors", {"model.layers.0.mlp.down_proj.weight": [576, 1536]})
    return folder


def test_group_size_is_checked_against_every_part(model: Path) -> None:
    assert sorted(quantize.input_sizes(model)) == [576, 1536]
    quantize.check_group_size(model, 64)
    quantize.check_group_size(model, -1)
    with pytest.raises(UserError, match=r"q_proj has 576 inputs\). Sizes that do: 16, 32, 64;"):
        quantize.check_group_size(model, 128)
    with pytest.raises(UserError, match="group_size: 0"):
        quantize.check_group_size(model, 0)


@given(st.lists(st.lists(st.integers(), max_size=40)), st.integers(1, 20), st.integers())
def test_windows(rows: list[list[int]], length: int, seed: int) -> None:
    cut = quantize.cut_windows(rows, length, seed)
    assert cut == quantize.cut_windows(rows, length, seed)
    for row, window in zip(rows, cut, strict=True):
        assert len(window) == min(len(row), length)
        assert any(row[start : start + len(window)] == window for start in range(len(row) + 1))


def test_calibration_without_texts(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    for text in ("[]", "{}", '[{"text": ""}]'):
        path.write_text(text)
        with pytest.raises(UserError, match="nothing to calibrate on"):
            quantize.read_texts(path)


def test_finished_folder_names_no_path_of_this_machine(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "quantized"
    folder.mkdir()
    safetensors(folder / "model.safetensors", {})
    meta = {"meta": {"offload_to_disk_path": "/secret", "damp_percent": 0.05}, "bits": 4}
    (folder / "quantize_config.json").write_text(json.dumps(meta))
    (folder / "config.json").write_text(json.dumps({"quantization_config": meta}))
    (folder / "quant_log.csv").write_text("layer,module,loss\n0,q_proj,0.1\n1,k_proj,rtn fallback\n")
    quantize.finish(model, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "quantize_config.json",
        "quantize_log.csv",
        "tokenizer.json",
    ]
    assert not any("/secret" in path.read_text() for path in folder.glob("*.json"))
    assert json.loads((folder / "config.json").read_text())["quantization_config"]["meta"] == {"damp_percent": 0.05}
    assert "1 modules saw too few" in capsys.readouterr().err


def test_small_machines_get_workers_enough() -> None:
    small: dict[str, str] = {}
    quantize.prepare_environment(small, 2)
    assert small["GPTQMODEL_CPU_WORKERS"] == "2"
    large = {"GPTQMODEL_DISABLE_PACK_EXT": "0"}
    quantize.prepare_environment(large, 64)
    assert "GPTQMODEL_CPU_WORKERS" not in large
    assert large["GPTQMODEL_DISABLE_PACK_EXT"] == "0", "the user's choice wins"


def test_plain_checkpoint_cannot_be_dequantized(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a GPTQ checkpoint"):
        dequantize.dequantize(model, tmp_path / "plain")


def test_threads_asked_for_win_over_those_set() -> None:
    environ = {"OMP_NUM_THREADS": "7"}
    quantize.prepare_environment(environ, 8)
    assert environ["OMP_NUM_THREADS"] == "7"
    quantize.prepare_environment(environ, 8, threads=3)
    assert environ["OMP_NUM_THREADS"] == "3"


def test_a_cut_off_weight_file_is_named(model: Path) -> None:
    file = model / "model-2.safetensors"
    for content in (b"", b"\xff" * 16, file.read_bytes()[:40]):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"model-2\.safetensors: not a safetensors file"):
            quantize.check_group_size(model, 64)


def test_a_quantized_checkpoint_is_not_quantized_again(model: Path, tmp_path: Path) -> None:
    (model / "config.json").write_text('{"quantization_config": {"quant_method": "gptq"}}')
    with pytest.raises(UserError, match="already quantized"):
        quantize.quantize(model, ["text"], tmp_path / "out", quantize.Settings(4, 64, max_length=8, seed=1))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu avx2 avx512f", False),
        ("model name\t: a bf16 wonder", False),
    ],
)
def test_bf16_is_used_where_the_cores_have_it(tmp_path: Path, line: str, expected: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{line}\n")
    assert quantize.fast_bf16(cpuinfo) is expected
    assert quantize.fast_bf16(tmp_path / "none") is False
