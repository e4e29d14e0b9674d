"""GPU hours by rule, read from accounting."""

from pathlib import Path

import pytest

from errata.cluster import usage

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
    uses = usage.parse_accounting(SACCT, Path("/w"))
    assert [(use.rule, use.gpus, use.seconds, use.done) for use in uses] == [
        ("train", 8, 25.0, True),
        ("train", 8, 3600.0, False),
        ("answer", 1, 0.0, False),
        ("merge_lora", 0, 16.0, True),
    ]
    assert usage.make_table(uses, "by accounting").splitlines() == [
        "GPU hours of this run, by accounting:",
        "rule    jobs  ended well  GPU h asked  GPU h used",
        "answer     1           0         4.00        0.00",
        "train      2           1       384.00        8.06",
        "in all     3           1       388.00        8.06",
    ]


def test_lines_that_are_no_rows_are_skipped() -> None:
    lines = ["/w|COMPLETED|9|60|gres/gpu=2||rule_train|sbatch --wrap=echo a", "echo b|c", "", "/w|FAILED|?|60||||"]
    assert [(use.gpus, use.seconds) for use in usage.parse_accounting("\n".join(lines), Path("/w"))] == [(2, 9.0)]


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
def test_gpus_are_those_requested_where_a_cluster_does_not_account_for_them(asked: str, gpus: int) -> None:
    row = f'/w|COMPLETED|9|60|cpu=8,node=1|cpu=8|rule_train|sbatch -p gpu {asked} --wrap="x --gpus=5"'
    assert [use.gpus for use in usage.parse_accounting(row, Path("/w"))] == [gpus]


def test_a_run_without_gpus_has_no_gpu_hours() -> None:
    assert usage.make_table([usage.Use("answer", 0, 60.0, 1.0, True)], "by accounting") == ""
