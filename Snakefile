# Errata: teach a language model from the questions it first got wrong, then make it fit a memory limit.
from snakemake.utils import min_version

min_version("9.0")


# A file named on the command line replaces the laptop default as a whole: no key of it leaks in.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


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


# Small or in need of the network: they run where Snakemake runs, on a cluster too.
localrules:
    all,
    environment,
    fix,
    fold,
    leaks,
    fetch_gguf,
    fetch_checkpoint,
    merge_questions,
    training_set,
    dataset_info,
    base_answers,
    vote,
    gather_folds,
    score,
    submission,
    report,
    ablation,
    baselines,
    bundle,


rule all:
    default_target: True
    input:
        "results/leaderboard.csv",
        "results/report.html",
        expand("results/{model}/merged/{split}.jsonl", model=PLAN.models, split=SPLITS),
        TARGETS.submissions,
        # for who trains by hand
        expand("results/{model}/sft/dataset_info.json", model=PLAN.trained),


onstart:
    before_jobs()


onsuccess:
    after_jobs()


onerror:
    after_jobs()
