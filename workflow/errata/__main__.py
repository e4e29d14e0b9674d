"""Run one step of the workflow by hand. The rules call the same commands."""

import argparse
import importlib
import sys
from pathlib import Path

from errata import __version__
from errata.core.errors import UserError

# Step -> (module, one-line help). A module has `add_arguments(parser)` and `run(arguments)`. Only the module of the
# requested step is imported: steps run in different environments.
STEPS = {
    "puzzles": ("errata.puzzles.generate", "make the committed puzzle set again"),
    "environment": ("errata.environments.environment", "build one locked environment of envs/ with uv"),
    "fix": ("errata.data.fix", "validate and correct a file of problems"),
    "leaks": ("errata.data.leaks", "report problems that occur in both splits"),
    "fold": ("errata.data.folds", "take one fold of the training problems"),
    "fetch": ("errata.models.fetch", "fetch a base model"),
    "checkpoint": ("errata.models.from_gguf", "convert a GGUF model to a Hugging Face checkpoint"),
    "answer": ("errata.asking.answer", "ask a model every question once"),
    "merge-questions": ("errata.scoring.merge_questions", "write questions and first answers side by side"),
    "retry": ("errata.asking.retry", "ask again, until right, what was answered wrongly at first"),
    "gather": ("errata.asking.gather", "join the answers of all parts"),
    "gather-folds": ("errata.asking.gather_folds", "join the answers to all folds"),
    "journal": ("errata.inference.journal_step", "show or compact the journals of finished completions"),
    "training-set": ("errata.training.dataset", "make a training set of right completions"),
    "dataset-info": ("errata.training.dataset_info", "describe the training sets to LLaMA-Factory"),
    "train": ("errata.training.train", "train a LoRA adapter with LLaMA-Factory"),
    "merge-lora": ("errata.training.merge_lora", "merge an adapter into its base model"),
    "calibration": ("errata.quantizing.calibration", "make the calibration texts for quantization"),
    "quantize": ("errata.quantizing.quantize", "quantize a checkpoint with GPTQ"),
    "dequantize": ("errata.quantizing.dequantize", "convert a GPTQ checkpoint to fp16"),
    "gguf": ("errata.models.to_gguf", "convert a checkpoint to GGUF for llama.cpp"),
    "sample": ("errata.asking.sample", "ask a model every question several times"),
    "vote": ("errata.asking.vote", "take the majority of sampled answers"),
    "score": ("errata.scoring.score", "count what a variant got right"),
    "submission": ("errata.scoring.submission", "write a model's answers into the input records"),
    "recover": ("errata.cluster.recover", "after Snakemake was killed on Slurm: keep the results of its jobs"),
    "bundle": ("errata.bundle.bundle", "pack project, environments and models for a cluster without a network"),
    "relocate": ("errata.bundle.relocate", "adapt the environments of an unpacked bundle to their new place"),
    "report": ("errata.reporting.report", "make the leaderboard and the report"),
    "baselines": ("errata.reporting.baselines", "compare base models"),
    "ablation": ("errata.reporting.ablation", "compare strategies"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one step. A `UserError` gives a plain message and exit status 1."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog=_program(), description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    requested = next((word for word in arguments if not word.startswith("-")), None)
    for name, (module_name, summary) in STEPS.items():
        step = steps.add_parser(name, help=summary, description=summary)
        if name == requested:
            module = importlib.import_module(module_name)
            module.add_arguments(step)
            step.set_defaults(run=module.run)
    parsed = parser.parse_args(arguments)
    try:
        parsed.run(parsed)
    except UserError as error:
        print(f"errata {requested}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _program() -> str:
    """The name of the program in its help: the command `errata`, or the module."""
    return "errata" if Path(sys.argv[0]).name == "errata" else "python -m errata"


if __name__ == "__main__":
    sys.exit(main())
