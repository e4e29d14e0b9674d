"""Real quantization of a small random model: what the checkpoints hold, and that their numbers survive the chain."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import REPOSITORY

pytestmark = pytest.mark.slow

GROUP = 64
HIDDEN, INNER, LAYERS = 128, 192, 2
# inputs and outputs of a layer's linear modules
SHAPES = [*[(HIDDEN, HIDDEN)] * 4, *[(HIDDEN, INNER)] * 2, (INNER, HIDDEN)]

MAKE_MODEL = """
import sys
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

hidden, inner, layers, folder = *map(int, sys.argv[1:4]), sys.argv[4]
torch.manual_seed(1)
tokens = ["<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
raw = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, []))
raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
raw.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|im_end|>")
tokenizer.chat_template = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\\n{{ message['content'] }}<|im_end|>\\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\\n{% endif %}"
)
tokenizer.save_pretrained(folder)
config = LlamaConfig(
    vocab_size=len(tokens), hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
    num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=True, eos_token_id=1, pad_token_id=1,
)
LlamaForCausalLM(config).save_pretrained(folder)
"""

# prints, for every matrix: how far its weights lie from their group's grid, and from the original (relative, RMS)
INSPECT = """
import json, sys
from safetensors.torch import load_file

original, quantized, plain = (load_file(f"{folder}/model.safetensors") for folder in sys.argv[1:4])
bits, group = int(sys.argv[4]), int(sys.argv[5])
packed = [tensor for name, tensor in quantized.items() if name.endswith((".qweight", ".qzeros", ".scales"))]
report = {"matrices": {}, "same": True, "bytes": sum(tensor.nbytes for tensor in packed)}
for name, before in original.items():
    after = plain[name].float()
    module = name.removesuffix(".weight")
    if f"{module}.qweight" not in quantized:
        report["same"] &= bool((after - before).abs().max() <= before.abs().max() * 2**-8)
        continue
    scales = quantized[f"{module}.scales"].float().t().repeat_interleave(group, 1)
    steps = after / scales
    report["matrices"][module] = {
        "off_grid": float((steps - steps.round()).abs().max()),
        "lowest": int(steps.round().min()), "highest": int(steps.round().max()),
        "error": float((after - before).norm() / before.norm()),
    }
print(json.dumps(report))
"""

# the step as on a machine whose cores have no bf16 arithmetic
IN_FP32 = """
import sys
from errata.quantizing import quantize
from errata.__main__ import main
quantize.fast_bf16 = lambda: False
sys.exit(main())
"""

RENDER = """
import shutil, sys
from pathlib import Path
from transformers import AutoTokenizer
from errata.core.errors import UserError
from errata.models.chat_template import ChatTemplate

checkpoint, copy = map(Path, sys.argv[1:])
messages = [{"role": "user", "content": " Wer? "}]
tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
asked = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
text = ChatTemplate(checkpoint).render_exchange(" Wer? ", "Ich.\\n")
assert text == asked + "Ich.\\n" + tokenizer.eos_token, (text, asked)

shutil.copytree(checkpoint, copy)
for source in ("{{ raise_exception('no system') }}", "{% for %}", "{{ messages.clear() }}", None):
    tokenizer.chat_template = source
    for file in copy.glob("chat_template*"):
        file.unlink()
    tokenizer.save_pretrained(copy)
    try:
        print(source, "renders", ChatTemplate(copy).render_exchange("Wer?", "Ich."))
    except UserError as error:
        assert ("has no chat template" if source is None else "its chat template cannot be used") in str(error), error
    else:
        sys.exit(1)
"""


@pytest.fixture(scope="session")
def python(environment: Callable[[str], Path]) -> Path:
    return environment("quantize-cpu")


@pytest.fixture(scope="session")
def small(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers with a tokenizer of single bytes."""
    folder = tmp_path_factory.mktemp("small") / "checkpoint"
    subprocess.run([python, "-c", MAKE_MODEL, *map(str, (HIDDEN, INNER, LAYERS, folder))], check=True)
    return folder


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "calibration.json"
    rows = [{"id": "p", "question": n, "text": f"<|im_start|>user\nHow much is {n} times {n * n}?"} for n in range(40)]
    path.write_text(json.dumps(rows))
    return path


