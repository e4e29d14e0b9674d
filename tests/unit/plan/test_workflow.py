"""The workflow as users call it: dry runs of every configuration in a fresh copy of the repository."""

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from dry_runs import CONTEST, GPU_JOBS, LAPTOP, LLAMA, LLAMA_JOBS, LOCAL, SLURM, SMOL, Dry, clone, snakemake

from helpers import REPOSITORY

# The dry runs that the tests below use. Each takes seconds, so they are made two at a time.
DRY_RUNS = {
    "laptop": (*LOCAL, "-p"),
    "laptop on slurm": SLURM,
    "llama on slurm": (*SLURM, *LLAMA),
    "llama here": (*LOCAL, *LLAMA),
    "gpus here": (*LOCAL, "--configfile", "config/gpu.yaml"),
    "contest on slurm": (*SLURM, *LLAMA, CONTEST),
    "one target": (*LOCAL, f"{SMOL}/quantized/self-3bit"),
    "endpoint": (*LOCAL, "--configfile", "endpoint.yaml"),
    "bundle": (*LOCAL, "-p", "bundle"),
    "shards": (*LOCAL, "-p", "--config", "generate={shards: 3}"),
    "everything": (*LOCAL, "-p", "--configfile", "everything.yaml", "--", "all", "ablation", "baselines"),
    "rounds": (*LOCAL, "-p", "ablation"),
    "one voted fold": (*LOCAL, "--configfile", "everything.yaml", "--", f"{SMOL}/scores/self-4bit+maj2/folds.json"),
    "nothing to compare": (*LOCAL, "--configfile", "config/config.yaml", CONTEST, "--", "ablation"),
    "bad key": (*LOCAL, "--config", "generate={attemps: 3}", "colour=red"),
    "bad model": (*LOCAL, f"{SMOL.replace('135m', '136m')}/quantized/self-3bit"),
}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Dry]]]:
    """The dry runs of a fresh clone, by name."""
    folder = clone(tmp_path_factory.mktemp("workflow") / "fresh")
    with ThreadPoolExecutor(2) as pool:
        plans = {name: pool.submit(snakemake, folder, "-n", *words) for name, words in DRY_RUNS.items()}
        plans["lint"] = pool.submit(snakemake, folder, "--lint")

        plans["dag"] = pool.submit(snakemake, folder, "--dag", "dot", errors=False)
        plans["rulegraph"] = pool.submit(snakemake, folder, "--rulegraph", "dot", errors=False)
        yield plans


@pytest.mark.parametrize(
    ("name", "jobs"),
    [
        ("laptop", LAPTOP),
        ("laptop on slurm", LAPTOP),
        ("gpus here", GPU_JOBS),
        ("llama here", LLAMA_JOBS),
        ("llama on slurm", LLAMA_JOBS),
        ("contest on slurm", LLAMA_JOBS),
    ],
)
def test_every_configuration_is_planned_to_the_last_job(
    planned: dict[str, Future[Dry]], name: str, jobs: dict[str, int]
) -> None:
    dry = planned[name].result()
    assert dry.status == 0, dry.text
    assert dry.jobs == jobs


def test_every_training_set_and_calibration_leaves_out_the_scored_questions(planned: dict[str, Future[Dry]]) -> None:
    """Trainings of a fold, and all trainings that they start from, also leave out that fold."""
    text = planned["everything"].result().text
    found: dict[str, set[str]] = {}
    for command in re.findall(r"errata (?:training-set|calibration) .*", text):
        (held_out,) = re.findall(r"--held-out ((?:\S+\.jsonl ?)+)", command)
        (output,) = re.findall(r"--output (\S+)\.json", command)
        found.setdefault(output, set()).update(held_out.split())
    strategies = ("self", "pref", "distill", "reflect", "dpo")
    assert {Path(output).name for output in found if "/sft/" in output} >= {
        f"{name}{fold}" for name in strategies for fold in ("", ".fold1", ".fold2", ".fold3")
    }
    for output, held_out in found.items():
        fold = re.search(r"fold\d+$", output)
        own = {f"results/data/{fold[0]}.jsonl"} if fold else set()
        assert held_out == {"results/data/test.jsonl"} | own, output
    # a strategy that starts from another one leaves out the same fold
    starts = re.findall(r"errata train --base (\S+) --dataset \S+/sft/pref(\S*)\.json", text)
    assert {(base, fold) for base, fold in starts} == {
        (f"{SMOL}/tuned/self{fold}", fold) for fold in ("", ".fold1", ".fold2", ".fold3")
    }


