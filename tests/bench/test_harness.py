"""The harness: a fall of a ratio is caught, noise is not, and the command says so with its status."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.__main__ import here, load, main
from bench.harness import Case, Found, Result, alternate, from_json, over, quartiles, regression, run, to_json

POSITIVE = st.floats(0.01, 100)


def result(ratio: float, spread: float = 0.0, rounds: int = 9, name: str = "made") -> Result:
    half = ratio * spread / 2
    return Result(name, "", "", "", None, ratio, ratio - half, ratio + half, rounds, {}, 1.0, 0.0)


@given(POSITIVE, st.floats(0, 0.5), st.integers(1, 40))
def test_the_same_ratio_is_no_regression(ratio: float, spread: float, rounds: int) -> None:
    one = result(ratio, spread, rounds)
    assert regression(one, one) is None


@given(POSITIVE, st.floats(0.101, 0.99))
def test_a_steady_ratio_may_fall_by_a_tenth_and_no_further(ratio: float, fall: float) -> None:
    assert regression(result(ratio * (1 - fall)), result(ratio))
    assert regression(result(ratio * 0.901), result(ratio)) is None


@given(POSITIVE, POSITIVE)
def test_a_better_ratio_is_no_regression(then: float, more: float) -> None:
    assert regression(result(then + more, 0.2), result(then, 0.2)) is None


def test_what_wide_rounds_may_hide_narrow_ones_show() -> None:
    assert regression(result(0.8, 0.05), result(1.0, 0.05))
    assert regression(result(0.8, 0.6, 4), result(1.0, 0.6, 4)) is None


@pytest.mark.parametrize("fall", [0.0, 0.35])
def test_the_margin_tells_noise_from_a_fall(fall: float) -> None:
    """Two runs of nine rounds that scatter by a tenth: the same machine is rarely called worse, one that is a third slower nearly always."""
    random = np.random.default_rng(0)

    def measured(level: float) -> Result:
        low, middle, high = quartiles((level * np.exp(0.1 * random.standard_normal(9))).tolist())
        return Result("made", "", "", "", None, middle, low, high, 9, {}, 1.0, 0.0)

    called = sum(regression(measured(1 - fall), measured(1.0)) is not None for _ in range(500)) / 500
    assert called < 0.02 if fall == 0 else called > 0.95


def test_ours_and_the_rival_take_turns() -> None:
    seen: list[str] = []
    taken = alternate({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, 3)
    assert sorted(seen[:2]) == ["a", "b"]  # warmth, which is not timed
    assert [len(seconds) for seconds in taken.values()] == [3, 3]
    assert all(sorted(seen[i : i + 2]) == ["a", "b"] for i in range(0, 8, 2))
    assert seen[2:4] == seen[4:6][::-1]  # who goes first changes


def test_a_ratio_above_one_means_that_ours_is_ahead() -> None:
    taken = alternate({"rival": lambda: time.sleep(0.02), "ours": lambda: time.sleep(0.005)}, 5)
    assert quartiles(over(taken["rival"], taken["ours"]))[1] > 2
    assert over([6.0], [2.0], scale=0.5) == [1.5]


def test_a_case_becomes_a_result_and_is_kept_whole(tmp_path: Path) -> None:
    case = Case("made", "a", "b", lambda folder: Found([1.0, 2.0, 4.0], {"x": 3}), target=1.5, limit="none")
    found = run(case, tmp_path)
    assert (found.low, found.ratio, found.high, found.rounds, found.met) == (1.5, 2.0, 3.0, 3, True)
    assert from_json(json.loads(json.dumps(to_json(found)))) == found


def cases(**ratios: float) -> list[Case]:
    def found(ratio: float) -> Any:
        return lambda folder: Found([ratio] * 5)

    return [Case(name, "what", "rival", found(ratio)) for name, ratio in ratios.items()]


def test_a_run_on_record_is_what_the_next_one_is_held_against(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--record"], cases(one=2.0, two=1.0), tmp_path, here) == 0
    assert main([], cases(one=1.9, two=1.0), tmp_path, here) == 0
    assert main([], cases(one=1.5, two=1.0), tmp_path, here) == 1
    assert "one fell from 2 to 1.5" in capsys.readouterr().err
    assert {name: found.ratio for name, found in load(tmp_path / "latest.json").items()} == {"one": 1.5, "two": 1.0}
    assert load(tmp_path / "recorded.json")["one"].ratio == 2.0


def test_only_some_cases_leave_the_others_results(tmp_path: Path) -> None:
    main(["--record"], cases(one=2.0, two=1.0), tmp_path, here)
    main(["--only", "two", "--record"], cases(one=5.0, two=3.0), tmp_path, here)
    for file in ("latest.json", "recorded.json"):
        assert {name: found.ratio for name, found in load(tmp_path / file).items()} == {"one": 2.0, "two": 3.0}
    with pytest.raises(SystemExit, match="no case 'three'"):
        main(["--only", "three"], cases(one=5.0), tmp_path, here)


def test_a_case_that_breaks_is_named_and_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--record"], cases(one=2.0), tmp_path, lambda case: None) == 1
    assert "one could not be measured" in capsys.readouterr().err
    assert not (tmp_path / "recorded.json").exists()


def test_results_name_no_machine_and_no_folder(tmp_path: Path) -> None:
    import os
    import socket

    main([], cases(one=2.0), tmp_path, here)
    kept = (tmp_path / "latest.json").read_text()
    assert json.loads(kept)["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert socket.gethostname() not in kept
    assert str(Path.cwd()) not in kept
