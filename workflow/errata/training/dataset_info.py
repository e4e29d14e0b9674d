"""Step dataset-info: what LLaMA-Factory must know of the training sets of a model."""

import argparse
from pathlib import Path
from typing import Any

from errata.core.errors import UserError
from errata.core.files import write_json

# LLaMA-Factory's Alpaca format; what else a row carries (id, question, template) it leaves alone.
_COLUMNS = {"prompt": "instruction", "query": "input", "response": "output"}
_PREFERENCES = {"prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strategies", nargs="*", default=[], metavar="NAME", help="trained on completions")
    parser.add_argument("--preferences", nargs="*", default=[], metavar="NAME", help="trained on pairs of completions")
    parser.add_argument("--output", type=Path, required=True, help="results/{model}/sft/dataset_info.json")


def entry(file_name: str, stage: str) -> dict[str, Any]:
    """What LLaMA-Factory must know of one training set.

    Args:
        file_name: of the set, from the folder of dataset_info.json or in full.
        stage: `sft`, or `dpo` for pairs of completions.
    """
    if stage == "dpo":
        return {"file_name": file_name, "ranking": True, "columns": _PREFERENCES}
    return {"file_name": file_name, "columns": _COLUMNS}


def run(arguments: argparse.Namespace) -> None:
    """Write one entry a strategy; its file stands beside the output.

    Raises:
        UserError: no strategy is named.
    """
    if not (arguments.strategies or arguments.preferences):
        raise UserError("no strategy: name one in --strategies or --preferences.")
    stages = {**dict.fromkeys(arguments.strategies, "sft"), **dict.fromkeys(arguments.preferences, "dpo")}
    write_json(arguments.output, {name: entry(f"{name}.json", stage) for name, stage in stages.items()})
