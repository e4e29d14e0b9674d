# The questions: validated and corrected before any model is started.


rule fix:
    input:
        data=lambda wildcards: CONFIG["dataset"][wildcards.split],
        corrections=CONFIG["dataset"]["corrections"] or [],
        others=other_splits,
    output:
        data="results/data/{split}.jsonl",
        changes="results/data/{split}.changes.csv",
    log:
        "results/logs/fix-{split}.log",
    benchmark:
        "results/benchmarks/fix-{split}.tsv"
    wildcard_constraints:
        split="train|test",
    params:
        python=PYTHON,
        flags=TOLD.fix,
    message:
        "Validating and correcting {input.data}"
    shell:
        "{params.python:q} -m errata fix --input {input.data:q} --other {input.others:q} {params.flags:q}"
        " --output {output.data} --changes {output.changes} 2>&1 | tee -i {log}"


rule leaks:
    input:
        train="results/data/train.jsonl",
        test="results/data/test.jsonl",
    output:
        "results/data/leaks.csv",
    log:
        "results/logs/leaks.log",
    benchmark:
        "results/benchmarks/leaks.tsv"
    params:
        python=PYTHON,
    message:
        "Looking for problems of test that occur in train"
    shell:
        "{params.python:q} -m errata leaks --train {input.train} --test {input.test} --output {output}"
        " 2>&1 | tee -i {log}"


rule fold:
    input:
        "results/data/train.jsonl",
    output:
        "results/data/fold{fold}.jsonl",
    log:
        "results/logs/fold{fold}.log",
    benchmark:
        "results/benchmarks/fold{fold}.tsv"
    params:
        python=PYTHON,
        folds=PLAN.strategies.folds,
        seed=CONFIG["generate"]["seed"],
    message:
        "Taking fold {wildcards.fold} of the training problems"
    shell:
        "{params.python:q} -m errata fold --data {input} --folds {params.folds} --fold {wildcards.fold}"
        " --seed {params.seed} --output {output} 2>&1 | tee -i {log}"
