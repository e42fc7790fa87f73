"""Rates and times that the user is shown."""

from __future__ import annotations

import pytest

from pipeline import progress


def test_a_rate_counts_the_time_of_its_own_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 20.0, 25.0, 30.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    board = progress.Board({"a": 100, "b": 40}, {"a": 50})
    board.add("a", 20)
    board.add("a", 30)
    board.add("b", 10)
    board.add("b", 30)
    assert board.done == {"a": 100, "b": 40}
    assert board.rate("a") == pytest.approx(50 / 20)  # 50 rows were there before
    assert board.rate("b") == pytest.approx(40 / 10)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3600, "1:00:00"), (3725, "1:02:05")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert progress.duration(seconds) == shown
