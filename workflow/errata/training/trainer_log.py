"""The trainer's own log, `trainer_log.jsonl`: a line of JSON for some of the steps."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from errata.core.files import write_text

LOG = "trainer_log.jsonl"


class LogEntry(NamedTuple):
    """A line of the log.

    Attributes:
        step: counted from the beginning of the training.
        total_steps: of the whole training.
        loss, eval_loss: None where the line holds no such loss.
        seconds: since the first step of the same run; None where the line does not say.
    """

    step: int
    total_steps: int
    loss: float | None
    eval_loss: float | None
    seconds: float | None

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "LogEntry":
        return cls(
            record.get("current_steps", 0),
            record.get("total_steps", 0),
            record.get("loss"),
            record.get("eval_loss"),
            _seconds(record.get("elapsed_time")),
        )


def read_log(log: Path) -> list[LogEntry]:
    """All entries, without a line that an interruption has cut short; none where there is no log."""
    return [LogEntry.from_record(record) for record in _records(log)]


def read_last_entry(log: Path) -> LogEntry | None:
    """The last entry; None while there is none, or while the trainer is writing it."""
    try:
        record = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return None
    return LogEntry.from_record(record) if isinstance(record, dict) else None


def cut_log(log: Path, step: int) -> None:
    """Remove the entries after `step`: a training that goes on from there logs them again."""
    if log.exists():
        kept = [json.dumps(record) + "\n" for record in _records(log) if record.get("current_steps", 0) <= step]
        write_text(log, "".join(kept))


def _records(log: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                yield record


def _seconds(text: object) -> float | None:
    """Seconds of "1 day, 2:03:04"."""
    found = re.fullmatch(r"(?:(\d+) days?, )?(\d+):(\d+):(\d+)", text) if isinstance(text, str) else None
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 60.0 * (60 * (24 * days + hours) + minutes) + seconds
