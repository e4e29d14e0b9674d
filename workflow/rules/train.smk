# The adapter, and the checkpoint it is merged into.


rule train:
    input:
        base=PLAN.trained_from,
        dataset="results/{model}/sft/{strategy}.json",
        environment=ready(f"train-{PLAN.hardware}"),
    output:
        adapter=directory("results/{model}/adapter/{strategy}"),
        loss=report(
            "results/{model}/loss/{strategy}.png",
            caption="../report/loss.rst",
            category="Training",
        ),
    log:
        "results/logs/{model}/train-{strategy}.log",
    benchmark:
        "results/benchmarks/{model}/train-{strategy}.tsv"
    priority: 10
    params:
        python=python(f"train-{PLAN.hardware}"),
        template=lambda wildcards: CONFIG["models"][wildcards.model]["template"],
        settings=TOLD.settings,
        stage=lambda wildcards: PLAN.strategies[wildcards.strategy].stage,
        seed=CONFIG["generate"]["seed"],
        remote=TOLD.training,
        # checkpoints of a training under way: outside the outputs, which a failed job loses
        work=lambda wildcards: f"results/{wildcards.model}/checkpoints/{wildcards.strategy}",
    message:
        "Training a LoRA adapter of {wildcards.model}: {wildcards.strategy}"
    shell:
        "( {params.python} -m errata train --base {input.base} --dataset {input.dataset} --template {params.template:q}"
        " --stage {params.stage} --seed {params.seed} --settings {params.settings:q} {params.remote:q} --work {params.work}"
        " --output {output.adapter} && cp {output.adapter}/training_loss.png {output.loss} ) 2>&1 | tee -i {log}"


rule merge_lora:
    input:
        base=PLAN.trained_from,
        adapter="results/{model}/adapter/{strategy}",
        environment=ready(f"train-{PLAN.hardware}"),
    output:
        directory("results/{model}/tuned/{strategy}"),
    log:
        "results/logs/{model}/merge_lora-{strategy}.log",
    benchmark:
        "results/benchmarks/{model}/merge_lora-{strategy}.tsv"
    priority: 10
    params:
        python=python(f"train-{PLAN.hardware}"),
        template=lambda wildcards: CONFIG["models"][wildcards.model]["template"],
        settings=json.dumps(CONFIG["export"], sort_keys=True),
        remote=TOLD.remote_code,
    message:
        "Merging the adapter {wildcards.strategy} into {wildcards.model}"
    shell:
        "{params.python} -m errata merge-lora --base {input.base} --adapter {input.adapter}"
        " --template {params.template:q} --settings {params.settings:q} {params.remote:q} --output {output}"
        " 2>&1 | tee -i {log}"
