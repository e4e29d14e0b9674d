"""Jobs that cannot start, are lost or are forgotten while Snakemake waits for them."""

import threading
from pathlib import Path

import pytest

from errata.cluster import slurm
from errata.cluster.watch import Watch
from servers import PATIENCE
from slurms import Prints, Settled, queue, with_accounting


def test_a_job_that_can_never_start_is_reported_once(
    tmp_path: Path, prints: Prints, capsys: pytest.CaptureFixture[str]
) -> None:
    prints("squeue", queue(("7", "PENDING", "train"), folder=tmp_path, reason="PartitionTimeLimit"))
    watch = Watch(tmp_path, Settled())
    assert watch.look() == []
    assert "job 7 of rule train waits, and time alone will not start it: PartitionTimeLimit" in capsys.readouterr().err
    assert watch.look() == []
    assert capsys.readouterr().err == ""


def test_a_job_that_slurm_forgot_is_given_up_after_three_looks(tmp_path: Path, prints: Prints) -> None:
    watch = Watch(tmp_path, Settled("7"))
    prints("squeue", queue(("7", "RUNNING", "train"), folder=tmp_path))
    assert watch.look() == []
    prints("squeue", "")
    assert [watch.look() for _ in range(3)] == [[], [], ["7"]]


def test_a_job_that_is_known_to_have_failed_is_not_waited_for(tmp_path: Path, prints: Prints) -> None:
    watch = Watch(tmp_path, Settled())
    prints("squeue", queue(("7", "RUNNING", "train"), folder=tmp_path))
    assert watch.look() == []
    prints("squeue", queue(("7", "FAILED", "train"), folder=tmp_path))
    assert watch.look() == []
    prints("squeue", "")
    assert [watch.look() for _ in range(5)] == [[]] * 5


@pytest.mark.parametrize("state", ["COMPLETED", "CANCELLED by 1000", "PREEMPTED", "NODE_FAIL"])
def test_snakemake_learns_by_accounting_of_a_job_that_squeue_forgot(
    state: str, tmp_path: Path, prints: Prints, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_accounting(prints, monkeypatch)
    settled = Settled("7")
    watch = Watch(tmp_path, settled)
    prints("squeue", queue(("7", "RUNNING", "train"), ("8", "RUNNING", "train"), folder=tmp_path))
    assert watch.look() == []
    # 8 has been seen to end by Snakemake
    prints("squeue", "")
    prints("sacct", f"7|{state}\n8|COMPLETED\n\nwhat\n")
    assert [watch.look() for _ in range(9)] == [[]] * 9
    assert settled == [("7", state.split()[0])]


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL"])
def test_a_job_that_slurm_ended_itself_and_does_not_start_again_is_lost_after_three_looks(
    state: str, tmp_path: Path, prints: Prints
) -> None:
    settled = Settled("7", "9")
    watch = Watch(tmp_path, settled)
    prints("squeue", queue(("7", "RUNNING", "train"), ("9", "RUNNING", "train"), folder=tmp_path))
    watch.look()
    prints("squeue", queue(("7", state, "train"), ("9", state, "train"), ("1", state, "train"), folder=tmp_path))
    assert [watch.look() for _ in range(2)] == [[]] * 2
    # one is put back into the queue
    prints("squeue", queue(("7", state, "train"), ("9", "PENDING", "train"), ("1", state, "train"), folder=tmp_path))
    assert [watch.look() for _ in range(9)] == [[]] * 9
    assert settled == [("7", state)]


def test_the_watch_survives_a_bad_look_and_reports_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = threading.Semaphore(0)

    def bad(folder: Path) -> list[slurm.Job]:
        looks.release()
        raise ValueError(f"not enough values: {folder.name}")

    monkeypatch.setattr(slurm, "jobs_of", bad)
    watch = Watch(tmp_path, Settled(), pause=0.01)
    watch.start()
    for _ in range(5):
        assert looks.acquire(timeout=PATIENCE)
    watch.stop()
    assert capsys.readouterr().err.count("not enough values") == 1
