"""In place of errata.__main__ in a clone: every step checks its flags with its real parser, then fakes its outputs."""

import argparse
import importlib
import json
import shutil
import sys
from pathlib import Path

from errata.real_main import STEPS

FOLDERS = {"checkpoint", "train", "merge-lora", "quantize", "dequantize"}
REAL = {"fix", "leaks"}


def main() -> None:
    step, *flags = sys.argv[1:]
    with Path("calls.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps([step, *flags]) + "\n")
    module = importlib.import_module(STEPS[step][0])
    parser = argparse.ArgumentParser(prog=step)
    module.add_arguments(parser)
    arguments = parser.parse_args(flags)
    if step in REAL:
        module.run(arguments)
    elif step == "environment":
        binary = arguments.prefix / "bin" / "python"
        binary.parent.mkdir(parents=True)
        binary.symlink_to(sys.executable)
        arguments.flag.write_text("made\n")
    elif step in FOLDERS:
        shutil.rmtree(arguments.output, ignore_errors=True)
        arguments.output.mkdir(parents=True)
        for name in ("model.safetensors", "training_loss.png", "trainer_log.jsonl"):
            (arguments.output / name).write_text(step)
    else:
        for name in ("output", "summary", "leaderboard"):
            if getattr(arguments, name, None) is not None and (name == "output" or step != "score"):
                getattr(arguments, name).write_text("{}\n")


if __name__ == "__main__":
    main()
