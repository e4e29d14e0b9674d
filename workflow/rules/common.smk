# What the rules share: the checked configuration and what follows from it, the wildcards, and what holds for every job.
import json
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

PACKAGE = os.path.join(workflow.basedir, "workflow")
sys.path.insert(0, PACKAGE)
# What holds for every job. A prefix takes the place of Snakemake's own, which is what makes `STEP | tee` fail when STEP
# does. Slurm sends SIGTERM to every process of a job: the shell and tee wait until the step has saved what it has.
shell.prefix(
    "set -euo pipefail; trap : TERM; "
    "tee() ( trap '' TERM; exec tee \"$@\" ); "
    # folders of its own, so that two jobs on a node never meet
    "TMPDIR=$(mktemp -d -t errata-${{SLURM_JOB_ID:-$$}}.XXXXXX); export TMPDIR; trap 'rm -rf \"$TMPDIR\"' EXIT; "
    # where code that comes with a model is copied to
    "export HF_MODULES_CACHE=$TMPDIR/modules; "
    # nothing is downloaded by a job: what must be is fetched by local rules, which say so themselves
    "export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_OFFLINE=1 "
    "DO_NOT_TRACK=1 VLLM_NO_USAGE_STATS=1 WANDB_MODE=disabled; "
    f'snakemake_python() ( exec {shlex.quote(sys.executable)} "$@" ); '
    # jobs find the package wherever they run, in any of the environments
    f"export PYTHONPATH={shlex.quote(PACKAGE)}; "
)

from errata.cluster.hooks import Hooks
from errata.asking import prompts
from errata.config.validation import read_configuration
from errata.core.errors import UserError
from errata.core.files import read_json
from errata.data.records import SPLITS
from errata.plan.flags import Told
from errata.plan.plan import Plan, bases, python, ready
from errata.plan.targets import Targets

HOOKS = Hooks()

try:
    CONFIGURATION = read_configuration(config, workflow.configfiles, workflow.config_settings.config)
    # Which models and files a job is about, what it is told of the configuration, and what there is to make.
    CONFIG = CONFIGURATION.to_record()
    PLAN = Plan(CONFIGURATION)
    TOLD = Told(PLAN)
    TARGETS = Targets(PLAN, lambda model, strategy: len(training_rows(model, strategy)))
    prompts.check(PLAN.prompt_files())
except UserError as error:
    raise WorkflowError(str(error))

SHARDS = PLAN.shards
ASKING_THREADS = PLAN.asking_threads(os.cpu_count())
# What only needs the standard library runs in the Python that runs Snakemake: a function of the prefix, so that another
# Python, or a project that was moved, makes nothing anew.
PYTHON = "snakemake_python"


def before_jobs():
    """On Slurm: look whether jobs can be submitted, and watch over them."""
    try:
        HOOKS.before(workflow.executor_plugin.name, workflow)
    except UserError as error:
        raise WorkflowError(str(error))


def after_jobs():
    """On Slurm: the GPU hours of this run."""
    HOOKS.after(workflow.executor_plugin.name, filter(workflow.dag.finished, workflow.dag.jobs))


def training_rows(model, strategy):
    """Snakemake learns what else is to be made once the training set is there."""
    return read_json(Path(checkpoints.training_set.get(model=model, strategy=strategy).output[0]))


def any_of(models):
    """A wildcard constraint; no name at all matches where there are no models."""
    return "|".join(map(re.escape, models)) or "(?!)"


def other_splits(wildcards):
    """The other splits' files: corrections may name their ids. A change there does not make this split anew."""
    return ancient([CONFIG["dataset"][split] for split in SPLITS if split != wildcards.split])


def asked(path, **shown):
    """What an asking rule makes, the result (for the report as `shown`) or a part of it (until they are gathered)."""
    if SHARDS == 1:
        return report(path, **shown) if shown else path
    folder, name = os.path.split(path)
    return temp(PLAN.sharded(f"{folder}/parts/{name}"))


def parts_of(path):
    """All parts of a result, in order; other wildcards stay."""
    return [asked(path).replace("{part}", str(part + 1)) for part in range(SHARDS)]


wildcard_constraints:
    model=any_of(PLAN.settings),
    # folds: what all folds of train have been answered by models trained without them
    split=r"train|test|fold\d+|folds",
    fold=r"\d+",
    strategy=any_of(PLAN.strategies),
    bits=any_of(map(str, PLAN.bits)),
    # with the majority of so many samples
    variant=rf"({any_of(['base', *PLAN.tuned])})(\+maj\d+)?",
    environment="[a-z0-9-]+",
    part="[0-9]+",
