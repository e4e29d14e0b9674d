"""Jobs that ask a model, with llama.cpp's real server: cancelled, killed, out of memory; and Snakemake killed."""

import os
import re
import signal
import subprocess
import sys

import pytest
from answering import ANSWERS, QUESTIONS, ask, everything_was_asked_once, finished, servers
from lab import Lab, command, wait_until
from project import LONG, Project

pytestmark = pytest.mark.slow


def test_a_cancelled_job_leaves_no_server_and_is_submitted_again(lab: Lab, unasked: Project) -> None:
    main = ask(unasked)
    wait_until(lambda: finished(unasked) >= 3, 60)
    [job] = lab.jobs("RUNNING")
    assert servers(unasked.folder)
    command("scancel", job["id"])
    wait_until(lambda: lab.job(job["id"])["JobState"] == "CANCELLED", 30)
    wait_until(lambda: not servers(unasked.folder) or len(lab.jobs("RUNNING")) == 1, 30)
    assert main.wait(LONG) == 0, unasked.log.read_text()[-6000:]
    everything_was_asked_once(unasked)
    assert not servers(unasked.folder)
    # the error names the log
    shown = unasked.log.read_text()
    assert re.search(rf"SLURM-job '{job['id']}' failed, SLURM status is: 'CANCELLED'", shown)
    assert "answer-base-train.log" in shown


def test_a_failed_node_is_left_and_the_job_goes_on_elsewhere(lab: Lab, unasked: Project) -> None:
    # a partition of several nodes
    main = ask(unasked, ERRATA_CPU_PARTITION="gpu")
    wait_until(lambda: finished(unasked) >= 3, 60)
    [job] = lab.jobs("RUNNING")
    node = lab.job(job["id"])["NodeList"]
    lab.kill_node(node)
    wait_until(lambda: not servers(unasked.folder), 30)
    try:
        assert main.wait(LONG) == 0, unasked.log.read_text()[-6000:]
    finally:
        lab.start_node(node)
    everything_was_asked_once(unasked)
    assert lab.job(job["id"])["Restarts"] == "1"
    assert lab.job(job["id"])["NodeList"] != node


def test_a_job_out_of_memory_is_tried_again_with_more(lab: Lab, unasked: Project) -> None:
    main = ask(unasked, ERRATA_SERVE_MEM_MB="300")
    assert main.wait(LONG) == 0, unasked.log.read_text()[-6000:]
    everything_was_asked_once(unasked)
    jobs = lab.jobs()[-2:]
    assert [job["state"] for job in jobs] == ["FAILED", "COMPLETED"] or jobs[0]["state"] == "OUT_OF_MEMORY"
    assert [lab.job(job["id"])["MinMemoryNode"] for job in jobs] == ["300M", "600M"]


def test_a_job_out_of_time_is_tried_again_with_more(lab: Lab, unasked: Project) -> None:
    main = ask(unasked)
    wait_until(lambda: finished(unasked) >= 3, 60)
    [job] = lab.jobs("RUNNING")
    assert lab.job(job["id"])["TimeLimit"] == "04:00:00"
    command("scontrol", "update", f"jobid={job['id']}", "endtime=now+2seconds")
    assert main.wait(LONG) == 0, unasked.log.read_text()[-6000:]
    everything_was_asked_once(unasked)
    assert lab.job(job["id"])["JobState"] == "TIMEOUT"
    assert lab.jobs()[-1]["state"] == "COMPLETED"
    assert lab.job(lab.jobs()[-1]["id"])["TimeLimit"] == "08:00:00"


def test_after_a_killed_snakemake_nothing_runs_twice_and_nothing_finished_is_done_again(
    lab: Lab, unasked: Project
) -> None:
    main = ask(unasked)
    wait_until(lambda: finished(unasked) >= 3, 60)
    os.killpg(main.pid, signal.SIGKILL)
    main.wait()
    [job] = lab.jobs("RUNNING")
    # by hand, as Snakemake's own message says: the job that still runs is not disturbed
    unasked.run("--unlock")
    shown = unasked.run("--", ANSWERS, expected=1)
    assert f"{job['id']} (answer, running for" in shown
    assert len(lab.jobs("RUNNING", "PENDING")) == 1
    recover = subprocess.run(
        [sys.executable, "-m", "errata", "recover"], cwd=unasked.folder, capture_output=True, text=True, timeout=LONG
    )
    assert recover.returncode == 0, recover.stderr
    assert f"waiting for 1 jobs of the killed run: {job['id']} (answer, running" in recover.stderr
    assert "kept, since their jobs ended well: " in recover.stderr
    everything_was_asked_once(unasked)
    assert "Nothing to be done" in unasked.run("--", ANSWERS)
    assert lab.jobs()[-1]["id"] == job["id"]


def test_the_jobs_of_a_killed_snakemake_can_be_cancelled_and_their_work_is_kept(unasked: Project) -> None:
    main = ask(unasked)
    wait_until(lambda: finished(unasked) >= 3, 60)
    os.killpg(main.pid, signal.SIGKILL)
    main.wait()
    recover = [sys.executable, "-m", "errata", "recover", "--cancel"]
    done = subprocess.run(recover, cwd=unasked.folder, capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not servers(unasked.folder), 10)
    before = finished(unasked)
    assert 3 <= before < QUESTIONS
    unasked.run("--rerun-triggers", "mtime", "--", ANSWERS)
    everything_was_asked_once(unasked)
