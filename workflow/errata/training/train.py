"""Step train: train a LoRA adapter with LLaMA-Factory.

A training can take several runs of this step, in several jobs. Its life:

    prepare the work folder ──> run the trainer ──> finish: check and write the adapter, remove the work folder
            ^                         │
            │                         ├─ SIGTERM or SIGINT: save a checkpoint, exit ──────────────────────┐
            │                         ├─ end of the job's time: save a checkpoint, Slurm requeues the job ┤
            │                         ├─ the trainer fails: exit with the end of its output ──────────────┤
            │                         └─ the step is killed ──────────────────────────────────────────────┤
            │                                                                                             │
            └────────────────── the next run goes on from the newest complete checkpoint <────────────────┘

The modules, in the order in which they act:

- distributed: the trainer's processes on GPUs and nodes, and the command that starts them.
- llamafactory: the trainer's configuration and environment variables.
- job_time: the end of the Slurm job's time.
- work_folder: locks the folder, keeps or removes what an earlier run left (trainer_checkpoints, trainer_log).
- runs: the history of the runs, and how long they took.
- launch: starts the trainer.
- trainer_process: LLaMA-Factory in its own process, which seals checkpoints and stops on request.
- supervise: waits for the trainer, shows its progress, requests the stop.
- next_job: has Slurm run the job again.
- adapter: checks and writes the result.

The step and the trainer's processes communicate through files in the work folder.
"""

import argparse
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from errata.config.trainer_keys import STRATEGIES, check_options, read_options
from errata.core import gpus
from errata.core.errors import UserError
from errata.models.checkpoints import weights_dtype
from errata.training import distributed
from errata.training.adapter import check_result, write_adapter
from errata.training.alpaca import read_texts
from errata.training.job_time import job_deadline
from errata.training.launch import CONTINUATIONS, GRACE, Launch
from errata.training.llamafactory import configure, count_longer, hardware_settings
from errata.training.messages import say
from errata.training.next_job import continue_in_next_job
from errata.training.runs import RunEnd, RunHistory
from errata.training.supervise import supervise
from errata.training.work_folder import Stop, WorkFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", type=Path, required=True, help="checkpoint to train from")
    parser.add_argument("--dataset", type=Path, required=True, help="training set")
    parser.add_argument("--template", required=True, help="LLaMA-Factory's name of the chat template, e.g. smollm2")
    parser.add_argument("--stage", choices=["sft", "dpo"], default="sft", help="dpo: the training set contains pairs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settings", default="{}", help="JSON object of LLaMA-Factory keys, which win over ours")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    parser.add_argument("--strategy", choices=STRATEGIES, default="ddp", help="how several processes share a training")
    parser.add_argument("--processes", type=int, help="trainer processes on a node (default: one for each GPU)")
    parser.add_argument("--grace", type=float, default=GRACE, help="seconds for a checkpoint after SIGTERM")
    parser.add_argument("--margin", type=float, help="seconds before the end of a Slurm job at which to stop")
    parser.add_argument("--continuations", type=int, default=CONTINUATIONS, help="how often to go on in a next job")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints of an unfinished training")
    parser.add_argument("--output", type=Path, required=True, help="folder of the adapter")


def run(arguments: argparse.Namespace) -> None:
    settings = read_options(arguments.settings)
    check_options(settings, arguments.strategy)
    texts = read_texts(arguments.dataset)
    with gpus.reserve(arguments.processes) as visible:
        os.environ.update(visible)
        run_on_gpus(arguments, settings, texts)


def run_on_gpus(arguments: argparse.Namespace, settings: Mapping[str, Any], texts: Sequence[str]) -> None:
    """Train on the GPUs that this process sees, or on the CPU if it sees none.

    Args:
        settings: the user's keys of LLaMA-Factory.
        texts: the rows of the training set, see `read_texts`.
    """
    hardware = hardware_settings()
    on_cpu = "use_cpu" in hardware
    world = distributed.world(os.environ, arguments.processes, distributed.count_visible_gpus())
    shared = distributed.settings(arguments.strategy, settings, world, on_cpu=on_cpu)
    configuration = configure(
        settings,
        base=arguments.base,
        dataset=arguments.dataset,
        rows=len(texts),
        template=arguments.template,
        stage=arguments.stage,
        seed=arguments.seed,
        trust_remote_code=arguments.trust_remote_code,
        hardware={**hardware, **shared},
    )
    distributed.check_base(arguments.strategy, configuration, world, weights_dtype(arguments.base))
    longer = count_longer(texts, configuration["cutoff_len"], arguments.base)
    if longer:
        say(f"{longer} of {len(texts)} rows are longer than cutoff_len and lose their end: raise train.cutoff_len")
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


def train(configuration: dict[str, Any], base: Path, dataset: Path, work: Path, output: Path, launch: Launch) -> None:
    """Train until the adapter is finished, or until the training must stop.

    Args:
        configuration: LLaMA-Factory's keys.
        base: folder of the checkpoint to train from.
        dataset: training set.
        work: keeps checkpoints until the training is finished, then it is removed. If it has complete checkpoints of
            this very training, the training goes on from the newest one.
        output: folder of the finished adapter.

    Raises:
        UserError: the trainer failed (with the end of its log); another training uses `work`; the job's time is over
            and there is no next job.
        SystemExit: the training stopped for a signal or for the end of the job's time; the next run goes on.
    """
    folder = WorkFolder(work)
    with folder.lock() as lock:
        # before `prepare` removes from the log how long the last run took
        RunHistory(folder.runs).measure_last(folder.training_time)
        start = folder.prepare(configuration, base, dataset, launch.world)
        history = RunHistory(folder.runs)  # empty if `prepare` cleared the folder for another training
        history.begin(start)
        say(f"LLaMA-Factory is starting; its output goes to {folder.terminal_log}")
        with launch.start(folder, lock) as process:
            request = supervise(process, folder, grace=launch.grace, deadline=launch.deadline)
        stop, end = folder.find_stop(), folder.newest_step()
        if stop or (request.why and process.returncode != 0):
            why = request.why or RunEnd.TERMINATED
            history.end(end, why, folder.training_time(start))
            say(stop_message(end, stop, work))
            if why == RunEnd.DEADLINE:
                continue_in_next_job(history, start, end, launch.continuations)
            raise SystemExit(128 + (request.signal or signal.SIGTERM))
        if process.returncode != 0:
            history.end(end, RunEnd.FAILED, folder.training_time(start))
            raise UserError(
                f"LLaMA-Factory failed with status {process.returncode}. "
                f"The end of {folder.terminal_log}:\n{distributed.failure_excerpt(folder.terminal_log)}"
            )
        history.end(end, RunEnd.FINISHED, folder.training_time(start, finished=True))
        check_result(configuration, folder)
        write_adapter(folder, base, output)
        folder.delete()


def stop_message(step: int, stop: Stop | None, work: Path) -> str:
    """What remains of a training that had to stop.

    Args:
        step: of the newest complete checkpoint, 0 for none.
        stop: where the trainer stopped on request; None if it was killed.
    """
    if stop:
        return (
            f"stopped at step {stop.step} of {stop.total}; "
            f"a checkpoint is kept in {work}, the next run goes on from there"
        )
    where = f"after step {step}" if step else "from the beginning"
    return f"stopped before a checkpoint could be saved; the next run goes on {where}"
