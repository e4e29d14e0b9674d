# The leaderboard and the report of everything that was scored.


TRAINED = [model for model in MODELS if CONFIG["models"][model]["source"]]


rule report:
    input:
        scores=[f"results/{model}/scores/{variant}/test.json" for model in MODELS for variant in variants(model)],
        retries=expand(
            "results/{model}/retries/{strategy}.jsonl",
            model=TRAINED,
            strategy=STRATEGIES,
        ),
        adapters=expand("results/{model}/adapter/{strategy}", model=TRAINED, strategy=STRATEGIES),
        leaks="results/data/leaks.csv",
        template="workflow/report/report.html.j2",
        environment=ready("serve-cpu"),
        locks=lambda wildcards: [f"envs/{name}.txt" for name in used_environments()],
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
        config=json.dumps(CONFIG, sort_keys=True),
    message:
        "Writing the leaderboard and the report"
    shell:
        "{params.python} -m errata report --scores {input.scores} --config {params.config:q} --results results"
        " --locks {input.locks} --leaderboard {output.leaderboard} --output {output.html} 2>&1 | tee -i {log}"
