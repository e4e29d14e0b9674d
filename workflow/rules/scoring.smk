# The answers of every variant are scored, and exported for submission.


rule base_answers:
    input:
        answers=PLAN.base_answers,
        summary=PLAN.base_summary,
    output:
        answers=layout.BASE_COPIES,
        summary=layout.summary(layout.BASE_COPIES),
    log:
        layout.log("{model}/base_answers-{split}"),
    wildcard_constraints:
        split="train|test|folds",
    localrule: True
    message:
        "Copying the answers of {wildcards.model}: no question is asked twice"
    shell:
        "( cp {input.answers} {output.answers} && cp {input.summary} {output.summary} ) 2> {log}"


rule score:
    input:
        answers=layout.SCORED_ANSWERS,
        summary=layout.summary(layout.SCORED_ANSWERS),
        weights=PLAN.sized_weights,
        environment=layout.ready("serve-cpu"),
    output:
        report(
            layout.SCORE,
            caption="../report/score.rst",
            category="Scores",
        ),
    log:
        layout.log("{model}/score-{variant}-{split}"),
    benchmark:
        layout.benchmark("{model}/score-{variant}-{split}")
    localrule: True
    params:
        python=layout.python("serve-cpu"),
        full=lambda wildcards, input: flags(checkpoint=str(input.weights) or None),
        served=PLAN.served_as,
        seen=lambda wildcards: flags(held_out="no" if PLAN.has_seen(wildcards) else None),
    message:
        "Scoring {wildcards.variant} of {wildcards.model} on {wildcards.split}"
    shell:
        "{params.python} -m errata score --answers {input.answers} --summary {input.summary} --model {wildcards.model}"
        " --variant {wildcards.variant} --split {wildcards.split} {params.full:q} --served {params.served:q}"
        " {params.seen:q} --output {output} 2>&1 | tee -i {log}"


rule submission:
    input:
        data=layout.DATA,
        answers=layout.SCORED_ANSWERS,
    output:
        layout.SUBMISSION,
    log:
        layout.log("{model}/submission-{variant}-{split}"),
    benchmark:
        layout.benchmark("{model}/submission-{variant}-{split}")
    wildcard_constraints:
        split="train|test",
    localrule: True
    params:
        python=PYTHON,
    message:
        "Filling the answers of {wildcards.variant} of {wildcards.model} into the records of {wildcards.split}"
    shell:
        "{params.python:q} -m errata submission --data {input.data} --answers {input.answers} --output {output}"
        " 2>&1 | tee -i {log}"
