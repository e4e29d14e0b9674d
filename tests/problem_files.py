"""Files of problems and of corrections for tests of step fix."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from errata.core.errors import Faults
from errata.data.corrections import CORRECTION_COLUMNS
from errata.data.fix import FixResult, fix
from errata.data.records import LETTERS
from helpers import write_jsonl

HEADER = ",".join(CORRECTION_COLUMNS)


def fix_records(tmp_path: Path, *records: dict[str, Any], corrections: str | None = None, **more: Any) -> FixResult:
    """Fix a file of these records with a CSV of corrections."""
    data = write_jsonl(tmp_path / "train.jsonl", records)
    table = None
    if corrections is not None:
        table = tmp_path / "corrections.csv"
        table.write_text(corrections, encoding="utf-8")
    return fix(data, table, **more)


def find_faults(
    tmp_path: Path, *lines: str | bytes, corrections: str | None = None, labelled: bool = False
) -> list[str]:
    """The faults of a file with these lines, with file names instead of paths."""
    data = tmp_path / "train.jsonl"
    data.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    table = None
    if corrections is not None:
        table = tmp_path / "corrections.csv"
        table.write_text(corrections, encoding="utf-8")
    with pytest.raises(Faults) as error:
        fix(data, table, labelled=labelled)
    return [fault.replace(f"{tmp_path}/", "") for fault in error.value.faults]


_WORDS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
_FILLED = _WORDS.filter(lambda text: bool(text.strip()))
_EXTRA = st.dictionaries(
    st.sampled_from(["source", "级别", "index2", "model_answer"]),
    st.none() | st.booleans() | st.integers() | _WORDS,
    max_size=2,
)


@st.composite
def _questions(draw: st.DrawFn) -> dict[str, Any]:
    options = draw(st.lists(_WORDS, min_size=2, max_size=26))
    question = {"question": draw(_WORDS), "options": options, **draw(_EXTRA)}
    answer = draw(st.none() | st.sampled_from(LETTERS[: len(options)]))
    return question if answer is None else {**question, "answer": answer}


@st.composite
def problem_files(draw: st.DrawFn) -> list[dict[str, Any]]:
    ids = draw(st.lists(_FILLED, min_size=1, max_size=5, unique=True))
    return [
        {
            "id": id,
            "problem": draw(_FILLED),
            "questions": draw(st.lists(_questions(), min_size=1, max_size=4)),
            **draw(_EXTRA),
        }
        for id in ids
    ]
