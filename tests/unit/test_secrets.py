"""Code of models sees no secret, whichever step runs it. (Servers: inference/test_server.py.)"""

import json
import os
from pathlib import Path

import pytest

from errata.__main__ import main
from errata.core.errors import UserError
from errata.core.secrets import KEY_VARIABLES, drop_secrets, without_secrets
from errata.models import to_gguf
from errata.training import merge_lora, train
from errata.training.train import Launch

# One by each rule; the last is a key's only by the configuration.
SECRETS = ("HF_TOKEN", "WANDB_API_KEY", "AWS_ACCESS_KEY_ID", "OUR_LLM")
# A program that fails, and says which variables it has.
SHOW = "import os, sys; print('VARIABLES', *os.environ); sys.exit(3)"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SECRETS, "HF_HOME"):
        monkeypatch.setenv(name, f"my {name}")
    monkeypatch.setenv(KEY_VARIABLES, "OTHER_KEY:OUR_LLM")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors", "adapter_model.safetensors"):
        (folder / name).write_text("{}")
    return folder


def has_no_secret(shown: str) -> None:
    [line] = [line for line in shown.splitlines() if "VARIABLES" in line]
    assert "HF_HOME" in line.split()
    assert not set(SECRETS) & set(line.split())


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"),
        *(
            "WANDB_API_KEY",
            "GITHUB_TOKEN",
            "MY_SECRET",
            "S3_SECRET_ACCESS_KEY",
            "UV_INDEX_OURS_PASSWORD",
            "db_password",
        ),
        *("AWS_SESSION_TOKEN", "AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CLIENT_ID"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert without_secrets({name: "x", "HOME": "/h"}) == {"HOME": "/h"}


@pytest.mark.parametrize(
    "name", ["PATH", "HF_HOME", "TOKENIZERS_PARALLELISM", "MAX_TOKENS", "SLURM_JOB_ID", "SSL_KEYFILE", "VLLM_KEY_CACHE"]
)
def test_names_of_other_things(name: str) -> None:
    assert without_secrets({name: "x"}) == {name: "x"}


def test_keys_that_the_configuration_names_are_secrets_and_their_names_are_passed_on() -> None:
    environ = {KEY_VARIABLES: "A:B", "A": "x", "B": "y", "C": "z"}
    assert without_secrets(environ) == {KEY_VARIABLES: "A:B", "C": "z"}
    assert without_secrets({KEY_VARIABLES: "", "A": "x"}) == {KEY_VARIABLES: "", "A": "x"}


@pytest.mark.usefixtures("secrets")
def test_a_process_can_drop_its_own_secrets() -> None:
    drop_secrets()
    assert not set(SECRETS) & os.environ.keys()
    assert os.environ["HF_HOME"] == "my HF_HOME"
    drop_secrets()


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize(
    "words",
    [
        ["quantize", "--checkpoint", "none", "--calibration", "none", "--bits", "4", "--output", "none"],
        ["dequantize", "--checkpoint", "none", "--output", "none"],
        ["checkpoint", "--gguf", "none", "--output", "none"],
        [
            *("calibration", "--checkpoint", "none", "--data", "none", "--answers", "none"),
            *("--retries", "none", "--samples", "1", "--output", "none"),
        ],
    ],
    ids=lambda words: words[0],
)
def test_steps_that_run_code_of_models_drop_their_secrets(words: list[str]) -> None:
    assert main(words) == 1, "there is no such file"
    assert not set(SECRETS) & os.environ.keys()


@pytest.mark.usefixtures("secrets")
def test_the_trainer_sees_no_secret(checkpoint: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "self.json"
    dataset.write_text("[]")
    launch = Launch(["python3", "-c", SHOW])
    with pytest.raises(UserError, match="failed with status 3") as failed:
        train.train({"a": 1}, checkpoint, dataset, tmp_path / "work", tmp_path / "adapter", launch)
    has_no_secret(str(failed.value))


@pytest.mark.usefixtures("secrets")
def test_the_merge_sees_no_secret(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llamafactory").mkdir()
    (tmp_path / "llamafactory" / "cli.py").write_text(SHOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UserError, match="failed with status 3") as failed:
        merge_lora.merge(checkpoint, checkpoint, tmp_path / "merged", template="x", settings={})
    has_no_secret(str(failed.value))


@pytest.mark.usefixtures("secrets")
def test_the_converter_to_gguf_sees_no_secret(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkpoint / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    (tmp_path / "convert_hf_to_gguf.py").write_text(SHOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UserError, match="converter failed") as failed:
        to_gguf.convert(checkpoint, tmp_path / "model.gguf")
    has_no_secret(str(failed.value))
