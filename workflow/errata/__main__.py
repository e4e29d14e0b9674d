"""`python -m errata STEP ...` runs one step by hand; the rules of the workflow call the same commands."""

import argparse
import importlib
import sys

from errata import __version__
from errata.core.errors import UserError

# Step -> (module, one-line help). A module is imported only when its step is asked for, since steps live in
# different environments. It gives `add_arguments(parser)` and `run(arguments)`.
STEPS = {
    "puzzles": ("errata.puzzles", "make the committed puzzle set anew"),
    "environment": ("errata.environments.environment", "build one locked environment of envs/ with uv"),
    "fix": ("errata.data.fix", "validate and correct a file of problems"),
    "leaks": ("errata.data.leaks", "report problems that occur in both splits"),
    "fold": ("errata.data.folds", "take one fold of the training problems"),
    "fetch": ("errata.models.fetch", "fetch a base model"),
    "checkpoint": ("errata.models.from_gguf", "make a Hugging Face checkpoint out of a GGUF model"),
    "answer": ("errata.asking.answer", "ask a model every question once"),
    "merge-questions": ("errata.scoring.merge_questions", "put the answers beside the questions"),
    "retry": ("errata.asking.retry", "ask the first-wrong questions again until right"),
    "gather": ("errata.asking.gather", "put together what parts have answered"),
    "gather-folds": ("errata.asking.gather_folds", "put together the answers to all folds"),
    "journal": ("errata.inference.journal_step", "show or compact the journals of finished completions"),
    "training-set": ("errata.training.dataset", "make the training set from right completions"),
    "dataset-info": ("errata.training.dataset_info", "describe the training sets to LLaMA-Factory"),
    "train": ("errata.training.train", "train a LoRA adapter with LLaMA-Factory"),
    "merge-lora": ("errata.training.merge_lora", "merge an adapter into its base model"),
    "calibration": ("errata.quantizing.calibration", "make the texts that quantization is calibrated on"),
    "quantize": ("errata.quantizing.quantize", "quantize a checkpoint with GPTQ"),
    "dequantize": ("errata.quantizing.dequantize", "turn a GPTQ checkpoint into a plain one"),
    "gguf": ("errata.models.to_gguf", "convert a checkpoint to GGUF for llama.cpp"),
    "sample": ("errata.asking.sample", "ask a model every question several times"),
    "vote": ("errata.asking.vote", "take the majority of sampled answers"),
    "score": ("errata.scoring.score", "count what a variant got right"),
    "submission": ("errata.scoring.submission", "fill a model's answers into the input records"),
    "recover": ("errata.cluster.recover", "after Snakemake was killed on Slurm: keep what its jobs finish"),
    "bundle": ("errata.bundle.bundle", "pack project, environments and models for a cluster without a network"),
    "relocate": ("errata.bundle.relocate", "make the environments of an unpacked bundle run where they lie"),
    "report": ("errata.reporting.report", "make the leaderboard and the report"),
    "baselines": ("errata.reporting.baselines", "compare base models"),
    "ablation": ("errata.reporting.ablation", "compare strategies"),
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
