"""Runs the steps of asking against an endpoint, and makes the rows that they read."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from errata.__main__ import main
from errata.data.rows import AnswerRow
from helpers import PROMPTS, read_jsonl


def answer_row(
    id: str, answer: str | None, expected: str | None = "A", *, question: int = 0, prompt: str = "", **more: Any
) -> dict[str, Any]:
    """A line of answers, as step answer writes it. The default prompt is the id in brackets."""
    row = AnswerRow(
        id=id,
        question=question,
        prompt=prompt or f"[{id}]",
        completion=f"The answer is {answer}",
        answer=answer,
        expected=expected,
        correct=None if expected is None else answer == expected,
        prompt_tokens=9,
        completion_tokens=4,
        finish_reason="stop",
        seconds=0.1,
        model="m",
    )
    return row.to_record() | more


class Done(NamedTuple):
    """How a step ended."""

    status: int
    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    message: str


class StepRunner:
    """Runs the steps against an endpoint, always with the same files."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.data = folder / "data.jsonl"
        self.answers = folder / "answers.jsonl"
        self.journal = folder / "journal.jsonl"

    def command(self, step: str, base_url: str, **flags: Any) -> list[str]:
        """The arguments of `python -m errata`."""
        given = {
            "data": self.data,
            "output": self.folder / f"{step}.out.jsonl",
            "summary": self.folder / f"{step}.summary.json",
            "model": "m",
            "engine": "endpoint",
            "base_url": base_url,
            "journal": self.journal,
            "server_log": self.folder / "server.log",
            **({"prompt": PROMPTS / "en" / "answer.txt"} if step == "answer" else {}),
            **flags,
        }
        words = [step]
        for name, value in given.items():
            words += ["--" + name.replace("_", "-"), *map(str, value if isinstance(value, tuple) else (value,))]
        return words

    def _run(self, step: str, base_url: str, **flags: Any) -> Done:
        output, summary = self.folder / f"{step}.out.jsonl", self.folder / f"{step}.summary.json"
        output.unlink(missing_ok=True)
        status = main(self.command(step, base_url, **flags))
        message = self._capsys.readouterr().err
        if status:
            assert not output.exists(), "a failed step left its output behind"
            return Done(status, [], {}, message)
        return Done(status, read_jsonl(output), json.loads(summary.read_text()), message)

    def answer(self, base_url: str, **flags: Any) -> Done:
        return self._run("answer", base_url, **flags)

    def retry(self, base_url: str, **flags: Any) -> Done:
        return self._run("retry", base_url, **{"answers": self.answers, "temperature": 0.8, **flags})
