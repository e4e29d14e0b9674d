"""What is read of Slurm's commands, and what follows from it; the commands themselves run in tests/slurm."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake.persistence import MetadataRecord
from snakemake.persistence.file import FilePersistence

from errata.__main__ import main
from errata.cluster import hooks, recover, slurm, usage
from errata.cluster.watch import Watch
from errata.core.errors import UserError
from errata.core.files import write_json

Tell = Callable[[str, str], None]


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Say what a command of Slurm prints; one of which nothing was said prints nothing."""
    said = {"scontrol": "AccountingStorageType   = accounting_storage/none\nMinJobAge               = 300 sec\n"}
    monkeypatch.setattr(slurm, "ask", lambda *words: said.get(words[0], ""))
    return said.__setitem__


def accounted(tell: Tell, monkeypatch: pytest.MonkeyPatch, age: int = 300) -> None:
    """A Slurm with accounting."""
    monkeypatch.setattr("shutil.which", lambda name: name)
    tell("scontrol", f"AccountingStorageType = accounting_storage/slurmdbd\nMinJobAge = {age} sec\n")


class Settled(list[tuple[str, str]]):
    """What Snakemake was told: it waits for these jobs."""

    def __init__(self, *waited: str) -> None:
        super().__init__()
        self.waited = set(waited)

    def __call__(self, id: str, state: str, why: str) -> bool:
        assert id in why
        if id not in self.waited:
            return False
        self.waited.remove(id)
        self.append((id, state))
        return True


class Executor:
    """As much of Snakemake's as is used here."""

    def __init__(self, *waited: str) -> None:
        self.lock = threading.Lock()
        self.active_jobs = [SimpleNamespace(external_jobid=id, aux={"slurm_logfile": Path("a.log")}) for id in waited]
        self.told: list[tuple[str, str]] = []

    def report_job_success(self, job: SimpleNamespace) -> None:
        self.told.append((job.external_jobid, "done"))

    def report_job_error(self, job: SimpleNamespace, msg: str, aux_logs: list[str]) -> None:
        self.told.append((job.external_jobid, f"{msg}{aux_logs}"))


def workflow(*waited: str, command: str = "squeue", arrays: str | None = None) -> Any:
    settings = SimpleNamespace(status_command=command, array_jobs=arrays)
    return SimpleNamespace(scheduler=SimpleNamespace(_executor=Executor(*waited)), executor_settings=settings)


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


def test_a_job_that_was_preempted_for_good_does_not_stop_the_next_run(tmp_path: Path, tell: Tell) -> None:
    tell("squeue", queue(("7", "PREEMPTED", "train"), ("8", "NODE_FAIL", "answer"), folder=tmp_path))
    assert recover.left_over(tmp_path) == []
    # one that Slurm starts again waits
    tell("squeue", queue(("7", "PENDING", "train"), folder=tmp_path, reason="BeginTime"))
    assert [str(job) for job in recover.left_over(tmp_path)] == ["7 (train, pending: BeginTime)"]


def test_lines_of_another_form_are_skipped(tmp_path: Path, tell: Tell) -> None:
    lines = queue(("7", "RUNNING", "train"), ("8", "RUNNING", "answer"), folder=tmp_path).splitlines()
    tell(
        "squeue", "\n".join(["CLUSTER: x", "", lines[0], "9|RUNNING|a comment of", "two lines|1:02|None|/w", lines[1]])
    )
    assert [job.id for job in recover.left_over(tmp_path)] == ["7", "8"]


