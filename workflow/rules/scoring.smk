# Every variant answers the questions; what it got right is counted, and its answers are exported.


rule base_answers:
    input:
        answers=PLAN.base_answered(".jsonl"),
        summary=PLAN.base_answered(".summary.json"),
    output:
        answers="results/{model}/scores/base/{split}.jsonl",
        summary="results/{model}/scores/base/{split}.summary.json",
    log:
        "results/logs/{model}/base_answers-{split}.log",
    wildcard_constraints:
        split="train|test|folds",
    message:
        "Taking the base model's answers as they are: no question is asked twice"
    shell:
        "( cp {input.answers} {output.answers} && cp {input.summary} {output.summary} ) 2> {log}"


rule score:
    input:
        answers="results/{model}/scores/{variant}/{split}.jsonl",
        summary="results/{model}/scores/{variant}/{split}.summary.json",
        weights=PLAN.sized_weights,
        environment=ready("serve-cpu"),
    output:
        report(
            "results/{model}/scores/{variant}/{split}.json",
            caption="../report/score.rst",
            category="Scores",
        ),
    log:
        "results/logs/{model}/score-{variant}-{split}.log",
    benchmark:
        "results/benchmarks/{model}/score-{variant}-{split}.tsv"
    params:
        python=python("serve-cpu"),
        full=lambda wildcards, input: (["--checkpoint", str(input.weights)] if input.weights else []),
        served=PLAN.served_as,
        seen=TOLD.score,
    message:
        "Scoring {wildcards.variant} of {wildcards.model} on {wildcards.split}"
    shell:
        "{params.python} -m errata score --answers {input.answers} --summary {input.summary} --model {wildcards.model}"
        " --variant {wildcards.variant} --split {wildcards.split} {params.full:q} --served {params.served:q}"
        " {params.seen:q} --output {output} 2>&1 | tee -i {log}"


rule submission:
    input:
        data="results/data/{split}.jsonl",
        answers="results/{model}/scores/{variant}/{split}.jsonl",
    output:
        "results/{model}/submission/{variant}/{split}.jsonl",
    log:
        "results/logs/{model}/submission-{variant}-{split}.log",
    benchmark:
        "results/benchmarks/{model}/submission-{variant}-{split}.tsv"
    wildcard_constraints:
        split="train|test",
    params:
        python=PYTHON,
    message:
        "Filling the answers of {wildcards.variant} of {wildcards.model} into the records of {wildcards.split}"
    shell:
        "{params.python:q} -m errata submission --data {input.data} --answers {input.answers} --output {output}"
        " 2>&1 | tee -i {log}"