def step(python: Path, *arguments: object, run: tuple[str, ...] = ("-m", "errata")) -> subprocess.CompletedProcess[str]:
    command = [str(python), *run, *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def quantize(
    python: Path, checkpoint: Path, texts: Path, bits: int, output: Path, group: int = GROUP, fp32: bool = False
) -> subprocess.CompletedProcess[str]:
    numbers = ("--bits", bits, "--group-size", group, "--samples", 32, "--max-length", 24, "--seed", 3)
    flags = ("--checkpoint", checkpoint, "--calibration", texts, *numbers, "--output", output)
    return step(python, "quantize", *flags, run=("-c", IN_FP32) if fp32 else ("-m", "errata"))


@pytest.mark.parametrize(("bits", "fp32", "tolerated"), [(3, False, 0.35), (4, True, 0.16)])
def test_every_weight_lies_on_the_grid_of_its_group(
    python: Path, small: Path, texts: Path, tmp_path: Path, bits: int, fp32: bool, tolerated: float
) -> None:
    quantized, plain = tmp_path / "quantized", tmp_path / "plain"
    done = quantize(python, small, texts, bits, quantized, fp32=fp32)
    assert done.returncode == 0, done.stderr
    assert "2/2" in done.stderr
    assert not fp32 or "float32" in done.stderr
    assert len(done.stderr.splitlines()) < 10, "GPTQModel's own output came through"
    assert not done.stdout
    done = step(python, "dequantize", "--checkpoint", quantized, "--output", plain)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain", "quantized"]

    companions = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"}
    names = {path.name for path in quantized.iterdir()}
    assert names == companions | {"config.json", "model.safetensors", "quantize_config.json", "quantize_log.csv"}
    for name in companions:
        assert (quantized / name).read_bytes() == (plain / name).read_bytes() == (small / name).read_bytes()
    config = json.loads((quantized / "config.json").read_text())
    settings = config["quantization_config"]
    expected = {"bits": bits, "group_size": GROUP, "sym": True, "desc_act": False, "quant_method": "gptq"}
    assert {key: settings[key] for key in expected} == expected
    assert str(tmp_path) not in (quantized / "config.json").read_text()
    assert config["dtype"] == "bfloat16"
    assert "quantization_config" not in json.loads((plain / "config.json").read_text())
    assert not (plain / "quantize_config.json").exists()

    arguments = [*map(str, (small, quantized, plain)), str(bits), str(GROUP)]
    found = subprocess.run([python, "-c", INSPECT, *arguments], capture_output=True, text=True, check=True)
    report = json.loads(found.stdout)
    assert len(report["matrices"]) == LAYERS * len(SHAPES)
    for module, numbers in report["matrices"].items():
        # fp16 rounds by a 2,048th at most, of up to 2 ** (bits - 1) steps
        assert numbers["off_grid"] <= 2.0 ** (bits - 1) / 2048, module
        assert -(2 ** (bits - 1)) <= numbers["lowest"] < numbers["highest"] <= 2 ** (bits - 1) - 1, module
        assert 0 < numbers["error"] < tolerated, module
    assert report["same"], "what is not quantized changed by more than bf16 rounding"
    # packed integers, and for each group an fp16 scale and a packed zero point
    assert report["bytes"] == LAYERS * sum(
        inputs * outputs * bits // 8 + inputs // GROUP * outputs * (16 + bits) // 8 for inputs, outputs in SHAPES
    )


def test_a_group_size_that_does_not_divide_is_refused_before_anything_is_loaded(
    python: Path, small: Path, texts: Path, tmp_path: Path
) -> None:
    done = quantize(python, small, texts, 4, tmp_path / "out", group=128)
    assert done.returncode == 1
    assert "has 192 inputs" in done.stderr
    assert "Sizes that do: 16, 32, 64;" in done.stderr
    assert not any(tmp_path.iterdir())


def test_a_folder_without_weights_and_one_quantized_already_are_refused(
    python: Path, small: Path, texts: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (bare / name).write_bytes((small / name).read_bytes())
    done = quantize(python, bare, texts, 4, tmp_path / "out")
    assert done.returncode == 1
    assert "no weights" in done.stderr
    assert "Traceback" not in done.stderr
    done = step(python, "dequantize", "--checkpoint", small, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "not a GPTQ checkpoint" in done.stderr
    assert not (tmp_path / "out").exists()


def test_exchanges_are_rendered_by_the_chat_template_and_bad_templates_are_refused(
    python: Path, small: Path, tmp_path: Path
) -> None:
    done = subprocess.run([python, "-c", RENDER, str(small), str(tmp_path / "copy")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
