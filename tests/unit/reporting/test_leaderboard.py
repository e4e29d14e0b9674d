"""The leaderboard: paired comparisons, and a variant that is scored twice."""

from pathlib import Path

import pytest

from errata.__main__ import main
from errata.reporting.leaderboard import read_rows
from made_up_run import Run


def test_comparison_is_paired_on_the_common_questions(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.score("base", "test", [True] * 10 + [False] * 10)
    run.score("self", "test", [True] * 9 + [False] + [True] * 6)  # 16 of the 20 questions
    row = read_rows(run.scores, ["self"])[1]
    assert row.to_base is not None
    assert row.to_base.test[:3] == (16, 6, 1)
    assert row.to_base.test.p == pytest.approx(2 * (1 + 7) / 2**7)
    page = run.report()
    assert '+6 −1 of 16, <span class="line inline">p = 0.12</span>, ' in page


def test_a_variant_scored_twice_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path)
    run.score("base", "test", [True])
    copy = tmp_path / "copy.json"
    copy.write_bytes(run.scores[0].read_bytes())
    flags = [
        "--config",
        run.write_config(),
        "--leaderboard",
        str(tmp_path / "l.csv"),
        "--output",
        str(tmp_path / "r.html"),
    ]
    assert main(["report", "--scores", str(run.scores[0]), str(copy), *flags]) == 1
    assert f"{copy}: smollm2-135m, base, test is also in" in capsys.readouterr().err
    assert not (tmp_path / "l.csv").exists()
