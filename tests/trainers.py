"""A trainer that makes up its steps, in place of LLaMA-Factory: it makes checkpoints, then waits, fails or finishes."""

import sys
from pathlib import Path
from typing import Any

from errata.training.train import Launch

# It speaks with the step as errata.training.trainer does: through files in its current folder.
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


def fake_launch(folder: Path, **more: Any) -> Launch:
    """A launch of that trainer, as a script in `folder`."""
    script = folder / "trainer.py"
    script.write_text(TRAINER)
    return Launch([sys.executable, str(script)], **more)
