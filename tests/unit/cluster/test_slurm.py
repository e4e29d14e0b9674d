"""The output of Slurm's commands is read correctly. tests/slurm runs the commands themselves."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from errata.cluster import recover, slurm
from errata.core.errors import UserError
from slurms import Prints, queue


def test_lines_of_another_form_are_skipped(tmp_path: Path, prints: Prints) -> None:
    lines = queue(("7", "RUNNING", "train"), ("8", "RUNNING", "answer"), folder=tmp_path).splitlines()
    prints(
        "squeue", "\n".join(["CLUSTER: x", "", lines[0], "9|RUNNING|a comment of", "two lines|1:02|None|/w", lines[1]])
    )
    assert [job.id for job in recover.active_jobs(tmp_path)] == ["7", "8"]


def test_a_job_of_another_folder_does_not_count(tmp_path: Path, prints: Prints) -> None:
    prints("squeue", queue(("7", "RUNNING", "train"), folder=tmp_path / "other"))
    assert recover.active_jobs(tmp_path) == []


@pytest.mark.parametrize(
    ("accounting", "age", "wanted", "command"),
    [
        ("none", "60", "squeue", None),
        ("none", "199", "squeue", None),
        ("none", "300", "squeue", slurm.SQUEUE_ALWAYS),
        # Slurm never forgets; with the word squeue the executor would take sacct, which has no answer here
        ("none", "0", "squeue", slurm.SQUEUE_ALWAYS),
        ("none", "300", "sacct", slurm.SQUEUE_ALWAYS),
        # where squeue forgets before the executor looks
        ("slurmdbd", "2", "squeue", "sacct"),
        ("slurmdbd", "179", "squeue", "sacct"),
        ("slurmdbd", "300", "squeue", slurm.SQUEUE_ALWAYS),
        ("slurmdbd", "300", "sacct", "sacct"),
    ],
)
def test_snakemake_looks_at_jobs_by_what_does_not_forget_them_and_a_slurm_that_forgets_too_soon_is_refused(
    accounting: str, age: str, wanted: str, command: str | None, prints: Prints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    prints("scontrol", f"AccountingStorageType = accounting_storage/{accounting}\nMinJobAge = {age} sec\n")
    if command is None:
        with pytest.raises(UserError, match=f"forgets a finished job after {age} s"):
            slurm.choose_status_command(wanted)
    else:
        assert slurm.choose_status_command(wanted) == command


def test_the_executor_accepts_the_status_command() -> None:
    """On its command line it accepts two words only. Any other word, set later, means squeue for any MinJobAge."""
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm")
    settings = plugin.ExecutorSettings(status_command="squeue")
    settings.status_command = slurm.SQUEUE_ALWAYS
    executor = plugin.Executor.__new__(plugin.Executor)
    executor.workflow = SimpleNamespace(executor_settings=settings)
    assert executor.get_status_command() == slurm.SQUEUE_ALWAYS not in {"squeue", "sacct"}


@pytest.mark.parametrize(
    ("reason", "hopeless"),
    [
        ("QOSMaxCpuPerJobLimit", True),
        ("QOSMaxGRESPerJob", True),
        ("QOSMaxMemoryPerNode", True),
        ("AssocMaxWallDurationPerJobLimit", True),
        ("QOSMinGRES", True),
        ("JobHeldUser", True),
        ("QOSMaxJobsPerUserLimit", False),
        ("QOSMaxGRESPerUser", False),
        ("QOSMaxCpuPerUserLimit", False),
        ("AssocMaxJobsLimit", False),
        ("AssocGrpGRES", False),
        ("Resources", False),
    ],
)
def test_limits_that_end_with_the_users_other_jobs_are_waited_for(reason: str, hopeless: bool) -> None:
    assert slurm.Job("7", "PENDING", "train", reason=reason).hopeless is hopeless
    assert not slurm.Job("7", "RUNNING", "train", reason=reason).hopeless