def test_an_ablation_that_could_compare_nothing_is_refused_before_anything_is_asked(
    planned: dict[str, Future[Dry]],
) -> None:
    dry = planned["nothing to compare"].result()
    assert dry.status != 0
    assert "round1_test_data.jsonl has an answer, so there is nothing to compare strategies on" in dry.text
    assert "Set dataset.folds, or bring a labelled test file." in dry.text


def test_shards_make_parts_and_a_job_that_gathers_them(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["shards"].result()
    assert dry.status == 0, dry.text
    asking = {"answer": 6, "retry": 3, "answer_variant": 9}
    assert dry.jobs == LAPTOP | asking | {"gather_answers": 2, "gather_retries": 1, "gather_scores": 3}
    assert "localrules directive specifies rules that are not present" not in dry.text
    # every part has its own problems, journal, logs and files; the files are removed after gathering
    for part in (1, 2, 3):
        (command,) = re.findall(rf"errata answer .*/data/train.* --part {part}/3 .*", dry.text)
        own = re.findall(rf"\S+train\.{part}-of-3\.\S+", command)
        assert len(set(own)) == 5, command
        assert f"Would remove temporary output {SMOL}/retries/parts/self.{part}-of-3.jsonl" in dry.text
    (gather,) = re.findall(r"errata gather --answers .*", dry.text)
    assert [f"self.{part}-of-3.jsonl" in gather for part in (1, 2, 3)] == [True] * 3
    assert f"--output {SMOL}/retries/self.jsonl --summary {SMOL}/retries/self.summary.json" in gather


def test_every_kind_of_strategy_score_and_table_is_planned(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["everything"].result()
    assert dry.status == 0, dry.text
    strategies, folds = 5, 3
    variants = 1 + 2 * strategies
    assert dry.jobs["train"] == dry.jobs["merge_lora"] == dry.jobs["training_set"] == strategies * (1 + folds)
    # self and both dpo share their retries, and so do all folds
    assert dry.jobs["retry"] == 3
    assert dry.jobs["quantize"] == strategies
    assert dry.jobs["fold"] == folds
    # greedy and two majorities
    assert dry.jobs["gather_folds"] == 3 * strategies
    # on test and on all folds; each fold has its own models, except for base
    assert dry.jobs["sample"] == variants + 1 + strategies * folds
    assert dry.jobs["vote"] == 2 * dry.jobs["sample"]
    assert dry.jobs["score"] == 3 * variants + 3 * (1 + strategies) + 5  # and five of the baselines alone
    assert dry.jobs["report"] == dry.jobs["ablation"] == dry.jobs["baselines"] == 1
    (command,) = re.findall(r"errata retry .* --method distill .*", dry.text)
    assert "--engine endpoint --model mentor" in command
    assert "--about all" in command
    assert "--prompt config/prompts/en/distill.txt" in command


def test_a_strategy_trains_the_model_that_it_starts_from(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["one voted fold"].result()
    assert dry.status == 0, dry.text
    assert (dry.jobs["quantize"], dry.jobs["sample"], dry.jobs["vote"], dry.jobs["gather_folds"]) == (3, 3, 3, 1)
    shown = planned["rounds"].result()
    assert shown.status == 0, shown.text
    # further trainings are planned once their training sets are made
    assert f"errata retry --data results/data/train.jsonl --answers {SMOL}/scores/self/train.jsonl" in shown.text
    assert "--before results/smollm2-135m/sft/self.json" in shown.text
    assert shown.jobs["train"] == 1
    assert "ablation" in shown.jobs


def test_each_profile_is_found_by_its_name(planned: dict[str, Future[Dry]]) -> None:
    assert (REPOSITORY / "slurm").readlink() == Path("profiles/slurm")
    assert "Using profile slurm " in planned["laptop on slurm"].result().text
    # Snakemake always loads a profile called default, and it removes keys of the one on the command line
    assert not (REPOSITORY / "profiles" / "default").exists()


def test_one_target_needs_only_its_own_inputs(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["one target"].result()
    assert dry.status == 0, dry.text
    assert dry.jobs["quantize"] == 1
    assert dry.jobs["answer"] == 1, "only the training split is answered"
    assert not {"score", "report", "answer_variant", "submission", "dequantize", "gguf", "all"} & dry.jobs.keys()


def test_a_bundle_needs_environments_and_models_but_no_results(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["bundle"].result()
    assert dry.status == 0, dry.text
    assert dry.jobs == {"environment": 4, "fetch_gguf": 1, "bundle": 1}


def test_a_configfile_replaces_the_default_completely(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["endpoint"].result()
    assert dry.status == 0, dry.text
    assert "smollm2" not in dry.text
    # an endpoint without a source is answered and scored, never trained
    assert dry.jobs["answer"] == 2
    assert dry.jobs["score"] == 1
    assert not {"train", "quantize", "fetch_gguf", "merge_lora"} & dry.jobs.keys()


def test_unknown_keys_are_refused_with_our_message_and_no_traceback(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["bad key"].result()
    assert dry.status != 0
    assert "generate.attemps: unknown key; did you mean 'attempts'?" in dry.text
    assert "colour: unknown key" in dry.text
    assert "config/README.md explains every key" in dry.text
    assert "Traceback" not in dry.text


def test_a_target_of_an_unknown_model_is_refused(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["bad model"].result()
    assert dry.status != 0
    assert "No rule to produce results/smollm2-136m/quantized/self-3bit" in dry.text
    assert "Traceback" not in dry.text


def test_lint_has_one_remark_only(planned: dict[str, Future[Dry]]) -> None:
    remarks = re.findall(r"^    \* (.+)$", planned["lint"].result().text, re.MULTILINE)
    # Environments are built by a rule with uv from hashed locks; Snakemake knows conda and containers only.
    assert set(remarks) == {"Specify a conda environment or container for each rule.:"}


@pytest.mark.parametrize("name", ["dag", "rulegraph"])
def test_the_output_for_graphviz_contains_only_the_graph(planned: dict[str, Future[Dry]], name: str) -> None:
    graph = planned[name].result()
    assert graph.status == 0
    assert graph.text.startswith("digraph snakemake_dag")


def test_flags_equal_to_a_default_are_omitted(planned: dict[str, Future[Dry]]) -> None:
    laptop, everything = planned["laptop"].result().text, planned["everything"].result().text
    assert re.search(
        r"errata training-set .* --held-out results/data/test.jsonl --method self --keep 1 --seed 1 ", laptop
    )
    # no flag in between, as in version 0.1.0, whose results stay valid
    assert re.search(r"errata gguf --checkpoint \S+  --output ", laptop)
    assert re.search(r"errata train .* --settings \S.*\}'  --work ", laptop)
    assert re.search(r"errata retry .* --attempts \d+ --keep 1 --hedging \S+ --engine llamacpp ", laptop)
    assert re.search(r"errata gguf --checkpoint results/q8/base/checkpoint --format q8_0 --output ", everything)
    assert re.search(r"errata training-set .* --method dpo --keep 1 --pairs 1 --seed", everything)
    rounds = planned["rounds"].result().text
    assert re.search(r"errata training-set .*/sft/self.json .* --method self --keep 1 --or-nothing --seed", rounds)


def test_the_configuration_goes_to_steps_as_a_file(planned: dict[str, Future[Dry]]) -> None:
    found = re.findall(r"errata (report|ablation|baselines) .* --config (\S+)", planned["everything"].result().text)
    assert {step for step, _ in found} == {"report", "ablation", "baselines"}
    assert all(re.fullmatch(r"\.snakemake/errata/config-[0-9a-f]{16}\.json", path) for _, path in found)
    (inputs,) = re.findall(r"bundle .*--config (\S+)", planned["bundle"].result().text)
    assert inputs.startswith(".snakemake/errata/config-")
