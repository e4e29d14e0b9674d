# What the rules share: the configuration and what follows from it, wildcards, flags, and the prefix of every job.
import json
import os
import re
import shlex
import sys
from functools import partial
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

PACKAGE = os.path.join(PROJECT, "workflow")
if not os.path.isdir(PACKAGE):
    raise WorkflowError(f"{PROJECT}: no folder of this machine. Clone Errata and use its Snakefile from there.")
sys.path.insert(0, PACKAGE)

from errata.cluster.hooks import Hooks
from errata.asking import prompts
from errata.config.validation import read_configuration
from errata.core.errors import UserError
from errata.core.files import read_json
from errata.data.records import SPLITS
from errata.plan import layout, migration
from errata.plan.configuration_file import write_configuration
from errata.plan.failures import shorten_failures
from errata.plan.flags import flags, server_flags, unless
from errata.plan.plan import Plan, bases
from errata.plan.targets import Targets

HOOKS = Hooks()
# In a module, --config belongs to the workflow that uses it. Only the keys that it passes on count here.
OVERRIDES = workflow.config_settings.config
if not workflow.modifier.is_main_snakefile():
    OVERRIDES = {name: value for name, value in OVERRIDES.items() if name in config}

try:
    CONFIGURATION = read_configuration(config, workflow.configfiles, OVERRIDES)
    layout.link_workflow()
    PLAN = Plan(CONFIGURATION)
    TARGETS = Targets(PLAN, lambda model, strategy: len(training_rows(model, strategy)))
    prompts.check(PLAN.prompt_files())
except UserError as error:
    raise WorkflowError(str(error))

# Steps receive the configuration as this file. A changed configuration has another name, and so reruns these steps.
CONFIGURATION_FILE = write_configuration(CONFIGURATION)
migration.migrate(Path(".snakemake"))
GENERATE, SCORE = CONFIGURATION.generate, CONFIGURATION.score
SHARDS = PLAN.shards
ASKING_THREADS = PLAN.server_threads(os.cpu_count())
# A function of prefix.sh. Steps that need only the standard library run in the Python that runs Snakemake.
PYTHON = "snakemake_python"


def in_shell(*words):
    """Words of a shell command, quoted for the shell and for Snakemake, which takes braces for fields."""
    return shlex.join(words).replace("{", "{{").replace("}", "}}")


shell.prefix(f"set -e; source {in_shell(f'{PACKAGE}/prefix.sh', sys.executable, ':'.join(PLAN.api_key_variables()))}; ")


shorten_failures(logger)


def before_jobs():
    """On Slurm: check that jobs can be submitted, and watch them from then on."""
    try:
        HOOKS.before(workflow.executor_plugin.name, workflow)
    except UserError as error:
        raise WorkflowError(str(error))


def after_jobs():
    """On Slurm: show the GPU hours of this run."""
    HOOKS.after(workflow.executor_plugin.name, filter(workflow.dag.finished, workflow.dag.jobs))


def training_rows(model, strategy):
    """The rows of a training set. Snakemake plans the rest of the jobs once the set is made."""
    return read_json(Path(checkpoints.training_set.get(model=model, strategy=strategy).output[0]))


def any_of(names):
    """A wildcard constraint; it matches nothing where there are no names."""
    return "|".join(map(re.escape, names)) or "(?!)"


def other_splits(wildcards):
    """The files of the other splits, since corrections may name their ids. Their age does not rebuild this split."""
    return ancient([getattr(CONFIGURATION.dataset, split) for split in SPLITS if split != wildcards.split])


def from_asking(path, **shown):
    """The output of an asking rule: the result itself, or with shards a temporary part of it.

    `shown` is how Snakemake's report shows the result.
    """
    if SHARDS == 1:
        return report(path, **shown) if shown else path
    return temp(PLAN.by_part(layout.in_parts(path)))


def parts_of(path):
    """All parts of a result, in order, with the other wildcards left in."""
    return [from_asking(path).replace("{part}", str(part + 1)) for part in range(SHARDS)]


def fetch_flags(wildcards):
    model = PLAN.all_models[wildcards.model]
    return flags(source=model.source, revision=model.revision or None, sha256=model.sha256 or None)


def trust_remote_code(wildcards):
    return flags(trust_remote_code=PLAN.all_models[wildcards.model].trust_remote_code)


# The rules answer, retry and sample share this: the server, and the private files of a job.
SERVER_INPUT = dict(weights=PLAN.server_weights, environment=PLAN.server_environment)
SERVER_RESOURCES = dict(
    # not a param, since answers do not depend on it
    concurrency=GENERATE.concurrency,
    gpu=PLAN.server_gpus,
)


def server_params(step):
    return dict(
        python=PLAN.server_python,
        server=partial(server_flags, PLAN),
        journal=PLAN.job_file(step, layout.JOURNAL),
        server_log=PLAN.job_file(step, layout.SERVER_LOG),
    )


def own_benchmarks(wildcards, input):
    """The measurements of jobs of this configuration; files of renamed strategies or models are ignored.

    They are not inputs: a training must not be repeated because its measurement is missing.
    """
    found = map(str, sorted(Path(layout.BENCHMARKS).rglob("*.tsv")))
    return [path for path in found if any(rule.is_producer(path) for rule in workflow.rules)]


wildcard_constraints:
    model=any_of(PLAN.all_models),
    # folds: all folds of train together, each answered by a model that was trained without it
    split=r"train|test|fold\d+|folds",
    fold=r"\d+",
    strategy=any_of(PLAN.strategies),
    bits=any_of(map(str, PLAN.bits)),
    # +maj8: the majority of 8 samples
    variant=rf"({any_of(['base', *PLAN.tuned_variants])})(\+maj\d+)?",
    environment="[a-z0-9-]+",
    part="[0-9]+",
