"""The models, files and flags that follow from a configuration, and the targets once training sets are known."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from errata.config.validation import validate
from errata.core.errors import UserError
from errata.plan import layout
from errata.plan.flags import flags, server_flags, unless
from errata.plan.plan import Plan
from errata.plan.targets import Targets
from helpers import problem, write_jsonl

DPO_ON_REFLECT = {"method": "dpo", "start_from": "reflect"}
DISTILL = "config/prompts/en/distill.txt"


class Job(SimpleNamespace):
    """Wildcards as Snakemake gives them."""

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


def of(variant: str = "base", **more: str) -> Job:
    return Job(model="m", variant=variant, split="test", **more)


def learns(strategy: str) -> Job:
    return Job(model="m", strategy=strategy)


def plan(*, model: dict[str, Any] | None = None, **sections: Any) -> Plan:
    config = {
        "dataset": {"train": "a", "test": "b", **sections.pop("dataset", {})},
        "models": {"m": {"source": "x", **(model or {})}},
        **{"baselines": {"teacher": {"engine": "endpoint", "base_url": "http://127.0.0.1:9/v1"}}, **sections},
    }
    return Plan(validate(config))


@pytest.mark.parametrize(
    ("hardware", "engine", "variant", "weights", "environment"),
    [
        ("cpu", "llamacpp", "base", "served/base.gguf", "serve-cpu"),
        ("cpu", "llamacpp", "self-3bit", "served/self-3bit.gguf", "serve-cpu"),
        ("cpu", "vllm", "self", "tuned/self", "serve-vllm-cpu"),
        ("cpu", "vllm", "self-3bit", "dequantized/self-3bit", "serve-vllm-cpu"),
        ("cuda", "vllm", "base", "base/checkpoint", "serve-cuda"),
        ("cuda", "vllm", "self-3bit", "quantized/self-3bit", "serve-cuda"),
    ],
)
def test_a_variant_is_served_from_what_its_engine_can_load(
    hardware: str, engine: str, variant: str, weights: str, environment: str
) -> None:
    made = plan(model={"engine": engine}, hardware=hardware)
    assert made.weights("m", variant) == f"results/m/{weights}"
    assert made.server_environment(of(variant)) == f".envs/{environment}.ok"


def test_an_endpoint_has_no_weights_and_its_tuned_model_an_engine_of_its_own() -> None:
    endpoint = {"engine": "endpoint", "base_url": "http://127.0.0.1:9/v1", "served_name": "alias"}
    made = plan(model=endpoint, hardware="cuda")
    assert made.weights("m", "base") == []
    assert made.server_gpus(of()) == 0
    assert (made.engine("m", "self"), made.server_gpus(of("self"))) == ("vllm", 1)
    found = server_flags(made, of(), SimpleNamespace(weights=[]))
    assert found[:4] == ["--engine", "endpoint", "--model", "alias"]
    assert "--weights" not in found
    assert found[found.index("--base-url") + 1] == "http://127.0.0.1:9/v1"


def test_the_size_of_a_variant_is_that_of_its_quantized_checkpoint_even_if_another_file_is_served() -> None:
    made = plan(dataset={"folds": 2}, strategies=["self"])
    assert made.sized_weights(of("self-4bit+maj8")) == "results/m/quantized/self-4bit"
    assert made.sized_weights(Job(model="m", variant="self-4bit", split="folds")) == (
        "results/m/quantized/self.fold1-4bit"
    )
    assert made.served_as(of("self-4bit")) == "llama.cpp, dequantized: a CPU has no 4-bit GPTQ kernels"
    assert made.served_as(of("self")) == "llama.cpp"


def test_the_majority_of_samples_was_served_as_each_of_them() -> None:
    endpoint = {"engine": "endpoint", "base_url": "http://127.0.0.1:9/v1"}
    made = plan(model=endpoint, score={"majority": [4]})
    assert made.served_as(of("base+maj4")) == "endpoint"
    assert made.served_as(of("self+maj4")) == "llama.cpp"
    assert made.served_as(of("self-4bit+maj4")) == made.served_as(of("self-4bit"))
    made = plan(model={"engine": "vllm", "tuned_engine": "llamacpp"})
    assert made.served_as(of("base+maj4")) == "vLLM"


def test_parts_have_files_and_ports_of_their_own() -> None:
    made = plan(model={"port": 9000, "engine": "vllm", "serve": {"tensor_parallel_size": 2}}, hardware="cuda")
    assert made.by_part("a/{split}.summary.json") == "a/{split}.summary.json"
    assert made.job_file("answer", "j/{model}/{job}.jsonl")(of("self")) == "j/m/answer-self-test.jsonl"
    made = plan(
        model={"port": 9000, "engine": "vllm", "serve": {"tensor_parallel_size": 2}},
        hardware="cuda",
        generate={"shards": 3},
    )
    assert made.by_part("a/{split}.summary.json") == "a/{split}.{part}-of-3.summary.json"
    second = of(part="2")
    assert made.job_file("answer", "{job}.log")(second) == "answer-base-test.2-of-3.log"
    assert made.job_file("retry", "{job}.log")(Job(model="m", strategy="self", part="2")) == "retry-self.2-of-3.log"
    found = server_flags(made, second, SimpleNamespace(weights="w"))
    assert found[found.index("--port") + 1] == 9001
    assert found[-4:] == ["--weights", "w", "--part", "2/3"]
    assert made.server_gpus(second) == 2


def test_quantized_variants_have_server_options_of_their_own() -> None:
    options = {"serve": {"a": 1}, "serve_tuned": {"a": 2}, "serve_quantized": {3: {"a": 3}}}
    made = plan(model={"engine": "vllm", **options}, hardware="cuda")
    found = {name: made.server_options("m", name)["a"] for name in ("base", "self", "self-4bit", "self-3bit")}
    assert found == {"base": 1, "self": 2, "self-4bit": 2, "self-3bit": 3}


def test_a_teacher_is_asked_in_the_models_place_and_may_be_an_endpoint() -> None:
    made = plan(strategies={"distill": {"teacher": "teacher", "questions": "all"}, "self": {"rounds": 2}})
    assert made.model_to_ask(learns("distill")) == ("teacher", "base")
    assert made.model_to_ask(learns("self-round2")) == ("m", "self")
    assert made.server_weights(learns("distill")) == []
    assert made.first_answers(learns("distill")) == "results/m/answers/train.jsonl"
    assert made.first_answers(learns("self-round2")) == "results/m/scores/self/train.jsonl"
    assert made.earlier_sets(learns("self-round2")) == ["results/m/sft/self.json"]
    assert made.own_prompts(learns("distill")) == {"method": "distill", "prompt": layout.own(DISTILL)}
    assert made.own_prompts(learns("self")) == {}


def test_training_leaves_out_what_is_scored_and_takes_a_strategys_own_settings() -> None:
    made = plan(
        dataset={"folds": 2},
        strategies={"self": {}, "dpo": {"start_from": "self", "train": {"learning_rate": 1e-6}}},
        train={"num_train_epochs": 3, "learning_rate": 1e-4},
    )
    assert made.held_out(learns("self")) == ["results/data/test.jsonl"]
    assert made.held_out(learns("dpo.fold2")) == ["results/data/test.jsonl", "results/data/fold2.jsonl"]
    assert made.start_checkpoint(learns("dpo.fold2")) == "results/m/tuned/self.fold2"
    assert made.start_checkpoint(learns("self")) == "results/m/base/checkpoint"
    assert json.loads(made.training_settings(learns("dpo"))) == {"learning_rate": 1e-6, "num_train_epochs": 3}


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("results/other/tuned/self", True),
        ("./results/other/quantized/self-3bit", True),
        ("results/tuned/base/checkpoint", True),
        ("results/m/base/checkpoint", False),
        ("org/name", False),
    ],
)
def test_a_model_that_was_trained_here_has_seen_the_training_questions(source: str, seen: bool) -> None:
    made = plan(model={"source": source}, dataset={"folds": 2}, baselines={"tuned": {"source": "results/m/tuned/x"}})
    for split in ("train", "folds", "fold1"):
        assert made.has_seen(Job(model="m", variant="self", split=split)) == seen, split
    assert not made.has_seen(Job(model="m", variant="base", split="test"))
    assert made.source_made_here(of()) == ([source.removeprefix("./")] if source.count("/") > 1 else [])


def test_flags_are_named_after_keys_and_omit_defaults() -> None:
    assert flags(max_tokens=96, temperature=[0.0, 0.8], top_p=1.0, seed=0) == [
        *("--max-tokens", 96, "--temperature", 0.0, 0.8, "--top-p", 1.0, "--seed", 0)
    ]
    assert flags(labelled=True, take=None, or_nothing=False) == ["--labelled"]
    assert flags(format=unless("f16", "f16"), grace=unless(25, 30)) == ["--grace", 30]


class Made:
    """The numbers of rows of training sets. It records the requested strategies."""

    def __init__(self, **rows: int) -> None:
        self.rows, self.asked = rows, list[str]()

    def __call__(self, model: str, strategy: str) -> int:  # noqa: ARG002
        self.asked.append(strategy)
        return self.rows[strategy.replace("-", "_").replace(".", "_")]


def test_rounds_end_where_nothing_new_is_solved() -> None:
    made = plan(strategies={"self": {"rounds": 4}}, quantize={"bits": [4]})
    rows = Made(self_round2=5, self_round3=0)
    targets = Targets(made, rows)
    assert targets.variants("m") == ["base", "self", "self-round2", "self-4bit", "self-round2-4bit"]
    # an empty first round is a fault, which its own step reports
    assert "self" not in rows.asked
    assert "self-round4" not in rows.asked
    assert targets.adapters(of()) == ["results/m/adapter/self", "results/m/adapter/self-round2"]
    assert targets.retries(of()) == ["results/m/retries/self-round2.jsonl", "results/m/retries/self.jsonl"]


def test_the_ablation_leaves_out_what_has_nothing_to_train_on_and_what_starts_from_it() -> None:
    more = {"reflect": {}, "dpo": {}, "after": {"method": "dpo", "start_from": "reflect"}}
    targets = Targets(plan(strategies=["self"], ablation=more), Made(reflect=0, dpo=3, after=4))
    scored = [path.split("/")[3] for path in targets.ablation_scores(of())]
    assert scored == ["base", "self", "dpo"]
    # strategies of the ablation alone are neither quantized nor on the leaderboard
    assert targets.variants("m") == ["base", "self", "self-3bit", "self-4bit"]


def test_report_and_ablation_declare_what_they_read() -> None:
    made = plan(strategies={"self": {"rounds": 2}}, ablation={"reflect": {}, "dpo": {}, "dpo2": DPO_ON_REFLECT})
    targets = Targets(made, Made(self_round2=5, reflect=0, dpo=3))
    answers, scores = "results/m/answers", "results/m/scores"
    assert targets.first_answers(of()) == [f"{answers}/train.jsonl", f"{scores}/self/train.jsonl"]
    assert {f"{answers}/train.summary.json", "results/m/retries/self-round2.summary.json"} < {*targets.summaries(of())}
    assert targets.questions(of()) == ["results/data/test.jsonl"]
    assert targets.base_weights(of()) == ["results/m/base/checkpoint"]
    # an empty set explains why a strategy has no row; strategies that start from it have no set
    sets = [f"results/m/sft/{name}.json" for name in ("self", "self-round2", "reflect", "dpo")]
    assert targets.ablation_sets(of()) == sets
    assert targets.ablation_adapters(of()) == [f"results/m/adapter/{name}" for name in ("self", "self-round2", "dpo")]
    assert targets.ablation_summaries(of()) == [
        *(f"results/m/retries/{name}.summary.json" for name in ("self", "self-round2", "reflect")),
        f"{scores}/self/train.summary.json",
    ]


def test_an_ablation_without_anything_to_train_or_to_score_is_refused(tmp_path: Path) -> None:
    test = tmp_path / "test.jsonl"
    write_jsonl(test, [problem("p", None)])
    unlabelled = {"train": "a", "test": str(test)}
    with pytest.raises(UserError, match=r"no question of .*test.jsonl has an answer.* Set dataset.folds"):
        Targets(plan(dataset=unlabelled), Made()).ablation_scores(of())
    assert Targets(plan(dataset={**unlabelled, "folds": 2}, ablation=["self"]), Made()).ablation_scores(of())
    endpoint = {"engine": "endpoint", "base_url": "http://127.0.0.1:9/v1", "source": None}
    with pytest.raises(UserError, match="none can be trained"):
        Targets(plan(model=endpoint), Made()).ablation_scores(of())
    write_jsonl(test, [problem("p", None, "A")])
    assert Targets(plan(dataset=unlabelled, ablation=["self"]), Made()).ablation_scores(of())


def test_folds_are_scored_where_all_of_them_have_something_to_train_on() -> None:
    made = plan(dataset={"folds": 2}, strategies={"self": {}, "again": {"method": "self", "rounds": 2}})
    rows = {"again_round2": 1, "again_round2_fold1": 1, "again_round2_fold2": 0}
    targets = Targets(made, Made(**rows))
    assert targets.fold_variants("m") == ["base", "self", "again"]
    assert [path for path in targets.scores(of()) if "folds" in path] == [
        f"results/m/scores/{variant}/folds.json" for variant in ("base", "self", "again")
    ]


def test_majorities_are_variants_of_every_variant_and_an_endpoint_is_scored_alone() -> None:
    made = plan(strategies=["self"], score={"majority": [4]}, quantize={"bits": [3]})
    assert Targets(made, Made()).variants("m") == [
        *("base", "base+maj4", "self", "self+maj4", "self-3bit", "self-3bit+maj4")
    ]
    endpoint = {"engine": "endpoint", "base_url": "http://127.0.0.1:9/v1", "source": None}
    assert Targets(plan(model=endpoint), Made()).submissions(of()) == ["results/m/submission/base/test.jsonl"]
