"""Step train: a LoRA adapter by LLaMA-Factory, which can be interrupted and taken up again."""

import argparse
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from errata.config.trainer_keys import DEFAULTS, PREFERENCE_DEFAULTS, STRATEGIES, check_settings, read_settings
from errata.core import gpus
from errata.core.errors import UserError
from errata.core.files import atomic_folder, read_json, remove, write_text
from errata.core.processes import running
from errata.core.slurm_job import own_slurm_job
from errata.models.checkpoints import weights_dtype
from errata.training import distributed
from errata.training.dataset_info import entry
from errata.training.distributed import World, last_words
from errata.training.job_time import Deadline, job_deadline, requeue
from errata.training.llamafactory import offline, to_yaml
from errata.training.runs import DEADLINE, FAILED, FINISHED, LOCK, RUNS, TERMINATED, Runs, alone
from errata.training.supervise import listening, say, supervise
from errata.training.work_folder import (
    COPIED,
    LOG,
    STOP,
    STOPPED,
    TRAINING,
    checkpoints,
    cut_log,
    fingerprint,
    longer_than,
    newest_checkpoint,
    processes_of,
    spent,
    stopped_at,
    validation_rows,
)

GRACE, CONTINUATIONS = 25.0, 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", type=Path, required=True, help="checkpoint to train from")
    parser.add_argument("--dataset", type=Path, required=True, help="training set")
    parser.add_argument("--template", required=True, help="LLaMA-Factory's name of the chat template, e.g. smollm2")
    parser.add_argument("--stage", choices=["sft", "dpo"], default="sft", help="dpo: the training set holds pairs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settings", default="{}", help="JSON object of LLaMA-Factory keys, laid over ours")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    parser.add_argument("--strategy", choices=STRATEGIES, default="ddp", help="of several processes")
    parser.add_argument("--processes", type=int, help="trainer processes a node; without it one for each GPU")
    parser.add_argument("--grace", type=float, default=GRACE, help="seconds for a checkpoint after SIGTERM")
    parser.add_argument("--margin", type=float, help="seconds before the end of a Slurm job at which to save and go on")
    parser.add_argument("--continuations", type=int, default=CONTINUATIONS, help="how often to go on in a next job")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints of an unfinished training")
    parser.add_argument("--output", type=Path, required=True, help="folder of the adapter")


def run(arguments: argparse.Namespace) -> None:
    settings = read_settings(arguments.settings)
    check_settings(settings, arguments.strategy)
    rows = read_rows(arguments.dataset)
    with gpus.reserved(arguments.processes) as visible:
        os.environ.update(visible)
        run_on(arguments, settings, rows)


