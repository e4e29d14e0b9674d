# Errata: teach a language model from the questions it first got wrong, then make it fit a memory limit.
import os

from snakemake.utils import min_version

min_version("9.0")

# The folder of this file. It is not `workflow.basedir` where another workflow uses this one as a module.
PROJECT = os.path.dirname(os.path.realpath(workflow.snakefile))


# A configuration file on the command line replaces the default one completely: no key of the default remains.
if not workflow.overwrite_configfiles:

    # the one in the working directory, else the one of the workflow
    configfile: next(filter(os.path.exists, ["config/config.yaml"]), f"{PROJECT}/config/config.yaml")


include: "workflow/rules/common.smk"
include: "workflow/rules/environments.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/asking.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/quantizing.smk"
include: "workflow/rules/scoring.smk"
include: "workflow/rules/reporting.smk"
include: "workflow/rules/bundle.smk"


rule all:
    default_target: True
    input:
        layout.LEADERBOARD,
        layout.REPORT,
        expand(layout.MERGED, model=PLAN.models, split=SPLITS),
        TARGETS.submissions,
        # for training by hand
        expand(layout.DATASET_INFO, model=PLAN.trainable),


# Snakemake runs these hooks for the main workflow only. A workflow that uses this one as a module `errata` on Slurm calls
# errata.before_jobs() and errata.after_jobs() in its own hooks.
onstart:
    before_jobs()


onsuccess:
    after_jobs()


onerror:
    after_jobs()
