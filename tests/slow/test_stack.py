"""Trainer and converters, real, on the small model: what the small pipeline does not do."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import REPOSITORY

pytestmark = pytest.mark.slow

SETTINGS = {
    "quantization_bit": None,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 2,
    "cutoff_len": 128,
    "val_size": 0,
    "logging_steps": 1,
    "save_steps": 1,
    "learning_rate": 5e-4,
}
# In the environment of the converter: the tokens of a checkpoint's tokenizer.
TOKENS = """
import json, sys
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1])
print(json.dumps([tokenizer.encode(text).ids for text in json.loads(sys.argv[2])]))
"""
# In the environment of the server: llama.cpp's own tokens, and a greedy completion.
SERVED = """
import json, socket, sys, urllib.request
import xllamacpp
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
settings = xllamacpp.CommonParams()
settings.model.path, settings.port, settings.hostnames, settings.n_ctx = sys.argv[1], port, ["127.0.0.1"], 512
server = xllamacpp.Server(settings)
def post(path, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=600))
texts = json.loads(sys.argv[2])
tokens = [post("/tokenize", {"content": text, "parse_special": True})["tokens"] for text in texts]
message = {"role": "user", "content": "What is the capital of France? Answer in one sentence."}
question = {"messages": [message], "max_tokens": 16, "temperature": 0}
answer = post("/v1/chat/completions", question)["choices"][0]["message"]["content"]
print(json.dumps({"tokens": tokens, "answer": answer}))
"""
TEXTS = [
    "There are  12 apples\n\n3 pears and x1 = 4.5",
    "因此答案是：A。1、2",
    "don't  tabs\t\té ü 😀 x²½",
    "<|im_start|>user\nhi<|im_end|>\n",
]


def run(python: Path, step: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [python, "-m", "errata", step, *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def served(python: Path, model: Path) -> dict[str, object]:
    command = [python, "-c", SERVED, str(model), json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def train_arguments(base: Path, dataset: Path, folder: Path, **settings: object) -> list[object]:
    return [
        *("--base", base, "--dataset", dataset, "--template", "smollm2", "--seed", 1),
        *("--settings", json.dumps({**SETTINGS, **settings})),
        *("--work", folder / "work", "--output", folder / "adapter"),
    ]


def test_conversion_keeps_tokens_and_answers(
    gguf: Path, base_checkpoint: Path, environment: Callable[[str], Path], tmp_path: Path
) -> None:
    quantize = environment("quantize-cpu")
    back = tmp_path / "back.gguf"
    assert run(quantize, "gguf", "--checkpoint", base_checkpoint, "--output", back).returncode == 0
    command = [quantize, "-c", TOKENS, str(base_checkpoint / "tokenizer.json"), json.dumps(TEXTS)]
    ours = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    python = environment("serve-cpu")
    original, converted = served(python, gguf), served(python, back)
    assert original["tokens"] == converted["tokens"] == ours
    # Not word for word the same: llama.cpp rounds activations too where the weights are Q4_1, and not for fp16.
    for model in (original, converted):
        assert "Paris" in str(model["answer"])


def test_qlora_trains_on_quantized_weights(
    base_checkpoint: Path, environment: Callable[[str], Path], dataset: Path, tmp_path: Path
) -> None:
    settings = {"quantization_bit": 4, "max_steps": 1, "per_device_train_batch_size": 1}
    done = run(environment("train-cpu"), "train", *train_arguments(base_checkpoint, dataset, tmp_path, **settings))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


def test_trainer_error_is_shown(
    base_checkpoint: Path, environment: Callable[[str], Path], dataset: Path, tmp_path: Path
) -> None:
    done = run(environment("train-cpu"), "train", *train_arguments(base_checkpoint, dataset, tmp_path, no_such_key=1))
    assert done.returncode == 1
    assert "no_such_key" in done.stderr
    assert not (tmp_path / "adapter").exists()
