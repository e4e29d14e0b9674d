# GPTQ at a few bits, calibrated on the training split only.

QUANTIZE = CONFIG["quantize"]


rule calibration:
    input:
        full="results/{model}/base/checkpoint",
        data="results/data/train.jsonl",
        answers=PLAN.first_answers,
        retries=PLAN.retries,
        held_out=PLAN.held_out,
        environment=ready(f"quantize-{PLAN.hardware}"),
    output:
        "results/{model}/calibration/{strategy}.json",
    log:
        "results/logs/{model}/calibration-{strategy}.log",
    benchmark:
        "results/benchmarks/{model}/calibration-{strategy}.tsv"
    params:
        python=python(f"quantize-{PLAN.hardware}"),
        kind=QUANTIZE["calibration"],
        samples=QUANTIZE["samples"],
        seed=QUANTIZE["seed"],
    message:
        "Choosing calibration texts for {wildcards.model}"
    shell:
        "{params.python} -m errata calibration --checkpoint {input.full} --data {input.data}"
        " --answers {input.answers} --retries {input.retries} --held-out {input.held_out} --kind {params.kind} --samples {params.samples} --seed {params.seed}"
        " --output {output} 2>&1 | tee -i {log}"


rule quantize:
    input:
        full="results/{model}/tuned/{strategy}",
        calibration="results/{model}/calibration/{strategy}.json",
        environment=ready(f"quantize-{PLAN.hardware}"),
    output:
        directory("results/{model}/quantized/{strategy}-{bits}bit"),
    log:
        "results/logs/{model}/quantize-{strategy}-{bits}bit.log",
    benchmark:
        "results/benchmarks/{model}/quantize-{strategy}-{bits}bit.tsv"
    params:
        python=python(f"quantize-{PLAN.hardware}"),
        group_size=QUANTIZE["group_size"],
        samples=QUANTIZE["samples"],
        max_length=QUANTIZE["max_length"],
        seed=QUANTIZE["seed"],
        remote=TOLD.remote_code,
    message:
        "Quantizing {wildcards.model} {wildcards.strategy} to {wildcards.bits} bits"
    shell:
        "{params.python} -m errata quantize --checkpoint {input.full} --calibration {input.calibration}"
        " --bits {wildcards.bits} --group-size {params.group_size} --samples {params.samples}"
        " --max-length {params.max_length} --seed {params.seed} {params.remote:q} --output {output}"
        " 2>&1 | tee -i {log}"


rule dequantize:
    input:
        full="results/{model}/quantized/{strategy}-{bits}bit",
        environment=ready(f"quantize-{PLAN.hardware}"),
    output:
        temp(directory("results/{model}/dequantized/{strategy}-{bits}bit")),
    log:
        "results/logs/{model}/dequantize-{strategy}-{bits}bit.log",
    benchmark:
        "results/benchmarks/{model}/dequantize-{strategy}-{bits}bit.tsv"
    params:
        python=python(f"quantize-{PLAN.hardware}"),
        remote=TOLD.remote_code,
    message:
        "Dequantizing {wildcards.strategy}-{wildcards.bits}bit, since a CPU cannot serve it"
    shell:
        "{params.python} -m errata dequantize --checkpoint {input.full} {params.remote:q} --output {output}"
        " 2>&1 | tee -i {log}"
