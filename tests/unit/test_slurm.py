"""What is read of Slurm's commands, and what follows from it; the commands themselves run in tests/slurm."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake.persistence import MetadataRecord
from snakemake.persistence.file import FilePersistence

from errata import hooks, recover, slurm, usage
from errata.errors import UserError
from errata.watch import Watch

Tell = Callable[[str, str], None]


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Say what a command of Slurm prints; one of which nothing was said prints nothing."""
    said = {"scontrol": "AccountingStorageType   = accounting_storage/none\nMinJobAge               = 300 sec\n"}
    monkeypatch.setattr(slurm, "ask", lambda *words: said.get(words[0], ""))
    return said.__setitem__


def queue(*jobs: tuple[str, str, str], folder: Path, reason: str = "None") -> str:
    """Lines of squeue for jobs (id, state, rule)."""
    return "".join(f"{id}|{state}|rule_{name}_wildcards_m|1:02|{reason}|{folder}\n" for id, state, name in jobs)


def recorded(folder: Path, output: str, ended: float, *, incomplete: bool = False) -> None:
    """Make an output, and Snakemake's record of it as Snakemake writes it."""
    path = folder / output
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    book = FilePersistence(nolock=True, path=folder / ".snakemake")
    book._write_record(output, MetadataRecord(endtime=ended))
    if incomplete:
        book._mark_incomplete(output, None)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/."), min_size=1, max_size=60)


@given(parts=st.lists(NAMES, min_size=1, max_size=4))
def test_snakemakes_records_are_read_whatever_the_output_is_called(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("records")
    recorded(folder, "/".join(parts), time.time() - 60)
    assert recover.unrecorded(folder) == ["/".join(parts)]


def test_only_what_is_complete_and_newer_than_its_record_is_kept_without_it(tmp_path: Path) -> None:
    recorded(tmp_path, "results/new", time.time() - 60)
    recorded(tmp_path, "results/unchanged", time.time() + 1)
    recorded(tmp_path, "results/half", time.time() - 60, incomplete=True)
    recorded(tmp_path, "results/gone", time.time() - 60)
    (tmp_path / "results/gone").unlink()
    assert recover.unrecorded(tmp_path) == ["results/new"]
    assert recover.unrecorded(tmp_path / "elsewhere") == []


def test_jobs_of_a_killed_run_are_told_and_nothing_is_submitted(tmp_path: Path, tell: Tell) -> None:
    tell("squeue", queue(("7", "RUNNING", "train"), ("8", "FAILED", "answer"), folder=tmp_path))
    with pytest.raises(UserError, match=r"1 jobs of an earlier run are not done: 7 \(train, running for 1:02\)"):
        hooks.before("slurm", tmp_path)
    hooks.before("local", tmp_path)


def test_another_folders_job_of_the_same_number_is_none_of_ours(tmp_path: Path, tell: Tell) -> None:
    tell("squeue", queue(("7", "RUNNING", "train"), folder=tmp_path / "other"))
    assert recover.left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("accounting", "age", "refused"),
    [("none", "60", True), ("none", "300", False), ("slurmdbd", "60", False), ("none", "199", True)],
)
def test_a_slurm_that_forgets_too_soon_is_refused(
    accounting: str, age: str, refused: bool, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    tell("scontrol", f"AccountingStorageType = accounting_storage/{accounting}\nMinJobAge = {age} sec\n")
    if refused:
        with pytest.raises(UserError, match=f"forgets a finished job after {age} s"):
            slurm.check()
    else:
        slurm.check()


def test_a_machine_without_slurm_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"scontrol: not found\. Run this where jobs are submitted"):
        hooks.before("slurm", tmp_path)


def test_a_job_that_can_never_start_is_told_once(
    tmp_path: Path, tell: Tell, capsys: pytest.CaptureFixture[str]
) -> None:
    tell("squeue", queue(("7", "PENDING", "train"), folder=tmp_path, reason="PartitionTimeLimit"))
    watch = Watch(tmp_path)
    assert watch.look() == []
    assert "job 7 of rule train waits, and time alone will not start it: PartitionTimeLimit" in capsys.readouterr().err
    assert watch.look() == []
    assert capsys.readouterr().err == ""


def test_a_job_that_slurm_forgot_is_given_up_after_three_looks(tmp_path: Path, tell: Tell) -> None:
    watch = Watch(tmp_path)
    tell("squeue", queue(("7", "RUNNING", "train"), folder=tmp_path))
    assert watch.look() == []
    tell("squeue", "")
    assert [watch.look() for _ in range(3)] == [[], [], ["7"]]


def test_a_job_that_is_known_to_have_failed_is_not_waited_for(tmp_path: Path, tell: Tell) -> None:
    watch = Watch(tmp_path)
    tell("squeue", queue(("7", "RUNNING", "train"), folder=tmp_path))
    assert watch.look() == []
    tell("squeue", queue(("7", "FAILED", "train"), folder=tmp_path))
    assert watch.look() == []
    tell("squeue", "")
    assert [watch.look() for _ in range(5)] == [[]] * 5


# As sacct 22.05 printed them, with a job that was preempted and ran again.
SACCT = """\
/w|COMPLETED|25|1440|billing=128,cpu=128,gres/gpu:a100=8,gres/gpu=8,mem=600000M,node=1|cpu=128|\
|sbatch --parsable --job-name af1 --comment rule_train_wildcards_m_self  -p gpu --wrap="a|b"
/w|PREEMPTED|3600|1440|cpu=128,gres/gpu:a100=8,mem=600000M,node=1|cpu=128||sbatch --comment 'rule_train_wildcards_m'
/w|CANCELLED by 0|0|240||cpu=8,gres/gpu=1,mem=200000M,node=1||sbatch --comment rule_answer
/w|COMPLETED|16|UNLIMITED|cpu=16,mem=312.50G,node=1|cpu=16|rule_merge_lora_wildcards_m|sbatch
/elsewhere|COMPLETED|16|240|cpu=16,gres/gpu=4|cpu=16|rule_answer|sbatch
/w|COMPLETED|16|240|cpu=16,gres/gpu=4|cpu=16||sbatch other.sh
"""


def test_gpu_hours_are_summed_up_by_rule() -> None:
    uses = usage.parse(SACCT, Path("/w"))
    assert [(use.rule, use.gpus, use.used, use.done) for use in uses] == [
        ("train", 8, 25.0, True),
        ("train", 8, 3600.0, False),
        ("answer", 1, 0.0, False),
        ("merge_lora", 0, 16.0, True),
    ]
    assert usage.summary(uses, "by accounting").splitlines() == [
        "GPU hours of this run, by accounting:",
        "rule    jobs  ended well  GPU h asked  GPU h used",
        "answer     1           0         4.00        0.00",
        "train      2           1       384.00        8.06",
        "in all     3           1       388.00        8.06",
    ]


def test_a_run_without_gpus_has_no_gpu_hours() -> None:
    assert usage.summary([usage.Use("answer", 0, 60.0, 1.0, True)], "by accounting") == ""
