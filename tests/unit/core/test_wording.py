import pytest

from errata.core.wording import duration, p_value, percent


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[(0, "0 s"), (0.43, "0.43 s"), (5, "5 s"), (9.94, "9.9 s"), (9.96, "10 s"), (58.2, "58 s")],
        *[
            (59.7, "1 min 00 s"),
            (185, "3 min 05 s"),
            (3599.6, "1 h 00 min"),
            (7620, "2 h 07 min"),
            (10**6, "277 h 46 min"),
        ],
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_shares_and_p_values() -> None:
    assert percent(0.125) == "12.5 %"
    assert [p_value(p) for p in (0.00001, 0.0003, 0.27)] == ["p < 0.0001", "p = 0.0003", "p = 0.27"]
