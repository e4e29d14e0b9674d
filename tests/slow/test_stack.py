"""Trainer and converters, real: a few steps on the small model, broken off, resumed, merged and served."""

import json
import os
import signal
import subprocess
import time
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
    return json.load(urllib.request.urlopen(request, timeout=120))
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
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


def test_training_is_broken_off_resumed_merged_and_served(
    base_checkpoint: Path, environment: Callable[[str], Path], dataset: Path, tmp_path: Path
) -> None:
    python = environment("train-cpu")
    arguments = train_arguments(base_checkpoint, dataset, tmp_path)
    command = [python, "-m", "errata", "train", *map(str, arguments)]
    step = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    made = tmp_path / "work" / "output"
    deadline = time.monotonic() + 900
    while not (made / "checkpoint-2" / "trainer_state.json").exists():
        assert step.poll() is None, step.stderr.read() if step.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.2)
    step.send_signal(signal.SIGTERM)
    step.communicate(timeout=60)
    assert step.returncode == 128 + signal.SIGTERM
    # the trainer's work folder is its current one
    assert not [
        entry
        for entry in Path("/proc").glob("[0-9]*/cwd")
        if os.access(entry, os.R_OK) and entry.resolve() == made.parent
    ]

    done = run(python, "train", *arguments)
    assert done.returncode == 0, done.stderr
    assert "resuming after step" in done.stderr
    adapter = tmp_path / "adapter"
    steps = [json.loads(line) for line in (adapter / "trainer_log.jsonl").read_text().splitlines()]
    assert [entry["current_steps"] for entry in steps if "loss" in entry] == list(range(1, 7))
    assert (adapter / "training_loss.png").stat().st_size > 1000
    assert not (tmp_path / "work").exists()

    tuned = tmp_path / "tuned"
    merge = ["--base", base_checkpoint, "--adapter", adapter, "--template", "smollm2", "--output", tuned]
    done = run(python, "merge-lora", *merge)
    assert done.returncode == 0, done.stderr
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (tuned / name).read_bytes() == (base_checkpoint / name).read_bytes()
    assert json.loads((tuned / "config.json").read_text())["dtype"] == "float32"
    assert (tuned / "model.safetensors").read_bytes() != (base_checkpoint / "model.safetensors").read_bytes()
    model = tmp_path / "tuned.gguf"
    assert run(environment("quantize-cpu"), "gguf", "--checkpoint", tuned, "--output", model).returncode == 0
    assert served(environment("serve-cpu"), model)["answer"]


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
