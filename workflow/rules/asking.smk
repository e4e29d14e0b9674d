# The wrong-questions loop: ask every question, ask those that were answered wrong again until right, keep the right
# answers. With generate.shards each asking rule makes parts, one job a part, and a gathering rule joins them.

# The messages of the asking rules end with it.
PART = f", part {{wildcards.part}} of {SHARDS}" if SHARDS > 1 else ""


rule answer:
    input:
        **SERVER_INPUT,
        data=layout.DATA,
        prompt=PLAN.prompt_file("answer"),
    output:
        answers=from_asking(
            layout.ANSWERS,
            caption="../report/answers.rst",
            category="Answers",
        ),
        summary=from_asking(layout.summary(layout.ANSWERS)),
    log:
        PLAN.by_part(layout.log("{model}/answer-base-{split}")),
    benchmark:
        PLAN.by_part(layout.benchmark("{model}/answer-base-{split}"))
    wildcard_constraints:
        split="train|test",
    # all later jobs wait for this one, so it runs before the environments of later steps are built
    priority: 10
    threads: ASKING_THREADS
    resources:
        **SERVER_RESOURCES,
    params:
        **server_params("answer"),
        sampling=flags(
            max_tokens=GENERATE.max_tokens,
            temperature=GENERATE.temperature,
            top_p=1.0,
            seed=GENERATE.seed,
        ),
    message:
        f"Asking {{wildcards.model}} every question of {{wildcards.split}}{PART}"
    shell:
        "{params.python} -m errata answer --data {input.data} --prompt {input.prompt:q} {params.server:q}"
        " {params.sampling:q} --concurrency {resources.concurrency} --journal {params.journal}"
        " --server-log {params.server_log} --output {output.answers} --summary {output.summary} 2>&1 | tee -i {log}"


use rule answer as answer_variant with:
    output:
        answers=from_asking(layout.SCORED_ANSWERS),
        summary=from_asking(layout.summary(layout.SCORED_ANSWERS)),
    log:
        PLAN.by_part(layout.log("{model}/answer-{variant}-{split}")),
    benchmark:
        PLAN.by_part(layout.benchmark("{model}/answer-{variant}-{split}"))
    wildcard_constraints:
        variant=any_of(PLAN.tuned_variants),
        split=r"train|test|fold\d+",
    message:
        f"Asking {{wildcards.variant}} of {{wildcards.model}} every question of {{wildcards.split}}{PART}"


rule merge_questions:
    input:
        data=layout.DATA,
        answers=layout.ANSWERS,
    output:
        layout.MERGED,
    log:
        layout.log("{model}/merge_questions-{split}"),
    benchmark:
        layout.benchmark("{model}/merge_questions-{split}")
    localrule: True
    params:
        python=PYTHON,
    message:
        "Writing the answers of {wildcards.model} beside the questions of {wildcards.split}"
    shell:
        "{params.python:q} -m errata merge-questions --data {input.data} --answers {input.answers} --output {output}"
        " 2>&1 | tee -i {log}"


rule retry:
    input:
        **SERVER_INPUT,
        data=layout.TRAIN_DATA,
        answers=PLAN.first_answers,
        prompts=PLAN.method_prompts,
    output:
        retries=from_asking(
            layout.RETRIES,
            caption="../report/retries.rst",
            category="Answers",
        ),
        summary=from_asking(layout.summary(layout.RETRIES)),
    log:
        PLAN.by_part(layout.log("{model}/retry-{strategy}")),
    benchmark:
        PLAN.by_part(layout.benchmark("{model}/retry-{strategy}"))
    priority: 10
    threads: ASKING_THREADS
    resources:
        **SERVER_RESOURCES,
    params:
        **server_params("retry"),
        sampling=flags(
            max_tokens=GENERATE.max_tokens,
            # one, or a list with one for each attempt
            temperature=GENERATE.retry_temperature,
            top_p=GENERATE.top_p,
            seed=GENERATE.seed,
        ),
        how=lambda wildcards: flags(
            attempts=GENERATE.attempts,
            keep=PLAN.strategy(wildcards).keep,
            hedging=GENERATE.hedging,
            token_budget=GENERATE.token_budget,
            time_budget=GENERATE.time_budget,
            **PLAN.own_prompts(wildcards),
            about=unless("wrong", PLAN.strategy(wildcards).questions),
        ),
    message:
        f"Making completions for {{wildcards.strategy}} of {{wildcards.model}}{PART}"
    shell:
        "{params.python} -m errata retry --data {input.data} --answers {input.answers} {params.how:q}"
        " {params.server:q} {params.sampling:q} --concurrency {resources.concurrency} --journal {params.journal}"
        " --server-log {params.server_log} --output {output.retries} --summary {output.summary} 2>&1 | tee -i {log}"


