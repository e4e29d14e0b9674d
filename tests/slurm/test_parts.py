"""Answering in parts: one job and one server each, one by one or as an array."""

import pytest
from answering import ANSWERS, ask, everything_was_asked_once, servers
from lab import Lab, wait_until
from project import Project

from helpers import read_jsonl

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("array", [False, True])
def test_parts_are_jobs_of_their_own_and_give_what_one_gives(
    array: bool, lab: Lab, whole: Project, unasked: Project
) -> None:
    path = unasked.folder / "config" / "config.yaml"
    path.write_text(path.read_text().replace("concurrency: 1}", "concurrency: 1, shards: 3}"))
    before = len(lab.jobs())
    main = ask(unasked, *(["--slurm-array-jobs", "answer"] if array else []))
    wait_until(lambda: len(servers(unasked.folder)) == 3 or main.poll() is not None, 60)
    assert main.wait(240) == 0, unasked.log.read_text()[-6000:]
    jobs = lab.jobs()[before:]
    assert len(jobs) == 3
    assert len({job["id"].partition("_")[0] for job in jobs}) == (1 if array else 3)
    everything_was_asked_once(unasked)
    ours, theirs = (read_jsonl(project.folder / ANSWERS) for project in (unasked, whole))
    assert [(row["id"], row["question"]) for row in ours] == [(row["id"], row["question"]) for row in theirs]
    # the cached prefix of another question before it may change the last digit of a number, and so a word, seldom
    # (tests/slow/test_shards.py: without the cache they are the same, bit for bit)
    assert sum(one["completion"] != other["completion"] for one, other in zip(ours, theirs, strict=True)) <= 2
