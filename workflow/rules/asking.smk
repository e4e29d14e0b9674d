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


# Decoding beside the greedy completion: several completions are sampled, and the majority of their answers counts.


rule sample:
    input:
        data=PLAN.data,
        prompt=PLAN.prompt_file("answer"),
        weights=PLAN.asking_weights,
        environment=PLAN.asking_environment,
    output:
        samples=asked("results/{model}/samples/{variant}/{split}.jsonl"),
        summary=asked("results/{model}/samples/{variant}/{split}.summary.json"),
    log:
        PLAN.sharded("results/logs/{model}/sample-{variant}-{split}.log"),
    benchmark:
        PLAN.sharded("results/benchmarks/{model}/sample-{variant}-{split}.tsv")
    wildcard_constraints:
        variant=any_of(["base", *PLAN.tuned]),
    threads: ASKING_THREADS
    resources:
        concurrency=CONFIG["generate"]["concurrency"],
        gpu=PLAN.asking_gpus,
    params:
        python=PLAN.asking_python,
        server=TOLD.asking,
        samples=CONFIG["score"]["samples"],
        sampling=TOLD.sampling(CONFIG["score"]["temperature"], CONFIG["score"]["top_p"]),
        journal=PLAN.asking("sample", "results/{model}/journal/{job}.jsonl"),
        server_log=PLAN.asking("sample", "results/logs/{model}/{job}.server.log"),
    message:
        f"Sampling completions of {{wildcards.variant}} of {{wildcards.model}} for {{wildcards.split}}{PART}"
    shell:
        "{params.python} -m errata sample --data {input.data} --prompt {input.prompt:q} --samples {params.samples}"
        " {params.server:q} {params.sampling:q} --concurrency {resources.concurrency} --journal {params.journal}"
        " --server-log {params.server_log} --output {output.samples} --summary {output.summary} 2>&1 | tee -i {log}"


rule vote:
    input:
        samples="results/{model}/samples/{variant}/{split}.jsonl",
        summary="results/{model}/samples/{variant}/{split}.summary.json",
    output:
        answers="results/{model}/scores/{variant}+maj{votes}/{split}.jsonl",
        summary="results/{model}/scores/{variant}+maj{votes}/{split}.summary.json",
    log:
        "results/logs/{model}/vote-{variant}+maj{votes}-{split}.log",
    benchmark:
        "results/benchmarks/{model}/vote-{variant}+maj{votes}-{split}.tsv"
    wildcard_constraints:
        variant=any_of(["base", *PLAN.tuned]),
        votes=r"\d+",
    params:
        python=PYTHON,
    message:
        "Counting the votes of {wildcards.votes} samples of {wildcards.variant} of {wildcards.model}"
    shell:
        "{params.python:q} -m errata vote --samples {input.samples} --samples-summary {input.summary}"
        " --votes {wildcards.votes} --output {output.answers} --summary {output.summary} 2>&1 | tee -i {log}"


rule gather_folds:
    input:
        data="results/data/train.jsonl",
        parts=PLAN.of_folds(".jsonl"),
        summaries=PLAN.of_folds(".summary.json"),
    output:
        answers="results/{model}/scores/{variant}/folds.jsonl",
        summary="results/{model}/scores/{variant}/folds.summary.json",
    log:
        "results/logs/{model}/gather-{variant}-folds.log",
    wildcard_constraints:
        variant=rf"({any_of(PLAN.whole)})(\+maj\d+)?",
    params:
        python=PYTHON,
    message:
        "Putting together what {wildcards.variant} of {wildcards.model} answered to questions it was not trained on"
    shell:
        "{params.python:q} -m errata gather-folds --data {input.data} --parts {input.parts}"
        " --summaries {input.summaries} --output {output.answers} --summary {output.summary} 2>&1 | tee -i {log}"


# of base there is one model for all folds
ruleorder: gather_folds > vote
