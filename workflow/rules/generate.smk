# The wrong-questions loop: answer everything, ask what was wrong again until right, keep the right answers.
# With generate.shards each asking rule makes parts, one job a part, and a gathering rule makes the result of them.

# What the messages of the asking rules end with.
PART = f", part {{wildcards.part}} of {SHARDS}" if SHARDS > 1 else ""


rule answer:
    input:
        data="results/data/{split}.jsonl",
        prompt=PLAN.prompt_file("answer"),
        weights=PLAN.asking_weights,
        environment=PLAN.asking_environment,
    output:
        answers=asked(
            "results/{model}/answers/{split}.jsonl",
            caption="../report/answers.rst",
            category="Answers",
        ),
        summary=asked("results/{model}/answers/{split}.summary.json"),
    log:
        PLAN.sharded("results/logs/{model}/answer-base-{split}.log"),
    benchmark:
        PLAN.sharded("results/benchmarks/{model}/answer-base-{split}.tsv")
    wildcard_constraints:
        split="train|test",
    # on the path that everything waits for: before environments that are needed later
    priority: 10
    threads: ASKING_THREADS
    resources:
        # not a parameter: another concurrency asks nothing anew
        concurrency=CONFIG["generate"]["concurrency"],
        gpu=PLAN.asking_gpus,
    params:
        python=PLAN.asking_python,
        server=TOLD.asking,
        sampling=TOLD.sampling(CONFIG["generate"]["temperature"]),
        journal=PLAN.asking("answer", "results/{model}/journal/{job}.jsonl"),
        server_log=PLAN.asking("answer", "results/logs/{model}/{job}.server.log"),
    message:
        f"Asking {{wildcards.model}} every question of {{wildcards.split}}{PART}"
    shell:
        "{params.python} -m errata answer --data {input.data} --prompt {input.prompt:q} {params.server:q}"
        " {params.sampling:q} --concurrency {resources.concurrency} --journal {params.journal}"
        " --server-log {params.server_log} --output {output.answers} --summary {output.summary} 2>&1 | tee -i {log}"


use rule answer as answer_variant with:
    output:
        answers=asked("results/{model}/scores/{variant}/{split}.jsonl"),
        summary=asked("results/{model}/scores/{variant}/{split}.summary.json"),
    log:
        PLAN.sharded("results/logs/{model}/answer-{variant}-{split}.log"),
    benchmark:
        PLAN.sharded("results/benchmarks/{model}/answer-{variant}-{split}.tsv")
    wildcard_constraints:
        variant=any_of(PLAN.tuned),
        split=r"train|test|fold\d+",
    message:
        f"Asking {{wildcards.variant}} of {{wildcards.model}} every question of {{wildcards.split}}{PART}"


rule merge_questions:
    input:
        data="results/data/{split}.jsonl",
        answers="results/{model}/answers/{split}.jsonl",
    output:
        "results/{model}/merged/{split}.jsonl",
    log:
        "results/logs/{model}/merge_questions-{split}.log",
    benchmark:
        "results/benchmarks/{model}/merge_questions-{split}.tsv"
    params:
        python=PYTHON,
    message:
        "Putting the answers of {wildcards.model} beside the questions of {wildcards.split}"
    shell:
        "{params.python:q} -m errata merge-questions --data {input.data} --answers {input.answers} --output {output}"
        " 2>&1 | tee -i {log}"


rule retry:
    input:
        data="results/data/train.jsonl",
        answers=PLAN.first_answers,
        prompts=PLAN.method_prompts,
        weights=PLAN.asking_weights,
        environment=PLAN.asking_environment,
    output:
        retries=asked(
            "results/{model}/retries/{strategy}.jsonl",
            caption="../report/retries.rst",
            category="Answers",
        ),
        summary=asked("results/{model}/retries/{strategy}.summary.json"),
    log:
        PLAN.sharded("results/logs/{model}/retry-{strategy}.log"),
    benchmark:
        PLAN.sharded("results/benchmarks/{model}/retry-{strategy}.tsv")
    priority: 10
    threads: ASKING_THREADS
    resources:
        concurrency=CONFIG["generate"]["concurrency"],
        gpu=PLAN.asking_gpus,
    params:
        python=PLAN.asking_python,
        server=TOLD.asking,
        sampling=TOLD.sampling(CONFIG["generate"]["retry_temperature"], CONFIG["generate"]["top_p"]),
        how=TOLD.retry,
        journal=PLAN.asking("retry", "results/{model}/journal/{job}.jsonl"),
        server_log=PLAN.asking("retry", "results/logs/{model}/{job}.server.log"),
    message:
        f"Making completions for {{wildcards.strategy}} of {{wildcards.model}}{PART}"
    shell:
        "{params.python} -m errata retry --data {input.data} --answers {input.answers} {params.how:q}"
        " {params.server:q} {params.sampling:q} --concurrency {resources.concurrency} --journal {params.journal}"
        " --server-log {params.server_log} --output {output.retries} --summary {output.summary} 2>&1 | tee -i {log}"


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


