"""Answering in parts: one job and one server each, one by one or as an array."""

from typing import Any

import pytest
from answering import ANSWERS, ask, everything_was_asked_once, servers
from lab import Lab, wait_until
from project import LONG, Project

from helpers import read_jsonl

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("array", [False, True])
def test_parts_are_jobs_of_their_own_and_give_what_one_gives(
    array: bool, lab: Lab, whole: Project, unasked: Project
) -> None:
    path = unasked.folder / "config" / "config.yaml"
    path.write_text(path.read_text().replace("concurrency: 1}", "concurrency: 1, shards: 3}"))
    before = {job["id"] for job in lab.jobs()}
    main = ask(unasked, *(["--slurm-array-jobs", "answer"] if array else []))
    wait_until(lambda: len(servers(unasked.folder)) == 3 or main.poll() is not None, 60)
    assert main.wait(LONG) == 0, unasked.log.read_text()[-6000:]
    jobs = [job for job in lab.jobs() if job["id"] not in before]
    assert len(jobs) == 3
    assert len({job["id"].partition("_")[0] for job in jobs}) == (1 if array else 3)
    everything_was_asked_once(unasked)
    ours, theirs = (read_jsonl(project.folder / ANSWERS) for project in (unasked, whole))
    assert [without_seconds(row) for row in ours] == [without_seconds(row) for row in theirs]


def without_seconds(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "seconds"}
