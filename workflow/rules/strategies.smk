# What the wildcards {strategy}, {variant} and {split} stand for: which models are asked, trained and scored, and on what.
# Strategies that make their completions alike share them; a strategy's rounds and folds are strategies of their own.


def respondent(wildcards):
    """The model and the variant that a job asks."""
    strategy = STRATEGIES.get(wildcards.get("strategy"))
    if strategy is None:
        return wildcards.model, wildcards.get("variant", "base")
    return (strategy.teacher, "base") if strategy.teacher else (wildcards.model, strategy.asked)


def served_weights(model, variant):
    """What the server loads: nothing for an endpoint, else a GGUF file or a checkpoint."""
    bits, kind = bits_of(variant), engine(model, variant)
    if kind == "endpoint":
        return []
    if kind == "llamacpp":
        shipped = variant == "base" and ships_gguf(model)
        return f"results/{model}/base/model.gguf" if shipped else f"results/{model}/served/{variant}.gguf"
    if bits and HARDWARE == "cpu":
        return f"results/{model}/dequantized/{variant}"
    return full_checkpoint(model, variant)


def full_checkpoint(model, variant):
    """The full checkpoint of a variant."""
    if variant == "base":
        return f"results/{model}/base/checkpoint"
    return f"results/{model}/{'quantized' if bits_of(variant) else 'tuned'}/{variant}"


def plain_checkpoint(wildcards):
    """The checkpoint that becomes a GGUF file: a quantized one is dequantized first."""
    if bits_of(wildcards.variant):
        return f"results/{wildcards.model}/dequantized/{wildcards.variant}"
    return full_checkpoint(wildcards.model, wildcards.variant)


def sized_weights(wildcards):
    """What a variant weighs: the quantized checkpoint itself, even where a CPU serves it dequantized."""
    variant = Variant.parse(wildcards.variant).greedy
    # the models of all folds are of one size
    variant = variant.of_fold(1) if wildcards.split == "folds" and variant.made != "base" else variant
    model, name = wildcards.model, str(variant)
    return full_checkpoint(model, name) if variant.bits else served_weights(model, name)


def trained_from(wildcards):
    """The checkpoint that an adapter is trained on, and merged into."""
    start = STRATEGIES[wildcards.strategy].start_from
    return f"results/{wildcards.model}/{'base/checkpoint' if start is None else f'tuned/{start}'}"


def first_answers(wildcards):
    """The answers whose wrong ones a strategy learns from."""
    asked = STRATEGIES[wildcards.strategy].asked
    return f"results/{wildcards.model}/{'answers' if asked == 'base' else f'scores/{asked}'}/train.jsonl"


def retries_of(wildcards):
    """The completions that a strategy is trained on."""
    return f"results/{wildcards.model}/retries/{STRATEGIES.retries(wildcards.strategy)}.jsonl"


def held_out(wildcards):
    """What is scored, so that nothing of it may be trained or calibrated on."""
    fold = STRATEGIES[wildcards.strategy].fold
    return ["results/data/test.jsonl", *([] if fold is None else [f"results/data/fold{fold}.jsonl"])]


def earlier_sets(wildcards):
    """The training sets of the rounds before."""
    before = []
    name = wildcards.strategy
    while STRATEGIES[name].round > 1:
        name = STRATEGIES[name].asked
        before.append(f"results/{wildcards.model}/sft/{name}.json")
    return before


def data_of(wildcards):
    """The questions of a split; those of all folds are the training questions."""
    return f"results/data/{'train' if wildcards.split == 'folds' else wildcards.split}.jsonl"


def base_answered(wildcards, suffix):
    """What the base model has answered; no training has left out a fold of it, so that all folds are of one model."""
    return f"results/{wildcards.model}/answers/{'train' if wildcards.split == 'folds' else wildcards.split}.{suffix}"


def gguf_flags(model):
    return ["--format", SETTINGS[model]["gguf"]] if SETTINGS[model]["gguf"] != "f16" else []


def score_flags(wildcards):
    """A base model that was itself trained here has seen the training questions."""
    source = SETTINGS[wildcards.model]["source"] or ""
    seen = wildcards.split == "train" and re.match(r"results/[^/]+/(tuned|quantized)/", source)
    return ["--held-out", "no"] if seen else []


def of_folds(suffix):
    """An input function: the files of a variant's folds."""
    return lambda wildcards: [
        f"results/{wildcards.model}/scores/{Variant.parse(wildcards.variant).of_fold(fold)}/fold{fold}{suffix}"
        for fold in range(1, STRATEGIES.folds + 1)
    ]


def may_be_empty(strategy):
    """Whether it is no fault that there is nothing to train on: in a further round, or for the ablation alone."""
    whole = STRATEGIES[strategy.partition(".")[0]]
    return whole.round > 1 or whole.name not in STRATEGIES.full


def there_is(model, strategy):
    """Whether a strategy has something to train on, and so has what it starts from; known when its set is made."""
    start = STRATEGIES[strategy].start_from
    if start is not None and not there_is(model, start):
        return False
    if not may_be_empty(strategy):
        return True
    with open(checkpoints.training_set.get(model=model, strategy=strategy).output[0], encoding="utf-8") as file:
        return bool(json.load(file))


def trained(model, strategies, folds=0):
    """Of these strategies with so many rounds, all that there is of a model; none where there is nothing to train.

    With folds those of which there is something without each of them.
    """
    made = []
    for strategy, rounds in strategies.items() if model in TRAINED else []:
        for number in range(1, rounds + 1):
            name = of_round(strategy, number)
            without = [f"{name}.fold{fold}" for fold in range(1, folds + 1)]
            if not all(there_is(model, each) for each in without or [name]):
                break
            made.append(name)
    return made


