# The questions. They are validated and corrected before any model is started.

DATASET = CONFIGURATION.dataset


rule fix:
    input:
        data=lambda wildcards: getattr(DATASET, wildcards.split),
        corrections=DATASET.corrections or [],
        others=other_splits,
    output:
        data=layout.DATA,
        changes=layout.CHANGES,
    log:
        layout.log("fix-{split}"),
    benchmark:
        layout.benchmark("fix-{split}")
    wildcard_constraints:
        split="train|test",
    localrule: True
    params:
        python=PYTHON,
        flags=lambda wildcards: flags(
            corrections=DATASET.corrections or None,
            take=getattr(DATASET.take, wildcards.split),
            labelled=wildcards.split == "train",
        ),
    message:
        "Validating and correcting {input.data}"
    shell:
        "{params.python:q} -m errata fix --input {input.data:q} --other {input.others:q} {params.flags:q}"
        " --output {output.data} --changes {output.changes} 2>&1 | tee -i {log}"


rule leaks:
    input:
        train=layout.TRAIN_DATA,
        test=layout.TEST_DATA,
    output:
        layout.LEAKS,
    log:
        layout.log("leaks"),
    benchmark:
        layout.benchmark("leaks")
    localrule: True
    params:
        python=PYTHON,
    message:
        "Looking for problems of test that occur in train too"
    shell:
        "{params.python:q} -m errata leaks --train {input.train} --test {input.test} --output {output}"
        " 2>&1 | tee -i {log}"


rule fold:
    input:
        layout.TRAIN_DATA,
    output:
        layout.FOLD,
    log:
        layout.log("fold{fold}"),
    benchmark:
        layout.benchmark("fold{fold}")
    localrule: True
    params:
        python=PYTHON,
        folds=PLAN.strategies.folds,
        seed=GENERATE.seed,
    message:
        "Taking fold {wildcards.fold} of the training problems"
    shell:
        "{params.python:q} -m errata fold --data {input} --folds {params.folds} --fold {wildcards.fold}"
        " --seed {params.seed} --output {output} 2>&1 | tee -i {log}"
