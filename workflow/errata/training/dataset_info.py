"""Step dataset-info: describe the training sets of a model to LLaMA-Factory."""

import argparse
from pathlib import Path

from errata.core.errors import UserError
from errata.core.files import write_json
from errata.training.alpaca import dataset_entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strategies", nargs="*", default=[], metavar="NAME", help="trained on completions")
    parser.add_argument("--preferences", nargs="*", default=[], metavar="NAME", help="trained on pairs of completions")
    parser.add_argument("--output", type=Path, required=True, help="results/{model}/sft/dataset_info.json")


def run(arguments: argparse.Namespace) -> None:
    """Write an entry for each strategy, whose training set lies beside the output.

    Raises:
        UserError: no strategy is named.
    """
    if not (arguments.strategies or arguments.preferences):
        raise UserError("no strategy: name one in --strategies or --preferences.")
    stages = {**dict.fromkeys(arguments.strategies, "sft"), **dict.fromkeys(arguments.preferences, "dpo")}
    write_json(arguments.output, {name: dataset_entry(f"{name}.json", stage) for name, stage in stages.items()})
