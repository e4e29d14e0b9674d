# The locked environments of envs/, built once by uv. A rule that uses one has its flag file as an input.


rule environment:
    input:
        lock=layout.own(layout.LOCK),
    output:
        flag=layout.ready("{environment}"),
    log:
        layout.log("environment-{environment}"),
    benchmark:
        layout.benchmark("environment-{environment}")
    localrule: True
    params:
        python=PYTHON,
        prefix=layout.prefix("{environment}"),
    message:
        "Building the environment {wildcards.environment}"
    shell:
        "{params.python:q} -m errata environment --lock {input.lock} --prefix {params.prefix} --flag {output.flag}"
        " 2>&1 | tee -i {log}"
