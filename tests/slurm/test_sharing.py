"""Two workflows on one node, on a Slurm without accounting."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from answering import ANSWERS, everything_was_asked_once, servers, unask
from lab import Lab
from project import LONG, Project

from helpers import read_jsonl

pytestmark = pytest.mark.slow


def test_two_workflows_on_one_node_never_meet_and_no_accounting_is_needed(
    slurm: Callable[..., Lab], whole: Project, tmp_path: Path
) -> None:
    projects = [whole.copy(tmp_path / name) for name in ("first", "second")]
    lab = slurm(accounting=False)
    asked = ["--set-resources", "answer:gpu=2", "answer:slurm_partition=gpu", "answer:mem_mb=4000", "answer:runtime=30"]
    mains = []
    for project in projects:
        unask(project)
        mains.append(project.start(*asked, "--rerun-triggers", "mtime", "--", ANSWERS))
    assert [main.wait(LONG) for main in mains] == [0, 0], [project.log.read_text()[-4000:] for project in projects]
    # side by side, where there is room for both
    times = [lab.job(job["id"]) for job in lab.jobs()]
    assert len(times) == 2
    assert max(job["StartTime"] for job in times) < min(job["EndTime"] for job in times)
    assert len({job["NodeList"] for job in times}) == 1
    for project in projects:
        everything_was_asked_once(project)
        assert not servers(project.folder)
        shown = project.log.read_text()
        assert "GPU hours of this run, of jobs that ended well" in shown
        assert re.search(r"answer +1 +1 +1\.00 +0\.\d\d", shown)
    ours, theirs = (read_jsonl(project.folder / ANSWERS) for project in projects)
    assert [row["completion"] for row in ours] == [row["completion"] for row in theirs]