def run_on(arguments: argparse.Namespace, settings: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
    """Train on the GPUs that this process sees."""
    hardware = hardware_settings()
    on_cpu = "use_cpu" in hardware
    world = distributed.world(os.environ, arguments.processes, visible_gpus())
    shared = distributed.settings(arguments.strategy, settings, world, on_cpu=on_cpu)
    configuration = configure(
        settings,
        base=arguments.base,
        dataset=arguments.dataset,
        rows=len(rows),
        template=arguments.template,
        stage=arguments.stage,
        seed=arguments.seed,
        trust_remote_code=arguments.trust_remote_code,
        hardware={**hardware, **shared},
    )
    distributed.check_base(arguments.strategy, configuration, world, weights_dtype(arguments.base))
    cut = longer_than(rows, configuration["cutoff_len"], arguments.base)
    if cut:
        say(f"{cut} of {len(rows)} rows are longer than cutoff_len and lose their end: raise train.cutoff_len")
    if world.processes > 1:
        say(f"{world.processes} processes on {world.nodes} node{'s' * (world.nodes > 1)}, {arguments.strategy}")
    launch = Launch(
        distributed.command(world, os.environ),
        world,
        distributed.environment(arguments.strategy, world, on_cpu=on_cpu),
        grace=arguments.grace,
        deadline=job_deadline(os.environ, arguments.margin, time.time()),
        continuations=arguments.continuations,
    )
    train(configuration, arguments.base, arguments.dataset, arguments.work, arguments.output, launch)


def read_rows(dataset: Path) -> list[dict[str, Any]]:
    """The rows of a training set.

    Raises:
        UserError: it is no JSON array of objects, or empty.
    """
    rows = read_json(dataset)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{dataset}: not a JSON array of objects. Delete it and run again.")
    if not rows:
        raise UserError(
            f"{dataset}: no rows, so there is nothing to learn from. Raise generate.attempts, so that more wrong "
            "answers become right, or bring more questions."
        )
    return rows


def visible_gpus() -> int:
    """How many GPUs the trainer sees."""
    import torch

    return int(torch.cuda.device_count())


def hardware_settings() -> dict[str, Any]:
    """What the trainer must know of this machine: no GPU, or which 16-bit format it has."""
    import torch

    if not torch.cuda.is_available():
        # Activations of the small models that a CPU can train fit into memory: no need to compute them twice.
        return {"use_cpu": True, "dataloader_pin_memory": False, "disable_gradient_checkpointing": True}
    return {"bf16": True} if torch.cuda.is_bf16_supported() else {"fp16": True}


def configure(
    settings: Mapping[str, Any],
    *,
    base: Path,
    dataset: Path,
    rows: int,
    template: str,
    stage: str,
    seed: int,
    trust_remote_code: bool,
    hardware: Mapping[str, Any],
) -> dict[str, Any]:
    """The trainer's whole configuration: our defaults, the machine's, the user's, then what is not to be chosen."""
    ours = {**DEFAULTS, **PREFERENCE_DEFAULTS} if stage == "dpo" else DEFAULTS
    result: dict[str, Any] = {**ours, **hardware, **settings}
    if "bf16" in settings or "fp16" in settings:
        # the user's format, not both
        for name in {"bf16", "fp16"} - set(settings):
            result.pop(name, None)
    if result.get("quantization_bit") is None:
        for name in ("quantization_bit", "quantization_method", "quantization_type", "double_quantization"):
            result.pop(name, None)
    result["val_size"] = validation_rows(rows, result.get("max_samples"), result["val_size"])
    if not result["val_size"]:
        result = {name: value for name, value in result.items() if "eval" not in name and name != "val_size"}
        result.pop("load_best_model_at_end", None)
    return {
        "model_name_or_path": str(base.resolve()),
        "trust_remote_code": trust_remote_code,
        "stage": stage,
        "do_train": True,
        "template": template,
        "dataset": dataset.stem,
        # relative to the work folder, where the trainer runs; a description of this set alone stands there, since the
        # one beside the set changes with every other strategy
        "dataset_dir": ".",
        "output_dir": "output",
        "seed": seed,
        **result,
    }


def thread_variables(environ: Mapping[str, str], processes: int) -> dict[str, str]:
    """The threads of each of the trainer's processes, for every library that is told how many.

    Snakemake tells all of them the job's (OMP_NUM_THREADS, MKL_NUM_THREADS, ...), torchrun would tell one of them 1.
    With more threads than cores they wait for each other: two processes on two cores took ten times as long a step.
    """
    threads = int(environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    each = str(max(1, threads // max(1, processes)))
    return {name: each for name in ["OMP_NUM_THREADS", *environ] if name.endswith("_NUM_THREADS")}


@dataclass(frozen=True)
class Launch:
    """How the trainer is started, and what ends it.

    Attributes:
        command: run in the work folder.
        world: the processes that it starts.
        environment: variables on top of ours.
        grace: seconds for a checkpoint after SIGTERM.
        deadline: the end of the job's time.
        continuations: how often a training may go on in a next job.
    """

    command: Sequence[str]
    world: World = field(default_factory=World)
    environment: Mapping[str, str] = field(default_factory=dict)
    grace: float = GRACE
    deadline: Deadline | None = None
    continuations: int = CONTINUATIONS


def train(configuration: dict[str, Any], base: Path, dataset: Path, work: Path, output: Path, launch: Launch) -> None:
    """Train, from the newest complete checkpoint in `work` if that belongs to this very training.

    Args:
        base: the checkpoint's folder.
        work: keeps checkpoints until the training is finished, then it is removed.
        output: folder of the finished adapter, with log, loss curve, the trainer's configuration and its runs.

    Raises:
        UserError: the trainer failed, with the end of its log; another training uses `work`; the job's time is over
            and there is no next one.
        SystemExit: SIGTERM or SIGINT came; the next run goes on from the checkpoint that was saved.
    """
    with alone(work) as lock:
        # before what it has logged is cut
        Runs(work / RUNS).settle(partial(spent, work))
        start = prepare(configuration, base, dataset, work, launch.world)
        runs = Runs(work / RUNS)
        runs.begin(start)
        made, log = work / "output", work / "train.log"
        environment = {
            **offline(os.environ, work),
            **thread_variables(os.environ, launch.world.each),
            **launch.environment,
        }
        say(f"LLaMA-Factory is starting; its output goes to {log}")
        trainer = running(
            launch.command,
            log,
            cwd=work,
            environment=environment,
            patience=1.0,  # it had its time before
            # torchrun has to outlive what Slurm sends to every process: its workers save a checkpoint then
            ignored=[signal.SIGTERM] if launch.world.launched else [],
            # with several nodes it is srun, which takes the other nodes' processes along
            orphaned=signal.SIGKILL if launch.world.nodes == 1 else signal.SIGTERM,
            kept=[lock],
        )
        with trainer as process:
            ending = supervise(process, work, made / LOG, grace=launch.grace, deadline=launch.deadline)
        stopped, newest = stopped_at(work), newest_checkpoint(made)
        end = newest.step if newest else 0
        if stopped or (ending.why and process.returncode != 0):
            runs.end(end, ending.why or TERMINATED, spent(work, start))
            say(stop_message(end, stopped, work))
            if ending.why == DEADLINE:
                next_job(runs, start, end, launch.continuations, work)
            raise SystemExit(128 + (ending.signal or signal.SIGTERM))
        if process.returncode != 0:
            runs.end(end, FAILED, spent(work, start))
            raise UserError(
                f"LLaMA-Factory failed with status {process.returncode}. The end of {log}:\n{last_words(log)}"
            )
        runs.end(end, FINISHED, spent(work, start, finished=True))
        check_result(configuration, made, log)
        with atomic_folder(output) as folder:
            for pattern in COPIED:
                for path in made.glob(pattern):
                    (folder / path.name).write_bytes(path.read_bytes())
            for name in ("train.yaml", RUNS):
                (folder / name).write_bytes((work / name).read_bytes())
            portable = read_json(folder / "adapter_config.json") | {"base_model_name_or_path": str(base)}
            write_text(folder / "adapter_config.json", json.dumps(portable, indent=2) + "\n")
        empty(work)
        (work / LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # the next one may be in there already
            work.rmdir()


def prepare(configuration: Mapping[str, Any], base: Path, dataset: Path, work: Path, world: World) -> int:
    """Make the work folder ready; give the step after which the training goes on, 0 for the beginning.

    Raises:
        UserError: the checkpoint there is of another number of GPUs.
    """
    made, written = work / "output", work / "fingerprint"
    mark = fingerprint(configuration, dataset, base)
    if not written.is_file() or written.read_text(encoding="utf-8") != mark:
        if checkpoints(made):
            say("the checkpoints there belong to another training (settings, data or base changed): starting anew")
        empty(work)
    write_text(written, mark)
    resumed = newest_checkpoint(made)
    if resumed and processes_of(resumed) != world.processes:
        before, now = processes_of(resumed), world.processes
        # other batches: its steps and its place in the data would be wrong
        if not world.chosen:
            raise UserError(
                f"{resumed.path}: {before} processes trained up to here and this job has {now}, whose batches would be "
                f"others. Run again on {before} GPUs, or delete {work} to start anew on {now}."
            )
        say(
            f"the checkpoints there are of {before} processes, and distributed.processes now makes {now}: starting anew"
        )
        empty(work)
        write_text(written, mark)
        resumed = None
    if resumed is None:
        remove(made)
    else:
        cut_log(made / LOG, resumed.step)
        for incomplete in checkpoints(made):
            if incomplete.step > resumed.step:
                remove(incomplete.path)
        say(f"resuming after step {resumed.step}")
    for name in (STOP, TRAINING, STOPPED, "train.log"):
        remove(work / name)
    described = {dataset.stem: entry(str(dataset.resolve()), configuration.get("stage", "sft"))}
    write_text(work / "dataset_info.json", json.dumps(described, indent=2) + "\n")
    write_text(work / "train.yaml", to_yaml(configuration))
    return resumed.step if resumed else 0


def empty(work: Path) -> None:
    """Remove everything from the work folder but its lock, which is held."""
    for path in work.iterdir():
        if path.name != LOCK:
            remove(path)


def stop_message(step: int, stopped: tuple[int, int] | None, work: Path) -> str:
    """What is left of a training that was told to stop."""
    if stopped:
        return (
            f"stopped at step {stopped[0]} of {stopped[1]}; "
            f"a checkpoint is kept in {work}, the next run goes on from there"
        )
    where = f"after step {step}" if step else "from the beginning"
    return f"stopped before a checkpoint could be saved; the next run goes on {where}"


def next_job(runs: Runs, start: int, end: int, limit: int, work: Path) -> NoReturn:
    """Have Slurm run this job once more, now that its time is over; then wait until Slurm ends it.

    Raises:
        UserError: no progress, too many jobs, or Slurm refuses.
    """
    if end <= start:
        raise UserError(
            f"No progress in the time given: the job's time ended before a step after step {start} could be saved. "
            "Raise `runtime` of rule train in the profile, or lower train.save_steps or the batch size, and run again: "
            f"{work} keeps what there is."
        )
    if runs.continuations > limit:
        raise UserError(
            f"This training went on in {limit} jobs (distributed.continuations) and is not finished. Raise `runtime` "
            f"of rule train in the profile, delete {runs.path}, which counts them, and run again: it goes on after "
            f"step {end}."
        )
    job = own_slurm_job(os.environ)
    if job is None:
        raise UserError(f"The job's time is over. The next run goes on after step {end}.")
    with listening() as told:
        refused = requeue(job)
        if refused:
            raise UserError(
                f"The job's time is over and Slurm does not requeue job {job} ({refused}). "
                f"The next run goes on after step {end}."
            )
        count = f"{runs.continuations} of {limit}"
        say(f"the job's time is over: job {job} is requeued and goes on after step {end} ({count})")
        for _ in range(600):
            if told.signal:
                raise SystemExit(128 + told.signal)
            time.sleep(0.5)
    raise UserError(f"Slurm requeued job {job} but did not end it. The next run goes on after step {end}.")


def check_result(configuration: Mapping[str, Any], made: Path, log: Path) -> None:
    """Raise a UserError if the trainer ended well without doing what it was told."""
    if not (made / "adapter_model.safetensors").is_file():
        raise UserError(f"LLaMA-Factory wrote no adapter_model.safetensors. The end of {log}:\n{last_words(log)}")
    bits = configuration.get("quantization_bit")
    if bits and f"Quantizing model to {bits} bit" not in log.read_text(encoding="utf-8", errors="replace"):
        raise UserError(
            f"LLaMA-Factory ignored quantization_bit: {bits}, so this was no QLoRA. Check train.quantization_method."
        )
