"""The trainer's own process: LLaMA-Factory with a guard that stops it at the end of a step, with a checkpoint.

transformers' own `enable_jit_checkpoint` (5.6) does not do for that: every process decides by a timer of its own, so
that two of them stop at different steps and wait for each other for ever, and a trainer that was stopped so goes on to
write an adapter and to end as if it had finished.

Run as `python -m errata.training.trainer train.yaml` in the work folder, by itself or by torchrun.
"""

import os
import signal
from pathlib import Path
from typing import Any, Protocol

from errata.core import patches
from errata.core.files import write_text
from errata.core.processes import die_with_parent
from errata.training.work_folder import STOP, STOPPED, TRAINING, seal


class Together(Protocol):
    """The processes of a training, of which this is one."""

    @property
    def count(self) -> int: ...

    def any(self, flag: bool) -> bool:
        """Whether any process says so: all of them get the same answer."""

    def wait(self) -> None:
        """Go on when all processes are here."""


class Guard:
    """A TrainerCallback: marks checkpoints that are complete, and stops the training when any process is told to.

    It is told by the file `stop` in the work folder, or by SIGTERM once steps are made; before that there is nothing
    to save, and SIGTERM ends the process.
    """

    def __init__(self, work: Path, together: Together, local_rank: int = 0) -> None:
        self._work = work
        self._together = together
        # one process a node speaks, so that the step finds its word even where nodes see each other's files late
        self._speaks = local_rank == 0
        self._terminated = False
        self._stopping = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        signal.signal(signal.SIGTERM, self._on_sigterm)
        if self._speaks:
            (self._work / TRAINING).touch()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if state.global_step >= state.max_steps:
            return  # what is left takes no longer than stopping
        if self._together.any(self._terminated or (self._work / STOP).exists()):
            self._stopping = True
            control.should_save = True
            control.should_log = True  # else the losses since the last entry would be in none
            control.should_evaluate = False  # there may be no time for it

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._together.wait()
        if state.is_world_process_zero:
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}", self._together.count)
        if not self._stopping:
            return
        self._together.wait()
        if self._speaks:
            write_text(self._work / STOPPED, f'{{"step": {state.global_step}, "total": {state.max_steps}}}\n')
        raise SystemExit(0)

    def _on_sigterm(self, signum: int, frame: object) -> None:  # noqa: ARG002
        self._terminated = True


class Torch:
    """The processes that torch.distributed knows; this one alone where it knows none."""

    @property
    def count(self) -> int:
        from torch import distributed

        return int(distributed.get_world_size()) if distributed.is_initialized() else 1

    def any(self, flag: bool) -> bool:
        if self.count == 1:
            return flag
        import torch
        from torch import distributed

        device = "cuda" if torch.cuda.is_available() and distributed.get_backend() != "gloo" else "cpu"
        told = torch.tensor(int(flag), device=device)
        distributed.all_reduce(told, op=distributed.ReduceOp.MAX)
        return bool(told.item())

    def wait(self) -> None:
        if self.count > 1:
            from torch import distributed

            distributed.barrier()


def main() -> None:
    local_rank = os.environ.get("LOCAL_RANK")
    if local_rank is not None:
        # torchrun's workers have sessions of their own, and would train on when it is killed
        die_with_parent(os.getppid(), signal.SIGKILL)
    # torchrun's was to ignore it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    patches.import_deepspeed()
    from llamafactory.train.tuner import run_exp
    from transformers import TrainerCallback

    patches.ignore_sigterm_in_data_loaders()
    patches.load_to_numbered_cpus()
    guard = type("Guard", (Guard, TrainerCallback), {})(Path.cwd(), Torch(), int(local_rank or 0))
    try:
        run_exp(callbacks=[guard])
    except SystemExit:
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()
        raise


if __name__ == "__main__":
    main()
