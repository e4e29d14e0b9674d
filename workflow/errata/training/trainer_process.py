"""The trainer's own process: LLaMA-Factory with a callback that seals its checkpoints and stops it on request.

transformers' own `enable_jit_checkpoint` (5.6) does not do this. Each process decides by its own timer, so two
processes can stop at different steps and wait for each other forever. And a trainer that was stopped goes on to write
an adapter and ends as if it had finished.

Run as `python -m errata.training.trainer_process train.yaml` in the work folder, by itself or by torchrun.
"""

import os
import signal
from pathlib import Path
from typing import Any, Protocol

from errata.core import patches
from errata.core.files import write_text
from errata.core.processes import die_with_parent
from errata.training.trainer_checkpoints import seal
from errata.training.work_folder import WorkFolder


class ProcessGroup(Protocol):
    """All processes of a training, this one included."""

    @property
    def count(self) -> int: ...

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all processes get the same answer."""

    def wait(self) -> None:
        """Wait until all processes are here."""


class CheckpointCallback:
    """A TrainerCallback: seals checkpoints, and stops the training at the end of a step when that is requested.

    A stop is requested by the file `stop` in the work folder, or by SIGTERM to any process. Before the first step
    there is nothing to save, and SIGTERM ends the process.

    Args:
        folder: where the training works.
        group: all processes of the training.
        local_rank: number of this process on its node.
    """

    def __init__(self, folder: WorkFolder, group: ProcessGroup, local_rank: int = 0) -> None:
        self._folder = folder
        self._group = group
        # One process of each node writes the files for the step: nodes may see each other's files late.
        self._writes = local_rank == 0
        self._terminated = False
        self._stopping = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        signal.signal(signal.SIGTERM, self._on_sigterm)
        if self._writes:
            self._folder.training_file.touch()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if state.global_step >= state.max_steps:
            return  # finishing takes no longer than stopping
        if self._group.any(self._terminated or self._folder.stop_file.exists()):
            self._stopping = True
            control.should_save = True
            control.should_log = True  # else the losses since the last entry would be lost
            control.should_evaluate = False  # there may be no time for it

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._group.wait()
        if state.is_world_process_zero:
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}", self._group.count)
        if not self._stopping:
            return
        self._group.wait()
        if self._writes:
            text = f'{{"step": {state.global_step}, "total": {state.max_steps}}}\n'
            write_text(self._folder.stopped_file, text)
        raise SystemExit(0)

    def _on_sigterm(self, signum: int, frame: object) -> None:  # noqa: ARG002
        self._terminated = True


class TorchProcessGroup:
    """The processes of torch.distributed; this process alone if that is not in use."""

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
        flags = torch.tensor(int(flag), device=device)
        distributed.all_reduce(flags, op=distributed.ReduceOp.MAX)
        return bool(flags.item())

    def wait(self) -> None:
        if self.count > 1:
            from torch import distributed

            distributed.barrier()


def main() -> None:
    """Run LLaMA-Factory with the configuration that the command line names."""
    local_rank = os.environ.get("LOCAL_RANK")
    if local_rank is not None:
        # torchrun's workers have sessions of their own, and would go on training when torchrun is killed
        die_with_parent(os.getppid(), signal.SIGKILL)
    # torchrun ignores SIGTERM, and its workers inherit that
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    patches.import_deepspeed()
    from llamafactory.train.tuner import run_exp
    from transformers import TrainerCallback

    patches.ignore_sigterm_in_data_loaders()
    patches.load_to_numbered_cpus()
    callback_class = type("CheckpointCallback", (CheckpointCallback, TrainerCallback), {})
    callback = callback_class(WorkFolder(Path.cwd()), TorchProcessGroup(), int(local_rank or 0))
    try:
        run_exp(callbacks=[callback])
    except SystemExit:
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()
        raise


if __name__ == "__main__":
    main()
