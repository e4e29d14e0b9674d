# The locked environments of envs/, built once by uv; the rules that use one take its flag as input.


rule environment:
    input:
        lock="envs/{environment}.txt",
    output:
        flag=".envs/{environment}.ok",
    log:
        "results/logs/environment-{environment}.log",
    benchmark:
        "results/benchmarks/environment-{environment}.tsv"
    params:
        python=PYTHON,
        prefix=lambda wildcards: f".envs/{wildcards.environment}",
    message:
        "Building the environment {wildcards.environment}"
    shell:
        "{params.python:q} -m errata environment --lock {input.lock} --prefix {params.prefix} --flag {output.flag}"
        " 2>&1 | tee -i {log}"
