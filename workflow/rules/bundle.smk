# One archive of project, environments and models, for clusters that can download nothing: `snakemake ... bundle`.
from errata.bundle import bundle as bundling


rule bundle:
    input:
        # the interpreter is that of the first
        environments=[ready("workflow"), *map(ready, PLAN.environments())],
        models=bases(PLAN),
    output:
        "results/bundle/errata.tar",
    log:
        "results/logs/bundle.log",
    benchmark:
        "results/benchmarks/bundle.tsv"
    params:
        python=PYTHON,
        environments=["workflow", *PLAN.environments()],
        config=json.dumps(CONFIG, sort_keys=True),
        configfiles=[os.path.relpath(path) for path in workflow.configfiles],
        # packed anew when a file of the project changes
        state=lambda wildcards: bundling.state(Path.cwd()),
    message:
        "Packing project, environments and models"
    shell:
        "{params.python:q} -m errata bundle --output {output} --environments {params.environments}"
        " --bases {input.models} --config {params.config:q} --configfiles {params.configfiles:q} 2>&1 | tee -i {log}"