if SHARDS > 1:

    localrules:
        gather_answers,
        gather_scores,
        gather_samples,
        gather_retries,

    rule gather_answers:
        input:
            data="results/data/{split}.jsonl",
            parts=parts_of("results/{model}/answers/{split}.jsonl"),
            summaries=parts_of("results/{model}/answers/{split}.summary.json"),
        output:
            answers=report(
                "results/{model}/answers/{split}.jsonl",
                caption="../report/answers.rst",
                category="Answers",
            ),
            summary="results/{model}/answers/{split}.summary.json",
        log:
            "results/logs/{model}/gather-base-{split}.log",
        wildcard_constraints:
            split="train|test",
        priority: 10
        params:
            python=PYTHON,
        message:
            "Gathering the answers of {wildcards.model} on {wildcards.split}"
        shell:
            "{params.python:q} -m errata gather --data {input.data} --parts {input.parts} --summaries {input.summaries}"
            " --output {output.answers} --summary {output.summary} 2>&1 | tee -i {log}"

    use rule gather_answers as gather_scores with:
        input:
            data="results/data/{split}.jsonl",
            parts=parts_of("results/{model}/scores/{variant}/{split}.jsonl"),
            summaries=parts_of("results/{model}/scores/{variant}/{split}.summary.json"),
        output:
            answers="results/{model}/scores/{variant}/{split}.jsonl",
            summary="results/{model}/scores/{variant}/{split}.summary.json",
        log:
            "results/logs/{model}/gather-{variant}-{split}.log",
        wildcard_constraints:
            variant=any_of(PLAN.tuned),
            split=r"train|test|fold\d+",
        message:
            "Gathering the answers of {wildcards.variant} of {wildcards.model} on {wildcards.split}"

    use rule gather_answers as gather_samples with:
        input:
            data=PLAN.data,
            parts=parts_of("results/{model}/samples/{variant}/{split}.jsonl"),
            summaries=parts_of("results/{model}/samples/{variant}/{split}.summary.json"),
        output:
            answers="results/{model}/samples/{variant}/{split}.jsonl",
            summary="results/{model}/samples/{variant}/{split}.summary.json",
        log:
            "results/logs/{model}/gather-samples-{variant}-{split}.log",
        wildcard_constraints:
            variant=any_of(["base", *PLAN.tuned]),
            split=r"train|test|fold\d+|folds",
        message:
            "Gathering the samples of {wildcards.variant} of {wildcards.model} on {wildcards.split}"

    rule gather_retries:
        input:
            answers=PLAN.first_answers,
            parts=parts_of("results/{model}/retries/{strategy}.jsonl"),
            summaries=parts_of("results/{model}/retries/{strategy}.summary.json"),
        output:
            retries=report(
                "results/{model}/retries/{strategy}.jsonl",
                caption="../report/retries.rst",
                category="Answers",
            ),
            summary="results/{model}/retries/{strategy}.summary.json",
        log:
            "results/logs/{model}/gather-retries-{strategy}.log",
        priority: 10
        params:
            python=PYTHON,
            about=TOLD.about,
        message:
            "Gathering the completions for {wildcards.strategy} of {wildcards.model}"
        shell:
            "{params.python:q} -m errata gather --answers {input.answers} {params.about:q} --parts {input.parts}"
            " --summaries {input.summaries} --output {output.retries} --summary {output.summary} 2>&1 | tee -i {log}"
