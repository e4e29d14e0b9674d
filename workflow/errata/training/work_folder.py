"""The state of a training under way: what it is trained on, its checkpoints, its log."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from errata.core.files import write_text
from errata.models import checkpoints as weights
from errata.training.runs import Spent

# The trainer's own log, with a line of JSON for some of the steps.
LOG = "trainer_log.jsonl"
# What a finished adapter folder holds of the trainer's output.
COPIED = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.*",
    "merges.txt",
    LOG,
    "trainer_state.json",
    "all_results.json",
    "train_results.json",
    "training_*.png",
)
# What step and trainer tell each other by, in the work folder: save and stop; steps are being made; stopped so.
STOP, TRAINING, STOPPED = "stop", "training", "stopped.json"
# In a checkpoint, written when all processes have written theirs: how many they are, and the files with their sizes.
SEAL = "complete.json"
# Of checkpoints of one process without a seal: its state comes last, so that one that has it is complete.
_NEEDED = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")
_STATE = "trainer_state.json"


class Checkpoint(NamedTuple):
    step: int
    path: Path


def checkpoints(folder: Path) -> list[Checkpoint]:
    """All checkpoints in the trainer's output folder, complete or not, oldest first."""
    found = (re.fullmatch(r"checkpoint-(\d+)", path.name) for path in folder.glob("checkpoint-*"))
    return sorted(Checkpoint(int(match[1]), folder / match[0]) for match in found if match)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that was written to its end, None if there is none."""
    return next((point for point in reversed(checkpoints(folder)) if _is_complete(point)), None)


def _is_complete(point: Checkpoint) -> bool:
    state = _read(point.path / _STATE)
    if state is None or state.get("global_step") != point.step:
        return False
    files = (_read(point.path / SEAL) or {}).get("files")
    if not isinstance(files, dict):
        return all((point.path / name).is_file() for name in _NEEDED)
    # sizes too: a node that loses its power may keep the names of files and not what is in them
    return all(_size(point.path / name) == size for name, size in files.items())


def seal(folder: Path, processes: int) -> None:
    """Mark a checkpoint as complete, once all processes of the trainer have written theirs."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in paths}
    write_text(folder / SEAL, json.dumps({"processes": processes, "files": sizes}) + "\n")


def processes_of(point: Checkpoint) -> int:
    """How many processes wrote a checkpoint."""
    return int((_read(point.path / SEAL) or {}).get("processes", 1))


def stopped_at(work: Path) -> tuple[int, int] | None:
    """The step at which the trainer stopped because it was told to, and all its steps; None if it did not."""
    told = _read(work / STOPPED)
    return None if told is None else (int(told["step"]), int(told["total"]))


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is none, or a torn one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def cut_log(log: Path, step: int) -> None:
    """Drop what the trainer logged after `step`, since it will log that again."""
    if log.exists():
        kept = [json.dumps(entry) + "\n" for entry in _entries(log) if entry.get("current_steps", 0) <= step]
        write_text(log, "".join(kept))


def _entries(log: Path) -> Iterator[dict[str, Any]]:
    """The lines of the trainer's log, but for one that was torn by an interruption."""
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry


def spent(work: Path, start: int, *, finished: bool = False) -> Spent:
    """The seconds in which the last run made its steps, by the trainer's own clock.

    That clock starts with the first step, so that loading the model does not count, and starts anew in every run. What
    a finished run says is exact. Of others the log tells: it has a line when a run stops in order; of one that failed
    or was killed nobody knows how long it went on after its last line.

    Args:
        work: the work folder as that run left it.
        start: the step after which it went on; what is logged of later ones is its own.
        finished: it came to the end of the training.
    """
    if not (work / TRAINING).exists():
        return Spent(0.0)  # it came to no step
    told = (_read(work / "output" / "all_results.json") or {}).get("train_runtime") if finished else None
    if isinstance(told, int | float):
        return Spent(float(told))
    own = [entry for entry in _entries(work / "output" / LOG) if entry.get("current_steps", 0) > start]
    logged = [seconds for entry in own if (seconds := _elapsed(entry.get("elapsed_time"))) is not None]
    return Spent(max(logged, default=0.0), at_least=not logged or not (finished or (work / STOPPED).exists()))


def _elapsed(text: object) -> float | None:
    """Seconds of "1 day, 2:03:04"."""
    found = re.fullmatch(r"(?:(\d+) days?, )?(\d+):(\d+):(\d+)", text) if isinstance(text, str) else None
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 60.0 * (60 * (24 * days + hours) + minutes) + seconds


def fingerprint(configuration: Mapping[str, Any], dataset: Path, base: Path) -> str:
    """Identity of a training: the trainer and its configuration, the data, the base model."""
    digest = hashlib.sha256()
    with suppress(PackageNotFoundError):
        digest.update(version("llamafactory").encode())
    digest.update(json.dumps(dict(configuration), sort_keys=True).encode())
    for path in (dataset, base / "config.json", base / "tokenizer.json"):
        digest.update(path.read_bytes() if path.is_file() else b"")
        digest.update(b"\0")
    digest.update(weights.weights_digest(base).encode())
    return digest.hexdigest()


def validation_rows(rows: int, max_samples: int | None, share: float) -> float:
    """`val_size` for the trainer: the share or number of rows to validate on, 0 where that is less than one row.

    Args:
        rows: rows of the training set.
        max_samples: the trainer uses no more of them; None for all.
        share: below 1 a share, else a number of rows.
    """
    used = min(rows, max_samples) if max_samples else rows
    if share < 1:
        # the trainer rounds up, so that one row of a tiny set would be a large part of it
        return share if used * share >= 1 and used - math.ceil(used * share) >= 1 else 0
    return int(share) if share < used else 0


def longer_than(rows: Sequence[Mapping[str, Any]], limit: int, base: Path) -> int:
    """How many rows have more tokens than `limit`, so that the trainer cuts off their end, the answer.

    The chat template's own tokens are not counted. 0 where the base model has no tokenizer.json.
    """
    if not (base / "tokenizer.json").is_file():
        return 0
    from tokenizers import Tokenizer  # type: ignore[import-not-found, unused-ignore]

    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    texts = []
    for row in rows:
        ends = [str(row[name]) for name in ("output", "chosen", "rejected") if name in row] or [""]
        texts.append(f"{row.get('instruction', '')}{row.get('input', '')}{max(ends, key=len)}")
    return sum(len(encoding.ids) > limit for encoding in tokenizer.encode_batch(texts))
