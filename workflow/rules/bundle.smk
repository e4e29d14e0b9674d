# One archive of project, environments and models, for clusters without a network: `snakemake ... bundle`.
from errata.bundle import bundle as bundling


rule bundle:
    input:
        # the first one provides the interpreter
        environments=[layout.ready(name) for name in ["workflow", *PLAN.environments()]],
        models=bases(PLAN),
    output:
        layout.BUNDLE,
    log:
        layout.log("bundle"),
    benchmark:
        layout.benchmark("bundle")
    localrule: True
    params:
        python=PYTHON,
        environments=["workflow", *PLAN.environments()],
        config=CONFIGURATION_FILE,
        configfiles=[os.path.relpath(path) for path in workflow.configfiles],
        # packed again when a file of the project changes
        state=lambda wildcards: bundling.digest_project(Path.cwd()),
    message:
        "Packing project, environments and models"
    shell:
        "{params.python:q} -m errata bundle --output {output} --environments {params.environments}"
        " --bases {input.models} --config {params.config:q} --configfiles {params.configfiles:q} 2>&1 | tee -i {log}"
