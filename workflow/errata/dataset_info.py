"""Step dataset-info: what LLaMA-Factory must know of the training sets of a model."""

import argparse
from pathlib import Path

from errata.files import write_json

# LLaMA-Factory's Alpaca format; what else a row carries (id, question) it leaves alone.
_COLUMNS = {"prompt": "instruction", "query": "input", "response": "output"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strategies", nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True, help="results/{model}/sft/dataset_info.json")


def run(arguments: argparse.Namespace) -> None:
    """Write one entry a strategy; its file stands beside the output."""
    write_json(
        arguments.output,
        {name: {"file_name": f"{name}.json", "columns": _COLUMNS} for name in arguments.strategies},
    )
