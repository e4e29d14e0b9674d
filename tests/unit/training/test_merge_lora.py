import json
from pathlib import Path

import pytest

from errata.core.errors import Faults, UserError
from errata.models import checkpoints
from errata.training import merge_lora


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"dtype": "float32"}, "float32"),
        ({"torch_dtype": "torch.float16"}, "float16"),
        ({"dtype": "float8_e4m3"}, "bfloat16"),
        ({}, "bfloat16"),
    ],
)
def test_merged_checkpoint_has_the_dtype_of_its_base(model: Path, config: dict[str, str], expected: str) -> None:
    (model / "config.json").write_text(json.dumps(config))
    assert checkpoints.weights_dtype(model) == expected


def test_merge_refuses_unknown_settings_and_unfinished_adapters(model: Path, tmp_path: Path) -> None:
    with pytest.raises(Faults, match="export_hub_model_id: unknown key"):
        merge_lora.merge(model, model, tmp_path / "o", template="x", settings={"export_hub_model_id": "me"})
    with pytest.raises(UserError, match="no finished adapter"):
        merge_lora.merge(model, model, tmp_path / "o", template="x", settings={})
