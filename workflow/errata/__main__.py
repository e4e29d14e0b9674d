"""`python -m errata STEP ...` runs one step by hand; the rules of the workflow call the same commands."""

import argparse
import importlib
import sys

from errata import __version__
from errata.errors import UserError

# Step -> (module, one-line help). A module is imported only when its step is asked for, since steps live in
# different environments. It gives `add_arguments(parser)` and `run(arguments)`.
STEPS = {
    "puzzles": ("errata.puzzles", "make the committed puzzle set anew"),
    "environment": ("errata.environment", "build one locked environment of envs/ with uv"),
    "fix": ("errata.fix", "validate and correct a file of problems"),
    "leaks": ("errata.leaks", "report problems that occur in both splits"),
    "fold": ("errata.folds", "take one fold of the training problems"),
    "fetch": ("errata.fetch", "fetch a base model"),
    "checkpoint": ("errata.checkpoint", "make a Hugging Face checkpoint out of a GGUF model"),
    "answer": ("errata.answer", "ask a model every question once"),
    "merge-questions": ("errata.merge_questions", "put the answers beside the questions"),
    "retry": ("errata.retry", "ask the first-wrong questions again until right"),
    "gather": ("errata.gather", "put together what parts have answered"),
    "gather-folds": ("errata.gather_folds", "put together the answers to all folds"),
    "journal": ("errata.journals", "show or compact the journals of finished completions"),
    "training-set": ("errata.training_set", "make the training set from right completions"),
    "dataset-info": ("errata.dataset_info", "describe the training sets to LLaMA-Factory"),
    "train": ("errata.train", "train a LoRA adapter with LLaMA-Factory"),
    "merge-lora": ("errata.merge_lora", "merge an adapter into its base model"),
    "calibration": ("errata.calibration", "make the texts that quantization is calibrated on"),
    "quantize": ("errata.quantize", "quantize a checkpoint with GPTQ"),
    "dequantize": ("errata.dequantize", "turn a GPTQ checkpoint into a plain one"),
    "gguf": ("errata.gguf", "convert a checkpoint to GGUF for llama.cpp"),
    "sample": ("errata.sample", "ask a model every question several times"),
    "vote": ("errata.vote", "take the majority of sampled answers"),
    "score": ("errata.score", "count what a variant got right"),
    "submission": ("errata.submission", "fill a model's answers into the input records"),
    "recover": ("errata.recover", "after Snakemake was killed on Slurm: keep what its jobs finish"),
    "bundle": ("errata.bundle", "pack project, environments and models for a cluster without a network"),
    "relocate": ("errata.relocate", "make the environments of an unpacked bundle run where they lie"),
    "report": ("errata.report", "make the leaderboard and the report"),
    "baselines": ("errata.baselines", "compare base models"),
    "ablation": ("errata.ablation", "compare strategies"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one step; exit status 1 and a plain message for errors that the user can mend."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="python -m errata", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, (module_name, summary) in STEPS.items():
        step = steps.add_parser(name, help=summary, description=summary)
        if name == asked:
            module = importlib.import_module(module_name)
            module.add_arguments(step)
            step.set_defaults(run=module.run)
    parsed = parser.parse_args(arguments)
    try:
        parsed.run(parsed)
    except UserError as error:
        print(f"errata {asked}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
