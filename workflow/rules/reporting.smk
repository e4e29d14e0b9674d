# The leaderboard, the report, and the tables that compare strategies and base models.


rule report:
    input:
        scores=TARGETS.scores,
        answers=TARGETS.scored_answers,
        first_answers=TARGETS.first_answers,
        summaries=TARGETS.summaries,
        questions=TARGETS.questions,
        retries=TARGETS.retries,
        adapters=TARGETS.adapters,
        base_weights=TARGETS.base_weights,
        leaks=layout.LEAKS,
        environment=layout.ready("serve-cpu"),
        locks=[layout.own(layout.LOCK.format(environment=name)) for name in PLAN.environments()],
    output:
        leaderboard=report(
            layout.LEADERBOARD,
            caption="../report/leaderboard.rst",
            category="Leaderboard",
        ),
        html=report(
            layout.REPORT,
            caption="../report/report.rst",
            category="Leaderboard",
        ),
    log:
        layout.log("report"),
    benchmark:
        layout.benchmark("report")
    localrule: True
    params:
        python=layout.python("serve-cpu"),
        config=CONFIGURATION_FILE,
        benchmarks=own_benchmarks,
    message:
        "Writing the leaderboard and the report"
    shell:
        "{params.python} -m errata report --scores {input.scores} --config {params.config} --results results"
        " --summaries {input.summaries} --benchmarks {params.benchmarks:q}"
        " --locks {input.locks} --leaderboard {output.leaderboard} --output {output.html} 2>&1 | tee -i {log}"


rule ablation:
    input:
        scores=TARGETS.ablation_scores,
        answers=TARGETS.ablation_answers,
        summaries=TARGETS.ablation_summaries,
        training_sets=TARGETS.ablation_sets,
        adapters=TARGETS.ablation_adapters,
        environment=layout.ready("serve-cpu"),
    output:
        table=report(
            layout.ABLATION,
            caption="../report/ablation.rst",
            category="Leaderboard",
        ),
        markdown=layout.markdown(layout.ABLATION),
    log:
        layout.log("ablation"),
    benchmark:
        layout.benchmark("ablation")
    localrule: True
    params:
        python=layout.python("serve-cpu"),
        models=PLAN.trainable,
        config=CONFIGURATION_FILE,
    message:
        "Comparing the strategies"
    shell:
        "{params.python} -m errata ablation --scores {input.scores} --model {params.models} --config {params.config:q}"
        " --results results --output {output.table} --markdown {output.markdown} 2>&1 | tee -i {log}"


rule baselines:
    input:
        scores=expand(layout.SCORE, model=PLAN.all_models, variant="base", split=SPLITS),
        answers=expand(layout.BASE_COPIES, model=PLAN.all_models, split=SPLITS),
        environment=layout.ready("serve-cpu"),
    output:
        table=report(
            layout.BASELINES,
            caption="../report/baselines.rst",
            category="Leaderboard",
        ),
        markdown=layout.markdown(layout.BASELINES),
    log:
        layout.log("baselines"),
    benchmark:
        layout.benchmark("baselines")
    localrule: True
    params:
        python=layout.python("serve-cpu"),
        config=CONFIGURATION_FILE,
    message:
        "Comparing the base models"
    shell:
        "{params.python} -m errata baselines --scores {input.scores} --config {params.config:q}"
        " --output {output.table} --markdown {output.markdown} 2>&1 | tee -i {log}"