def with_majorities(variants):
    counted = [None, *SCORE["majority"]]
    return [str(Variant.parse(variant)._replace(votes=votes)) for variant in variants for votes in counted]


def variants(model):
    """What is scored of a model on test; only the base where there is nothing to train."""
    tuned = trained(model, STRATEGIES.full)
    return with_majorities(["base", *tuned, *(f"{name}-{bits}bit" for name in tuned for bits in BITS)])


def folded(model):
    """What is scored on all folds: k times as many trainings are enough, without quantizing each."""
    folds = STRATEGIES.folds
    return with_majorities(["base", *trained(model, STRATEGIES.full, folds)]) if folds else []


def scores(wildcards):
    """The scores of the report."""
    splits = {"test": variants, "folds": folded}
    return [
        f"results/{model}/scores/{variant}/{split}.json"
        for model in MODELS
        for split, scored in splits.items()
        for variant in scored(model)
    ]


def submissions(wildcards):
    return [f"results/{model}/submission/{variant}/test.jsonl" for model in MODELS for variant in variants(model)]


def adapters(wildcards):
    return [f"results/{model}/adapter/{name}" for model in TRAINED for name in trained(model, STRATEGIES.full)]


def used_retries(wildcards):
    """The completions that the strategies of the report are trained on."""
    names = [(model, name) for model in TRAINED for name in trained(model, STRATEGIES.full)]
    return sorted({f"results/{model}/retries/{STRATEGIES.retries(name)}.jsonl" for model, name in names})


def compared(wildcards):
    """The scores of the ablation: of every strategy on questions that no training has seen."""
    split = "folds" if STRATEGIES.folds else "test"
    return [
        f"results/{model}/scores/{variant}/{split}.json"
        for model in TRAINED
        for variant in ["base", *trained(model, STRATEGIES.compared, STRATEGIES.folds)]
    ]


def prompt_file(purpose):
    """The prompt template for a purpose: the user's own, or that of the language."""
    short = "-short" if CONFIG["dataset"]["prompt"] == "short" and purpose != "conclude" else ""
    return CONFIG["prompts"][purpose] or f"config/prompts/{CONFIG['dataset']['language']}/{purpose}{short}.txt"


def method_prompts(wildcards):
    """The templates of a strategy's own prompts."""
    purposes = {"distill": ["distill"], "reflect": ["reflect", "conclude"]}
    return [prompt_file(purpose) for purpose in purposes.get(STRATEGIES[wildcards.strategy].method, [])]


def retry_flags(wildcards):
    """How often and of what a model is asked again, and with which prompts."""
    generate, strategy = CONFIG["generate"], STRATEGIES[wildcards.strategy]
    flags = ["--attempts", generate["attempts"], "--keep", STRATEGIES.keep(wildcards.strategy)]
    flags += ["--hedging", generate["hedging"]]
    flags += ["--token-budget", generate["token_budget"]] if generate["token_budget"] else []
    flags += ["--time-budget", generate["time_budget"]] if generate["time_budget"] else []
    if strategy.method in ("distill", "reflect"):
        flags += ["--method", strategy.method]
        for flag, path in zip(["--prompt", "--conclude"], method_prompts(wildcards)):
            flags += [flag, path]
    return flags + about_flags(wildcards)


def about_flags(wildcards):
    questions = STRATEGIES[wildcards.strategy].questions
    return ["--about", questions] if questions != "wrong" else []


def learning_flags(wildcards):
    """What of a strategy's completions goes into its training set."""
    strategy = STRATEGIES[wildcards.strategy]
    flags = ["--method", strategy.method, "--keep", strategy.keep]
    flags += ["--pairs", strategy.pairs] if strategy.method == "dpo" else []
    flags += ["--replay", strategy.replay] if strategy.replay else []
    return flags + (["--or-nothing"] if may_be_empty(wildcards.strategy) else [])


def training_settings(wildcards):
    return json.dumps({**CONFIG["train"], **STRATEGIES[wildcards.strategy].train}, sort_keys=True)


def described(stage):
    """The strategies of a kind of training, with rounds and folds."""
    return [name for name, strategy in STRATEGIES.items() if strategy.stage == stage]


def asking_weights(wildcards):
    return served_weights(*respondent(wildcards))


def asking_environment(wildcards):
    return ready(serve_environment(*respondent(wildcards)))


def asking_python(wildcards):
    return python(serve_environment(*respondent(wildcards)))


def asking_server(wildcards, input):
    """The flags of a server, and of the part that it is asked about."""
    part = int(wildcards.get("part", 1))
    flags = server_flags(*respondent(wildcards), part)
    flags += ["--weights", str(input.weights)] if input.weights else []
    return flags + (["--part", f"{part}/{SHARDS}"] if SHARDS > 1 else [])


def asking_gpus(wildcards):
    """How many GPUs a server takes; cluster executors ask for so many."""
    model, variant = respondent(wildcards)
    on_gpus = engine(model, variant) == "vllm" and HARDWARE == "cuda"
    return devices.gpus_of(server_options(model, variant)) if on_gpus else 0


def answer_name(wildcards):
    return f"answer-{wildcards.get('variant', 'base')}-{wildcards.split}{part_name(wildcards)}"


def retry_name(wildcards):
    return f"retry-{wildcards.strategy}{part_name(wildcards)}"


def sample_name(wildcards):
    return f"sample-{wildcards.variant}-{wildcards.split}{part_name(wildcards)}"
