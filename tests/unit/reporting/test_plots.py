"""The report's figures: the training log behind them, and the places of their marks."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.reporting.plots import read_loss, spread


def test_loss_of_a_resumed_training(tmp_path: Path) -> None:
    path = tmp_path / "trainer_log.jsonl"
    path.write_text(
        '{"current_steps": 2, "loss": 3.0}\n{"current_steps": 4, "loss": 9.0}\n{"current_steps": 4, "loss": 2.0}\n'
        '{"current_steps": 4, "eval_loss": 2.5}\n{"current_steps": 6, "loss": NaN}\n[]\nnot json\n\n'
    )
    loss = read_loss(path)
    assert loss.training == [(2, 3.0), (4, 2.0)]
    assert loss.evaluation == [(4, 2.5)]
    assert loss.skipped == 3


fractions = st.integers(0, 500).map(lambda number: number / 500)


@given(st.lists(fractions, min_size=1, max_size=14), st.lists(fractions, max_size=3))
def test_no_mark_is_moved_across_a_limit(places: list[float], walls: list[float]) -> None:
    moved = spread(places, walls)
    for before, after in zip(places, moved, strict=True):
        assert all((before <= wall) == (after <= wall) for wall in walls)


def test_marks_of_one_size_are_drawn_side_by_side() -> None:
    assert spread([0.5, 0.2, 0.5, 0.5], []) == pytest.approx([0.45, 0.2, 0.475, 0.5])
    assert spread([0.5, 0.5], [0.4]) == pytest.approx([0.5, 0.525])
