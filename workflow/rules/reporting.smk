# The leaderboard and the report of everything that was scored, and the tables that compare strategies and base models.
# The configuration goes to these steps in its own order, which says which strategy comes first.


rule report:
    input:
        scores=TARGETS.scores,
        retries=TARGETS.retries,
        adapters=TARGETS.adapters,
        leaks="results/data/leaks.csv",
        template="workflow/report/report.html.j2",
        environment=ready("serve-cpu"),
        locks=lambda wildcards: [f"envs/{name}.txt" for name in PLAN.environments()],
    output:
        leaderboard=report(
            "results/leaderboard.csv",
            caption="../report/leaderboard.rst",
            category="Leaderboard",
        ),
        html=report(
            "results/report.html",
            caption="../report/report.rst",
            category="Leaderboard",
        ),
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    params:
        python=python("serve-cpu"),
        config=json.dumps(CONFIG),
    message:
        "Writing the leaderboard and the report"
    shell:
        "{params.python} -m errata report --scores {input.scores} --config {params.config:q} --results results"
        " --locks {input.locks} --leaderboard {output.leaderboard} --output {output.html} 2>&1 | tee -i {log}"


rule ablation:
    input:
        scores=TARGETS.compared,
        environment=ready("serve-cpu"),
    output:
        table=report(
            "results/ablation.csv",
            caption="../report/ablation.rst",
            category="Leaderboard",
        ),
        markdown="results/ablation.md",
    log:
        "results/logs/ablation.log",
    benchmark:
        "results/benchmarks/ablation.tsv"
    params:
        python=python("serve-cpu"),
        models=PLAN.trained,
        config=json.dumps(CONFIG),
    message:
        "Comparing the strategies"
    shell:
        "{params.python} -m errata ablation --scores {input.scores} --model {params.models} --config {params.config:q}"
        " --results results --output {output.table} --markdown {output.markdown} 2>&1 | tee -i {log}"


rule baselines:
    input:
        scores=expand("results/{model}/scores/base/{split}.json", model=PLAN.settings, split=SPLITS),
        environment=ready("serve-cpu"),
    output:
        table=report(
            "results/baselines.csv",
            caption="../report/baselines.rst",
            category="Leaderboard",
        ),
        markdown="results/baselines.md",
    log:
        "results/logs/baselines.log",
    benchmark:
        "results/benchmarks/baselines.tsv"
    params:
        python=python("serve-cpu"),
        config=json.dumps(CONFIG),
    message:
        "Comparing the base models"
    shell:
        "{params.python} -m errata baselines --scores {input.scores} --config {params.config:q}"
        " --output {output.table} --markdown {output.markdown} 2>&1 | tee -i {log}"