if SHARDS > 1:

    rule gather_answers:
        input:
            data=layout.DATA,
            parts=parts_of(layout.ANSWERS),
            summaries=parts_of(layout.summary(layout.ANSWERS)),
        output:
            answers=report(
                layout.ANSWERS,
                caption="../report/answers.rst",
                category="Answers",
            ),
            summary=layout.summary(layout.ANSWERS),
        log:
            layout.log("{model}/gather-base-{split}"),
        wildcard_constraints:
            split="train|test",
        priority: 10
        localrule: True
        params:
            python=PYTHON,
        message:
            "Gathering the answers of {wildcards.model} on {wildcards.split}"
        shell:
            "{params.python:q} -m errata gather --data {input.data} --parts {input.parts} --summaries {input.summaries}"
            " --output {output.answers} --summary {output.summary} 2>&1 | tee -i {log}"

    use rule gather_answers as gather_scores with:
        input:
            data=layout.DATA,
            parts=parts_of(layout.SCORED_ANSWERS),
            summaries=parts_of(layout.summary(layout.SCORED_ANSWERS)),
        output:
            answers=layout.SCORED_ANSWERS,
            summary=layout.summary(layout.SCORED_ANSWERS),
        log:
            layout.log("{model}/gather-{variant}-{split}"),
        wildcard_constraints:
            variant=any_of(PLAN.tuned_variants),
            split=r"train|test|fold\d+",
        message:
            "Gathering the answers of {wildcards.variant} of {wildcards.model} on {wildcards.split}"

    use rule gather_answers as gather_samples with:
        input:
            data=PLAN.data,
            parts=parts_of(layout.SAMPLES),
            summaries=parts_of(layout.summary(layout.SAMPLES)),
        output:
            answers=layout.SAMPLES,
            summary=layout.summary(layout.SAMPLES),
        log:
            layout.log("{model}/gather-samples-{variant}-{split}"),
        wildcard_constraints:
            variant=any_of(["base", *PLAN.tuned_variants]),
            split=r"train|test|fold\d+|folds",
        message:
            "Gathering the samples of {wildcards.variant} of {wildcards.model} on {wildcards.split}"

    rule gather_retries:
        input:
            answers=PLAN.first_answers,
            parts=parts_of(layout.RETRIES),
            summaries=parts_of(layout.summary(layout.RETRIES)),
        output:
            retries=report(
                layout.RETRIES,
                caption="../report/retries.rst",
                category="Answers",
            ),
            summary=layout.summary(layout.RETRIES),
        log:
            layout.log("{model}/gather-retries-{strategy}"),
        priority: 10
        localrule: True
        params:
            python=PYTHON,
            about=lambda wildcards: flags(about=unless("wrong", PLAN.strategy(wildcards).questions)),
        message:
            "Gathering the completions for {wildcards.strategy} of {wildcards.model}"
        shell:
            "{params.python:q} -m errata gather --answers {input.answers} {params.about:q} --parts {input.parts}"
            " --summaries {input.summaries} --output {output.retries} --summary {output.summary} 2>&1 | tee -i {log}"


# Besides the greedy completion, several completions of a question are sampled; the majority of their answers counts.


rule sample:
    input:
        **SERVER_INPUT,
        data=PLAN.data,
        prompt=PLAN.prompt_file("answer"),
    output:
        samples=from_asking(layout.SAMPLES),
        summary=from_asking(layout.summary(layout.SAMPLES)),
    log:
        PLAN.by_part(layout.log("{model}/sample-{variant}-{split}")),
    benchmark:
        PLAN.by_part(layout.benchmark("{model}/sample-{variant}-{split}"))
    wildcard_constraints:
        variant=any_of(["base", *PLAN.tuned_variants]),
    threads: ASKING_THREADS
    resources:
        **SERVER_RESOURCES,
    params:
        **server_params("sample"),
        samples=SCORE.samples,
        sampling=flags(
            max_tokens=GENERATE.max_tokens,
            temperature=SCORE.temperature,
            top_p=SCORE.top_p,
            seed=GENERATE.seed,
        ),
    message:
        f"Sampling completions of {{wildcards.variant}} of {{wildcards.model}} for {{wildcards.split}}{PART}"
    shell:
        "{params.python} -m errata sample --data {input.data} --prompt {input.prompt:q} --samples {params.samples}"
        " {params.server:q} {params.sampling:q} --concurrency {resources.concurrency} --journal {params.journal}"
        " --server-log {params.server_log} --output {output.samples} --summary {output.summary} 2>&1 | tee -i {log}"


rule vote:
    input:
        samples=layout.SAMPLES,
        summary=layout.summary(layout.SAMPLES),
    output:
        answers=layout.VOTED_ANSWERS,
        summary=layout.summary(layout.VOTED_ANSWERS),
    log:
        layout.log("{model}/vote-{variant}+maj{votes}-{split}"),
    benchmark:
        layout.benchmark("{model}/vote-{variant}+maj{votes}-{split}")
    wildcard_constraints:
        variant=any_of(["base", *PLAN.tuned_variants]),
        votes=r"\d+",
    localrule: True
    params:
        python=PYTHON,
    message:
        "Counting the votes of {wildcards.votes} samples of {wildcards.variant} of {wildcards.model}"
    shell:
        "{params.python:q} -m errata vote --samples {input.samples} --samples-summary {input.summary}"
        " --votes {wildcards.votes} --output {output.answers} --summary {output.summary} 2>&1 | tee -i {log}"


rule gather_folds:
    input:
        data=layout.TRAIN_DATA,
        parts=PLAN.fold_answers,
        summaries=PLAN.fold_summaries,
    output:
        answers=layout.FOLDED_ANSWERS,
        summary=layout.summary(layout.FOLDED_ANSWERS),
    log:
        layout.log("{model}/gather-{variant}-folds"),
    wildcard_constraints:
        variant=rf"({any_of(PLAN.whole_variants)})(\+maj\d+)?",
    localrule: True
    params:
        python=PYTHON,
    message:
        "Gathering the answers of {wildcards.variant} of {wildcards.model} to questions it was not trained on"
    shell:
        "{params.python:q} -m errata gather-folds --data {input.data} --parts {input.parts}"
        " --summaries {input.summaries} --output {output.answers} --summary {output.summary} 2>&1 | tee -i {log}"


# The base model is the same for all folds, so it is sampled on all of them at once.
ruleorder: gather_folds > vote
