# The base model: a checkpoint to train from, and the file that its engine serves. Downloads are kept in models/;
# results/ contains links to them.

GGUF_MODELS = [model for model in PLAN.all_models if PLAN.ships_gguf(model)]


rule fetch_gguf:
    output:
        layout.GGUF,
    log:
        layout.log("{model}/fetch_gguf"),
    benchmark:
        layout.benchmark("{model}/fetch_gguf")
    wildcard_constraints:
        model=any_of(GGUF_MODELS),
    localrule: True
    params:
        python=PYTHON,
        flags=fetch_flags,
    message:
        "Fetching {wildcards.model} as GGUF"
    shell:
        "{params.python:q} -m errata fetch {params.flags:q} --output {output} 2>&1 | tee -i {log}"


rule convert_gguf:
    input:
        gguf=layout.GGUF,
        environment=layout.ready(f"quantize-{PLAN.hardware}"),
    output:
        directory(layout.CHECKPOINT),
    log:
        layout.log("{model}/convert_gguf"),
    benchmark:
        layout.benchmark("{model}/convert_gguf")
    wildcard_constraints:
        model=any_of(GGUF_MODELS),
    params:
        python=layout.python(f"quantize-{PLAN.hardware}"),
    message:
        "Converting {wildcards.model} to a Hugging Face checkpoint"
    shell:
        "{params.python} -m errata checkpoint --gguf {input.gguf} --output {output} 2>&1 | tee -i {log}"


rule fetch_checkpoint:
    input:
        # a checkpoint that this workflow makes, scored as another model
        made=PLAN.source_made_here,
        # an environment that is built again does not change the model
        environment=ancient(layout.ready("serve-cpu")),
    output:
        directory(layout.CHECKPOINT),
    log:
        layout.log("{model}/fetch_checkpoint"),
    benchmark:
        layout.benchmark("{model}/fetch_checkpoint")
    wildcard_constraints:
        model=any_of([model for model in PLAN.all_models if model not in GGUF_MODELS]),
    localrule: True
    params:
        python=layout.python("serve-cpu"),
        flags=fetch_flags,
    message:
        "Fetching {wildcards.model}"
    shell:
        "{params.python} -m errata fetch {params.flags:q} --output {output} 2>&1 | tee -i {log}"


rule gguf:
    input:
        full=PLAN.plain_checkpoint,
        environment=layout.ready(f"quantize-{PLAN.hardware}"),
    output:
        layout.SERVED,
    log:
        layout.log("{model}/gguf-{variant}"),
    benchmark:
        layout.benchmark("{model}/gguf-{variant}")
    params:
        python=layout.python(f"quantize-{PLAN.hardware}"),
        format=lambda wildcards: flags(format=unless("f16", PLAN.all_models[wildcards.model].gguf)),
    message:
        "Converting {wildcards.variant} of {wildcards.model} to GGUF for llama.cpp"
    shell:
        "{params.python} -m errata gguf --checkpoint {input.full} {params.format:q} --output {output} 2>&1 | tee -i {log}"
