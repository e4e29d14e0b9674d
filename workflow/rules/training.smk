# The training set, the adapter, and the checkpoint into which it is merged.

DISTRIBUTED = CONFIGURATION.distributed


# A checkpoint, since a further round or a strategy of the ablation may have nothing to train on (plan/targets.py).
checkpoint training_set:
    input:
        data=layout.TRAIN_DATA,
        answers=PLAN.first_answers,
        retries=PLAN.retries,
        before=PLAN.earlier_sets,
        held_out=PLAN.held_out,
    output:
        layout.TRAINING_SET,
    log:
        layout.log("{model}/training_set-{strategy}"),
    benchmark:
        layout.benchmark("{model}/training_set-{strategy}")
    localrule: True
    params:
        python=PYTHON,
        how=lambda wildcards: flags(
            method=PLAN.strategy(wildcards).method,
            keep=PLAN.strategy(wildcards).keep,
            pairs=PLAN.strategy(wildcards).pairs if PLAN.strategy(wildcards).stage == "dpo" else None,
            replay=PLAN.strategy(wildcards).replay or None,
            or_nothing=PLAN.may_be_empty(wildcards.strategy),
        ),
        seed=GENERATE.seed,
    message:
        "Making the training set of {wildcards.strategy} of {wildcards.model}"
    shell:
        "{params.python:q} -m errata training-set --data {input.data} --answers {input.answers}"
        " --retries {input.retries} --before {input.before} --held-out {input.held_out} {params.how:q}"
        " --seed {params.seed} --output {output} 2>&1 | tee -i {log}"


rule dataset_info:
    output:
        layout.DATASET_INFO,
    log:
        layout.log("{model}/dataset_info"),
    benchmark:
        layout.benchmark("{model}/dataset_info")
    localrule: True
    params:
        python=PYTHON,
        strategies=PLAN.strategies_of("sft"),
        preferences=PLAN.strategies_of("dpo"),
    message:
        "Describing the training sets of {wildcards.model} to LLaMA-Factory"
    shell:
        "{params.python:q} -m errata dataset-info --strategies {params.strategies:q}"
        " --preferences {params.preferences:q} --output {output} 2>&1 | tee -i {log}"


rule train:
    input:
        base=PLAN.start_checkpoint,
        dataset=layout.TRAINING_SET,
        environment=layout.ready(f"train-{PLAN.hardware}"),
    output:
        adapter=directory(layout.ADAPTER),
        loss=report(
            layout.LOSS,
            caption="../report/loss.rst",
            category="Training",
        ),
    log:
        layout.log("{model}/train-{strategy}"),
    benchmark:
        layout.benchmark("{model}/train-{strategy}")
    priority: 10
    params:
        python=layout.python(f"train-{PLAN.hardware}"),
        template=lambda wildcards: PLAN.models[wildcards.model].template,
        settings=PLAN.training_settings,
        stage=lambda wildcards: PLAN.strategy(wildcards).stage,
        seed=GENERATE.seed,
        remote=lambda wildcards: flags(
            trust_remote_code=PLAN.all_models[wildcards.model].trust_remote_code,
            strategy=unless("ddp", DISTRIBUTED.strategy),
            processes=DISTRIBUTED.processes,
            continuations=unless(20, DISTRIBUTED.continuations),
            grace=unless(25, DISTRIBUTED.grace),
            margin=DISTRIBUTED.margin,
        ),
        # outside the outputs, which Snakemake deletes when a job fails
        work=layout.WORK,
    message:
        "Training a LoRA adapter of {wildcards.model}: {wildcards.strategy}"
    shell:
        "( {params.python} -m errata train --base {input.base} --dataset {input.dataset} --template {params.template:q}"
        " --stage {params.stage} --seed {params.seed} --settings {params.settings:q} {params.remote:q}"
        " --work {params.work} --output {output.adapter} && cp {output.adapter}/training_loss.png {output.loss} ) 2>&1 | tee -i {log}"


rule merge_lora:
    input:
        base=PLAN.start_checkpoint,
        adapter=layout.ADAPTER,
        environment=layout.ready(f"train-{PLAN.hardware}"),
    output:
        directory(layout.TUNED),
    log:
        layout.log("{model}/merge_lora-{strategy}"),
    benchmark:
        layout.benchmark("{model}/merge_lora-{strategy}")
    priority: 10
    params:
        python=layout.python(f"train-{PLAN.hardware}"),
        template=lambda wildcards: PLAN.models[wildcards.model].template,
        settings=json.dumps(CONFIGURATION.export, sort_keys=True),
        remote=trust_remote_code,
    message:
        "Merging the adapter {wildcards.strategy} into {wildcards.model}"
    shell:
        "{params.python} -m errata merge-lora --base {input.base} --adapter {input.adapter}"
        " --template {params.template:q} --settings {params.settings:q} {params.remote:q} --output {output}"
        " 2>&1 | tee -i {log}"
