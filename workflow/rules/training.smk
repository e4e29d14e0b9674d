# The training set, the adapter, and the checkpoint it is merged into.


# A checkpoint, since a further round, or a strategy of the ablation, may have nothing to train on: see `there_is`.
checkpoint training_set:
    input:
        data="results/data/train.jsonl",
        answers=PLAN.first_answers,
        retries=PLAN.retries,
        before=PLAN.earlier_sets,
        held_out=PLAN.held_out,
    output:
        "results/{model}/sft/{strategy}.json",
    log:
        "results/logs/{model}/training_set-{strategy}.log",
    benchmark:
        "results/benchmarks/{model}/training_set-{strategy}.tsv"
    params:
        python=PYTHON,
        how=TOLD.learning,
        seed=CONFIG["generate"]["seed"],
    message:
        "Putting together what {wildcards.strategy} of {wildcards.model} is trained on"
    shell:
        "{params.python:q} -m errata training-set --data {input.data} --answers {input.answers}"
        " --retries {input.retries} --before {input.before} --held-out {input.held_out} {params.how:q} --seed {params.seed}"
        " --output {output} 2>&1 | tee -i {log}"


rule dataset_info:
    output:
        "results/{model}/sft/dataset_info.json",
    log:
        "results/logs/{model}/dataset_info.log",
    benchmark:
        "results/benchmarks/{model}/dataset_info.tsv"
    params:
        python=PYTHON,
        strategies=PLAN.described("sft"),
        preferences=PLAN.described("dpo"),
    message:
        "Describing the training sets of {wildcards.model} to LLaMA-Factory"
    shell:
        "{params.python:q} -m errata dataset-info --strategies {params.strategies:q}"
        " --preferences {params.preferences:q} --output {output} 2>&1 | tee -i {log}"


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
