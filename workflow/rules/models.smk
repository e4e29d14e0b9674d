# The base model: a checkpoint to train from, and what its engine serves. Downloads are kept in models/; what stands
# here are links to them.

GGUF_MODELS = [model for model in PLAN.settings if PLAN.ships_gguf(model)]


rule fetch_gguf:
    output:
        "results/{model}/base/model.gguf",
    log:
        "results/logs/{model}/fetch_gguf.log",
    benchmark:
        "results/benchmarks/{model}/fetch_gguf.tsv"
    wildcard_constraints:
        model=any_of(GGUF_MODELS),
    params:
        python=PYTHON,
        flags=TOLD.fetch,
    message:
        "Fetching {wildcards.model} as GGUF"
    shell:
        "{params.python:q} -m errata fetch {params.flags:q} --output {output} 2>&1 | tee -i {log}"


rule convert_gguf:
    input:
        gguf="results/{model}/base/model.gguf",
        environment=ready(f"quantize-{PLAN.hardware}"),
    output:
        directory("results/{model}/base/checkpoint"),
    log:
        "results/logs/{model}/convert_gguf.log",
    benchmark:
        "results/benchmarks/{model}/convert_gguf.tsv"
    wildcard_constraints:
        model=any_of(GGUF_MODELS),
    params:
        python=python(f"quantize-{PLAN.hardware}"),
    message:
        "Converting {wildcards.model} to a Hugging Face checkpoint"
    shell:
        "{params.python} -m errata checkpoint --gguf {input.gguf} --output {output} 2>&1 | tee -i {log}"


rule fetch_checkpoint:
    input:
        # a checkpoint of this workflow's own, to be scored as a model of its own
        made=PLAN.made_source,
        # an environment built anew brings no other model
        environment=ancient(ready("serve-cpu")),
    output:
        directory("results/{model}/base/checkpoint"),
    log:
        "results/logs/{model}/fetch_checkpoint.log",
    benchmark:
        "results/benchmarks/{model}/fetch_checkpoint.tsv"
    wildcard_constraints:
        model=any_of([model for model in PLAN.settings if model not in GGUF_MODELS]),
    params:
        python=python("serve-cpu"),
        flags=TOLD.fetch,
    message:
        "Fetching {wildcards.model}"
    shell:
        "{params.python} -m errata fetch {params.flags:q} --output {output} 2>&1 | tee -i {log}"


rule gguf:
    input:
        full=PLAN.plain_checkpoint,
        environment=ready(f"quantize-{PLAN.hardware}"),
    output:
        "results/{model}/served/{variant}.gguf",
    log:
        "results/logs/{model}/gguf-{variant}.log",
    benchmark:
        "results/benchmarks/{model}/gguf-{variant}.tsv"
    params:
        python=python(f"quantize-{PLAN.hardware}"),
        format=TOLD.gguf,
    message:
        "Converting {wildcards.variant} of {wildcards.model} to GGUF for llama.cpp"
    shell:
        "{params.python} -m errata gguf --checkpoint {input.full} {params.format:q} --output {output} 2>&1 | tee -i {log}"
