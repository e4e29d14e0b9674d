# Every variant answers the questions; what it got right is counted, and its answers are exported.


rule gguf:
    input:
        full=PLAN.plain_checkpoint,
        environment=ready(f"quantize-{PLAN.hardware}"),
    output:
        "results/{model}/served/{variant}.gguf",
    log:
        "results/logs/{model}/gguf-{variant}.log",
    benchmark:
        "results/benchmarks/{model}/gguf-{variant}.tsv"
    params:
        python=python(f"quantize-{PLAN.hardware}"),
        format=TOLD.gguf,
    message:
        "Converting {wildcards.variant} of {wildcards.model} to GGUF for llama.cpp"
    shell:
        "{params.python} -m errata gguf --checkpoint {input.full} {params.format:q} --output {output} 2>&1 | tee -i {log}"


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
