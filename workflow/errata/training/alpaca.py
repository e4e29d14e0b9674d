"""Training sets as LLaMA-Factory reads them: a JSON array with Alpaca's keys, and its description.

A row also has `id`, `question` and `template`, which LLaMA-Factory ignores.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errata.core.errors import UserError
from errata.core.files import read_json
from errata.data.records import Key

_COLUMNS = {"prompt": "instruction", "query": "input", "response": "output"}
_PREFERENCE_COLUMNS = {"prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected"}


@dataclass(frozen=True, slots=True)
class SftRow:
    """A row of stage sft: a prompt with the completion to learn.

    Attributes:
        key: of the question.
        prompt: what the model was asked.
        completion: the model's text.
        template: digest of the prompt's template; None in files of early versions.
    """

    key: Key
    prompt: str
    completion: str
    template: str | None

    def to_record(self) -> dict[str, Any]:
        return {
            "id": self.key.id,
            "question": self.key.question,
            "instruction": self.prompt,
            "input": "",
            "output": self.completion,
            "template": self.template,
        }


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """A row of stage dpo: a prompt with a right (chosen) and a wrong (rejected) completion; else as `SftRow`."""

    key: Key
    prompt: str
    chosen: str
    rejected: str
    template: str | None

    def to_record(self) -> dict[str, Any]:
        return {
            "id": self.key.id,
            "question": self.key.question,
            "instruction": self.prompt,
            "input": "",
            "chosen": self.chosen,
            "rejected": self.rejected,
            "template": self.template,
        }


def dataset_entry(file_name: str, stage: str) -> dict[str, Any]:
    """The entry of a training set in dataset_info.json.

    Args:
        file_name: of the set, relative to the folder of dataset_info.json, or absolute.
        stage: `sft`, or `dpo` for pairs of completions.
    """
    if stage == "dpo":
        return {"file_name": file_name, "ranking": True, "columns": _PREFERENCE_COLUMNS}
    return {"file_name": file_name, "columns": _COLUMNS}


def read_keys(dataset: Path) -> set[Key]:
    """The questions of a training set.

    Raises:
        UserError: the file is missing, or no JSON.
    """
    return {Key(row["id"], row["question"]) for row in read_json(dataset)}


def read_texts(dataset: Path) -> list[str]:
    """Of each row of a training set its longest text: the prompt with the completion, or with the longer of two.

    Raises:
        UserError: the file is not a JSON array of objects, or is empty.
    """
    rows = read_json(dataset)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{dataset}: not a JSON array of objects. Delete it and run again.")
    if not rows:
        raise UserError(
            f"{dataset}: no rows, so there is nothing to learn from. Raise generate.attempts, so that more wrong "
            "answers become right, or bring more questions."
        )
    texts = []
    for row in rows:
        completions = [str(row[name]) for name in ("output", "chosen", "rejected") if name in row] or [""]
        texts.append(f"{row.get('instruction', '')}{row.get('input', '')}{max(completions, key=len)}")
    return texts
