"""A trainer that only pretends to train: it writes checkpoints and a log, then waits, fails or finishes."""

import json
import sys
from pathlib import Path
from typing import Any

from errata.training import train
from errata.training.launch import Launch
from errata.training.trainer_checkpoints import find_checkpoints
from errata.training.work_folder import WorkFolder

# It communicates with the step as errata.training.trainer_process does: through files in its current folder.
# Environment variables tell it what to do:
# LOADING: wait so many seconds before the first step.
# STEPS: of the whole training.
# STOP_AFTER: fail after this step.
# HANG_AFTER: wait after this step until a stop is requested.
# DEAF: ignore that request, and SIGTERM.
# PAUSE: wait so many seconds after the last step.
# NOT_QUANTIZED: do not print that the model is quantized.
TRAINER = """
import json, os, pathlib, signal, sys, time
out = pathlib.Path("output"); out.mkdir(exist_ok=True)
done = [int(p.name.split("-")[1]) for p in out.glob("checkpoint-*")]
print("resumed from", max(done, default=0), flush=True)
time.sleep(float(os.environ.get("LOADING", "0")))
if os.environ.get("DEAF"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("training").touch()
last = int(os.environ.get("STEPS", "3"))
for step in range(max(done, default=0) + 1, last + 1):
    with open(out / "trainer_log.jsonl", "a") as log:
        print(json.dumps({"current_steps": step, "total_steps": last, "loss": 1.0 / step, "epoch": 1.0,
                          "remaining_time": "0:00:01"}), file=log)
    point = out / f"checkpoint-{step}"; point.mkdir()
    for name in ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (point / name).touch()
    (point / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    if os.environ.get("STOP_AFTER") == str(step):
        print("ValueError: out of memory"); sys.exit(3)
    if os.environ.get("HANG_AFTER") == str(step):
        while not pathlib.Path("stop").exists() or os.environ.get("DEAF"):
            time.sleep(0.02)
    if pathlib.Path("stop").exists():
        pathlib.Path("stopped.json").write_text(json.dumps({"step": step, "total": last})); sys.exit(0)
time.sleep(float(os.environ.get("PAUSE", "0")))
if not os.environ.get("NOT_QUANTIZED"):
    print("Quantizing model to 4 bit with bitsandbytes.")
(out / "adapter_model.safetensors").write_text("adapter")
(out / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/abs", "r": 16}))
(out / "tokenizer.json").touch(); (out / "training_loss.png").touch(); (out / "README.md").touch()
"""


class FakeTraining:
    """A training by this trainer; its step runs in the process of the test.

    Attributes:
        trainer: the trainer's source.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.trainer = folder, TRAINER
        self.work, self.output = folder / "work", folder / "adapter"
        self.base, self.dataset = folder / "base", folder / "self.json"
        self.base.mkdir()
        for path in (self.base / "model.safetensors", self.dataset):
            path.write_text("x")

    def run(self, configuration: dict[str, Any] | None = None, **launch: Any) -> None:
        """Run the step; `launch` are fields of Launch."""
        script = self.folder / "trainer.py"
        script.write_text(self.trainer)
        started = Launch([sys.executable, str(script)], **launch)
        train.train(configuration or {"a": 1}, self.base, self.dataset, self.work, self.output, started)

    def newest(self) -> int:
        """The step of the newest checkpoint, 0 if there is none."""
        return max((checkpoint.step for checkpoint in find_checkpoints(WorkFolder(self.work).output)), default=0)

    def runs(self) -> list[dict[str, Any]]:
        """The lines of runs.jsonl, in the work folder or beside the finished adapter."""
        folder = self.work if self.work.exists() else self.output
        return [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]

    def ends(self) -> list[tuple[int, int, str]]:
        """Of each run: the step it started after, the step it came to, and why it ended."""
        return [(row["start"], row["end"], row["why"]) for row in self.runs()]
