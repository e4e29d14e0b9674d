"""Jobs that ask a model: started, looked at, and found to have asked everything once."""

import subprocess
from collections import Counter
from pathlib import Path

from project import MODEL, Project

from helpers import read_jsonl

ANSWERS = f"{MODEL}/answers/train.jsonl"
# Of the 10 problems that tests/slow/pipeline.yaml takes, with corrections.
QUESTIONS = 18


def unask(project: Project) -> None:
    """Forget the answers of one split."""
    for name in ["answers/train.jsonl", "answers/train.summary.json", "journal/answer-base-train.jsonl"]:
        project.path(name).unlink()


def ask(project: Project, *more: str, **variables: str) -> "subprocess.Popen[bytes]":
    return project.start(*more, "--rerun-triggers", "mtime", "--", ANSWERS, **variables)


def journals(project: Project) -> list[Path]:
    """Of the answers, one a part."""
    return sorted(project.path("journal").glob("answer-base-train*.jsonl"))


def finished(project: Project) -> int:
    """Completions that are in the journals."""
    return sum(path.read_bytes().count(b'"digest"') for path in journals(project))


def everything_was_asked_once(project: Project) -> None:
    answers = read_jsonl(project.folder / ANSWERS)
    assert len(answers) == len({(row["id"], row["question"]) for row in answers}) == QUESTIONS
    rows = [row for path in journals(project) for row in read_jsonl(path)]
    digests = Counter(row["digest"] for row in rows if "digest" in row)
    assert len(digests) == QUESTIONS
    assert set(digests.values()) == {1}


def servers(folder: Path) -> list[int]:
    """Processes of this project's model servers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (
                b"errata.inference.llamacpp" in (process / "cmdline").read_bytes()
                and (process / "cwd").readlink() == folder
            ):
                found.append(int(process.name))
        except OSError:
            continue
    return found
