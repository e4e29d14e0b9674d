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
