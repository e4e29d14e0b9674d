# Decoding beside the greedy completion: several completions are sampled, and the majority of their answers counts.


rule sample:
    input:
        data=data_of,
        prompt=prompt_file("answer"),
        weights=asking_weights,
        environment=asking_environment,
    output:
        samples=asked("results/{model}/samples/{variant}/{split}.jsonl"),
        summary=asked("results/{model}/samples/{variant}/{split}.summary.json"),
    log:
        sharded("results/logs/{model}/sample-{variant}-{split}.log"),
    benchmark:
        sharded("results/benchmarks/{model}/sample-{variant}-{split}.tsv")
    wildcard_constraints:
        variant=any_of(["base", *TUNED]),
    threads: ASKING_THREADS
    resources:
        concurrency=CONFIG["generate"]["concurrency"],
        gpu=asking_gpus,
    params:
        python=asking_python,
        server=asking_server,
        samples=SCORE["samples"],
        sampling=sampling_flags(SCORE["temperature"], SCORE["top_p"]),
        journal=lambda wildcards: f"results/{wildcards.model}/journal/{sample_name(wildcards)}.jsonl",
        server_log=lambda wildcards: f"results/logs/{wildcards.model}/{sample_name(wildcards)}.server.log",
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
        variant=any_of(["base", *TUNED]),
        votes=r"\d+",
    params:
        python=PYTHON,
    message:
        "Counting the votes of {wildcards.votes} samples of {wildcards.variant} of {wildcards.model}"
    shell:
        "{params.python:q} -m errata vote --samples {input.samples} --samples-summary {input.summary}"
        " --votes {wildcards.votes} --output {output.answers} --summary {output.summary} 2>&1 | tee -i {log}"
