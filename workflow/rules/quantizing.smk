# GPTQ at a few bits, calibrated on the training split only.

QUANTIZE = CONFIGURATION.quantize


rule calibration:
    input:
        full=layout.CHECKPOINT,
        data=layout.TRAIN_DATA,
        answers=PLAN.first_answers,
        retries=PLAN.retries,
        held_out=PLAN.held_out,
        environment=layout.ready(f"quantize-{PLAN.hardware}"),
    output:
        layout.CALIBRATION,
    log:
        layout.log("{model}/calibration-{strategy}"),
    benchmark:
        layout.benchmark("{model}/calibration-{strategy}")
    params:
        python=layout.python(f"quantize-{PLAN.hardware}"),
        kind=QUANTIZE.calibration,
        samples=QUANTIZE.samples,
        seed=QUANTIZE.seed,
    message:
        "Choosing calibration texts for {wildcards.model}"
    shell:
        "{params.python} -m errata calibration --checkpoint {input.full} --data {input.data}"
        " --answers {input.answers} --retries {input.retries} --held-out {input.held_out}"
        " --kind {params.kind} --samples {params.samples} --seed {params.seed}"
        " --output {output} 2>&1 | tee -i {log}"


rule quantize:
    input:
        full=layout.TUNED,
        calibration=layout.CALIBRATION,
        environment=layout.ready(f"quantize-{PLAN.hardware}"),
    output:
        directory(layout.QUANTIZED),
    log:
        layout.log("{model}/quantize-{strategy}-{bits}bit"),
    benchmark:
        layout.benchmark("{model}/quantize-{strategy}-{bits}bit")
    params:
        python=layout.python(f"quantize-{PLAN.hardware}"),
        group_size=QUANTIZE.group_size,
        samples=QUANTIZE.samples,
        max_length=QUANTIZE.max_length,
        seed=QUANTIZE.seed,
        remote=trust_remote_code,
    message:
        "Quantizing {wildcards.model} {wildcards.strategy} to {wildcards.bits} bits"
    shell:
        "{params.python} -m errata quantize --checkpoint {input.full} --calibration {input.calibration}"
        " --bits {wildcards.bits} --group-size {params.group_size} --samples {params.samples}"
        " --max-length {params.max_length} --seed {params.seed} {params.remote:q} --output {output}"
        " 2>&1 | tee -i {log}"


rule dequantize:
    input:
        full=layout.QUANTIZED,
        environment=layout.ready(f"quantize-{PLAN.hardware}"),
    output:
        temp(directory(layout.DEQUANTIZED)),
    log:
        layout.log("{model}/dequantize-{strategy}-{bits}bit"),
    benchmark:
        layout.benchmark("{model}/dequantize-{strategy}-{bits}bit")
    params:
        python=layout.python(f"quantize-{PLAN.hardware}"),
        remote=trust_remote_code,
    message:
        "Dequantizing {wildcards.strategy}-{wildcards.bits}bit: a CPU cannot serve it"
    shell:
        "{params.python} -m errata dequantize --checkpoint {input.full} {params.remote:q} --output {output}"
        " 2>&1 | tee -i {log}"