def test_another_folders_job_of_the_same_number_is_none_of_ours(tmp_path: Path, tell: Tell) -> None:
    tell("squeue", queue(("7", "RUNNING", "train"), folder=tmp_path / "other"))
    assert recover.left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("accounting", "age", "wanted", "command"),
    [
        ("none", "60", "squeue", None),
        ("none", "199", "squeue", None),
        ("none", "300", "squeue", slurm.SQUEUE_ALWAYS),
        # never forgets; told squeue, the executor would take sacct, which says nothing here
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
    accounting: str, age: str, wanted: str, command: str | None, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    tell("scontrol", f"AccountingStorageType = accounting_storage/{accounting}\nMinJobAge = {age} sec\n")
    if command is None:
        with pytest.raises(UserError, match=f"forgets a finished job after {age} s"):
            slurm.check(wanted)
    else:
        assert slurm.check(wanted) == command


@pytest.mark.usefixtures("unwatched")
def test_the_executor_is_told_how_to_look(tmp_path: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    accounted(tell, monkeypatch, age=100)
    run = workflow()
    hooks.before("slurm", tmp_path, run)
    assert run.executor_settings.status_command == "sacct"
    with pytest.raises(UserError, match="Leave --slurm-array-jobs out"):
        hooks.before("slurm", tmp_path, workflow(arrays="answer"))
    accounted(tell, monkeypatch)
    run = workflow(arrays="answer")
    hooks.before("slurm", tmp_path, run)
    assert run.executor_settings.status_command == slurm.SQUEUE_ALWAYS


def test_the_executor_accepts_what_it_is_told() -> None:
    """For its settings a command is one of two words; set later, another one means squeue, whatever MinJobAge is."""
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm")
    settings = plugin.ExecutorSettings(status_command="squeue")
    settings.status_command = slurm.SQUEUE_ALWAYS
    executor = plugin.Executor.__new__(plugin.Executor)
    executor.workflow = SimpleNamespace(executor_settings=settings)
    assert executor.get_status_command() == slurm.SQUEUE_ALWAYS not in {"squeue", "sacct"}


@pytest.fixture
def other(tmp_path: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Another process that has marked the folder as Snakemake does."""
    code = "import pathlib, sys; from errata.cluster import recover; recover.mark(pathlib.Path(sys.argv[1]))"
    words = [sys.executable, "-c", f"{code}; print(flush=True); input()", str(tmp_path)]
    where = {**os.environ, "PYTHONPATH": str(Path(recover.__file__).parents[1])}
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=where)
    assert process.stdout
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs begin without a thread that outlives the test."""
    monkeypatch.setattr(Watch, "start", lambda _: None)


def marks(folder: Path) -> list[Path]:
    return list((folder / ".snakemake").glob("errata-main.*"))


@pytest.mark.usefixtures("unwatched")
def test_nothing_is_done_while_a_snakemake_may_live_on_another_login_node(
    tmp_path: Path, tell: Tell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"host": "login2", "pid": 4711, "started": "1", "since": "2026-11-25 18:00:00"}
    path = tmp_path / ".snakemake" / "errata-main.login2.4711.json"
    write_json(path, told)
    lock = tmp_path / ".snakemake" / "locks" / "0.input.lock"
    lock.parent.mkdir()
    lock.touch()
    tell("squeue", queue(("7", "RUNNING", "train"), folder=tmp_path))
    words = ["recover", "--directory", str(tmp_path)]
    assert main([*words, "--cancel"]) == 1
    assert lock.exists()
    shown = capsys.readouterr().err
    for part in ("login2", "4711", "2026-11-25 18:00:00", "ssh login2 ps 4711", "--force"):
        assert part in shown
    with pytest.raises(UserError, match=r"on login2 \(process 4711\)"):
        hooks.before("slurm", tmp_path)
    # once it is known to be gone
    tell("squeue", "")
    monkeypatch.setattr(recover, "_snakemake", lambda *_: lock.unlink())
    assert main([*words, "--force"]) == 0
    assert not path.exists()
    hooks.before("slurm", tmp_path)
    assert marks(tmp_path)


def test_on_the_same_machine_a_snakemake_lives_if_its_process_has_not_been_another_since(
    tmp_path: Path, other: "subprocess.Popen[bytes]"
) -> None:
    assert recover.running_snakemake(tmp_path) == other.pid
    [path] = marks(tmp_path)
    told = path.read_text()
    path.write_text(json.dumps(json.loads(told) | {"started": "1"}))
    assert recover.running_snakemake(tmp_path) is None
    assert not path.exists()
    path.write_text(told)
    assert recover.running_snakemake(tmp_path) == other.pid
    # killed, though its parent has not been told yet
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert recover.running_snakemake(tmp_path) is None


@pytest.mark.usefixtures("unwatched")
def test_a_run_marks_the_folder_as_long_as_it_lasts(tmp_path: Path, tell: Tell) -> None:
    tell("squeue", "")
    hooks.before("slurm", tmp_path)
    [path] = marks(tmp_path)
    told = json.loads(path.read_text())
    assert (told["host"], told["pid"]) == (socket.gethostname(), os.getpid())
    assert recover.running_snakemake(tmp_path) is None
    hooks.after("slurm", datetime.now(), [], tmp_path)
    assert not path.exists()


def test_recover_says_why_it_waits(
    tmp_path: Path, tell: Tell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell("squeue", queue(("7", "PENDING", "train"), folder=tmp_path, reason="QOSMaxWallDurationPerJobLimit"))
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            tell("squeue", "")

    monkeypatch.setattr(time, "sleep", sleep)
    recover.wait(tmp_path)
    shown = capsys.readouterr().err
    assert shown.count("time alone will not start it: QOSMaxWallDurationPerJobLimit") == 1
    assert "`scancel 7` ends it" in shown
    assert "7 (train, pending: QOSMaxWallDurationPerJobLimit)" in shown


def test_a_machine_without_slurm_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"scontrol: not found\. Run this where jobs are submitted"):
        hooks.before("slurm", tmp_path)


def test_a_job_that_can_never_start_is_told_once(
    tmp_path: Path, tell: Tell, capsys: pytest.CaptureFixture[str]
) -> None:
    tell("squeue", queue(("7", "PENDING", "train"), folder=tmp_path, reason="PartitionTimeLimit"))
    watch = Watch(tmp_path, Settled())
    assert watch.look() == []
    assert "job 7 of rule train waits, and time alone will not start it: PartitionTimeLimit" in capsys.readouterr().err
    assert watch.look() == []
    assert capsys.readouterr().err == ""


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


def test_a_job_that_slurm_forgot_is_given_up_after_three_looks(tmp_path: Path, tell: Tell) -> None:
    watch = Watch(tmp_path, Settled("7"))
    tell("squeue", queue(("7", "RUNNING", "train"), folder=tmp_path))
    assert watch.look() == []
    tell("squeue", "")
    assert [watch.look() for _ in range(3)] == [[], [], ["7"]]


def test_a_job_that_is_known_to_have_failed_is_not_waited_for(tmp_path: Path, tell: Tell) -> None:
    watch = Watch(tmp_path, Settled())
    tell("squeue", queue(("7", "RUNNING", "train"), folder=tmp_path))
    assert watch.look() == []
    tell("squeue", queue(("7", "FAILED", "train"), folder=tmp_path))
    assert watch.look() == []
    tell("squeue", "")
    assert [watch.look() for _ in range(5)] == [[]] * 5


@pytest.mark.parametrize("state", ["COMPLETED", "CANCELLED by 1000", "PREEMPTED", "NODE_FAIL"])
def test_snakemake_is_told_by_accounting_of_a_job_that_squeue_forgot(
    state: str, tmp_path: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounted(tell, monkeypatch)
    settled = Settled("7")
    watch = Watch(tmp_path, settled)
    tell("squeue", queue(("7", "RUNNING", "train"), ("8", "RUNNING", "train"), folder=tmp_path))
    assert watch.look() == []
    # 8 has been seen to end by Snakemake
    tell("squeue", "")
    tell("sacct", f"7|{state}\n8|COMPLETED\n\nwhat\n")
    assert [watch.look() for _ in range(9)] == [[]] * 9
    assert settled == [("7", state.split()[0])]


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL"])
def test_a_job_that_slurm_ended_itself_and_does_not_start_again_is_lost_after_three_looks(
    state: str, tmp_path: Path, tell: Tell
) -> None:
    settled = Settled("7", "9")
    watch = Watch(tmp_path, settled)
    tell("squeue", queue(("7", "RUNNING", "train"), ("9", "RUNNING", "train"), folder=tmp_path))
    watch.look()
    tell("squeue", queue(("7", state, "train"), ("9", state, "train"), ("1", state, "train"), folder=tmp_path))
    assert [watch.look() for _ in range(2)] == [[]] * 2
    # one is put back into the queue
    tell("squeue", queue(("7", state, "train"), ("9", "PENDING", "train"), ("1", state, "train"), folder=tmp_path))
    assert [watch.look() for _ in range(9)] == [[]] * 9
    assert settled == [("7", state)]


def test_snakemake_is_told_how_a_job_ended_once_and_only_if_it_waits_for_it() -> None:
    run = workflow("7", "8", "9")
    assert hooks.settle(run, "7", "COMPLETED", "7 ended.")
    assert hooks.settle(run, "8", "PREEMPTED", "8 is lost.")
    assert not hooks.settle(run, "7", "COMPLETED", "7 ended.")
    executor = run.scheduler._executor
    assert executor.told == [("7", "done"), ("8", "8 is lost. ['a.log']")]
    assert [job.external_jobid for job in executor.active_jobs] == ["9"]


def test_the_watch_survives_a_bad_look_and_tells_of_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = threading.Semaphore(0)

    def bad(folder: Path) -> list[slurm.Job]:
        looks.release()
        raise ValueError(f"not enough values: {folder.name}")

    monkeypatch.setattr(slurm, "jobs_of", bad)
    Watch(tmp_path, Settled(), pause=0.01).start()
    for _ in range(5):
        assert looks.acquire(timeout=10)
    assert capsys.readouterr().err.count("not enough values") == 1


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


def test_what_is_no_row_is_skipped() -> None:
    lines = ["/w|COMPLETED|9|60|gres/gpu=2||rule_train|sbatch --wrap=echo a", "echo b|c", "", "/w|FAILED|?|60||||"]
    assert [(use.gpus, use.used) for use in usage.parse("\n".join(lines), Path("/w"))] == [(2, 9.0)]


@pytest.mark.parametrize(
    ("asked", "gpus"),
    [
        ("--nodes=1 --gpus=a100:8", 8),
        ("--nodes=2 --gpus 8", 8),
        ("--nodes=2 --gres=gpu:a100:8", 16),
        ("--gres gpu:2,tmp:100G", 2),
        ("--gres=gpu", 1),
        ("--gres=gpu:h100", 1),
        ("--nodes=2 --gpus-per-node=a100:4", 8),
        ("--gres=license:3", 0),
        ("--mem 16000", 0),
    ],
)
def test_gpus_are_those_asked_where_a_cluster_does_not_account_for_them(asked: str, gpus: int) -> None:
    row = f'/w|COMPLETED|9|60|cpu=8,node=1|cpu=8|rule_train|sbatch -p gpu {asked} --wrap="x --gpus=5"'
    assert [use.gpus for use in usage.parse(row, Path("/w"))] == [gpus]


def finished(folder: Path, **resources: Any) -> Any:
    """A job that Snakemake measured."""
    benchmark = folder / "benchmark.tsv"
    benchmark.write_text("s\th:m:s\n3600\t1:00:00\n")
    return SimpleNamespace(benchmark=benchmark, rule=SimpleNamespace(name="train"), resources=resources)


def test_without_accounting_gpu_hours_are_those_of_the_jobs_that_ended_well(
    tmp_path: Path, tell: Tell, capsys: pytest.CaptureFixture[str]
) -> None:
    tell("squeue", "")
    jobs = [finished(tmp_path, gpu=8, runtime=120), finished(tmp_path, gres="gpu:a100:8", nodes=2, runtime=120)]
    hooks.after("slurm", datetime(2020, 1, 1), jobs, tmp_path)
    shown = capsys.readouterr().err
    assert "of jobs that ended well; accounting tells nothing of the others:" in shown
    assert shown.splitlines()[-1].split() == ["in", "all", "2", "2", "48.00", "24.00"]


def test_accounting_that_fails_is_told_and_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> list[usage.Use]:
        raise UserError('sacct: Invalid field requested: "SubmitLine"')

    monkeypatch.setattr(usage, "accounted", fail)
    hooks.after("slurm", datetime(2020, 1, 1), [finished(tmp_path, gpu=1, runtime=60)], tmp_path)
    shown = capsys.readouterr().err
    assert 'accounting of the others failed: sacct: Invalid field requested: "SubmitLine"' in shown
    assert "train" in shown
    hooks.after("slurm", datetime(2020, 1, 1), [SimpleNamespace(benchmark=tmp_path / "benchmark.tsv")], tmp_path)
    assert "at the end of the run: " in capsys.readouterr().err


def test_where_the_logs_of_array_tasks_are_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / ".snakemake/slurm_logs/rule_answer/55_1.log"
    log.parent.mkdir(parents=True)
    log.touch()
    hooks.after("slurm", datetime(2020, 1, 1), [], tmp_path)
    assert f"Logs of array tasks, JOB_TASK.log each: {log.parent}" in capsys.readouterr().err
    hooks.after("slurm", datetime(2100, 1, 1), [], tmp_path)
    assert "array" not in capsys.readouterr().err


def test_a_run_without_gpus_has_no_gpu_hours() -> None:
    assert usage.summary([usage.Use("answer", 0, 60.0, 1.0, True)], "by accounting") == ""
