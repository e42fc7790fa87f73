"""The protocol tells Gaussian spaces from others, and does not depend on how rows are read."""

from __future__ import annotations

import numpy as np
import pytest

from noisezoo.analysis.gaussianity import (
    acceptance_by_size,
    fresh_projections,
    fresh_subspaces,
    gaussianity,
    project_all,
    quantiles,
)
from noisezoo.errors import NoiseZooError


@pytest.fixture(scope="module")
def gaussian() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((3000, 4, 4, 4)) * 2 + 0.5).astype(np.float16)


@pytest.fixture(scope="module")
def bimodal() -> np.ndarray:
    rng = np.random.default_rng(0)
    side = rng.choice([-1.0, 1.0], (3000, 1))
    return (side * rng.standard_normal(64) * 1.5 + 0.5 * rng.standard_normal((3000, 64))).astype(np.float16)


def test_a_gaussian_space_is_accepted_nineteen_times_in_twenty(gaussian: np.ndarray) -> None:
    found = gaussianity(gaussian, projections=1000)
    for test in (found.ad, found.dp, found.sw):
        assert test is not None
        assert 0.93 < test.share < 0.97
        assert test.low < test.share < test.high


def test_a_bimodal_space_is_not(bimodal: np.ndarray) -> None:
    assert gaussianity(bimodal, projections=400).ad.share < 0.35


def test_projections_do_not_depend_on_blocks_and_are_what_they_say(gaussian: np.ndarray) -> None:
    rows = np.flatnonzero(np.arange(3000) % 3 > 0)
    results = [
        fresh_projections(gaussian, rows, projections=60, sample=100, block_rows=length) for length in (7, 512, 3000)
    ]
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)
    np.testing.assert_allclose(results[0], results[2], atol=1e-5)
    every = project_all(gaussian, rows, projections=60, block_rows=100)
    for drawn, line in zip(results[0], every, strict=True):
        assert np.abs(drawn[:, None] - line).min(axis=1).max() < 1e-5
    assert len({tuple(np.round(line[:5], 4)) for line in results[0]}) == 60


@pytest.mark.parametrize("dims", [1, 3])
def test_a_device_gives_the_same_projections(gaussian: np.ndarray, dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noisezoo.analysis.devices._COLUMNS", 24)
    here, there = (
        fresh_subspaces(gaussian, subspaces=70, dims=dims, sample=50, block_rows=501, device=device)
        for device in (None, "cpu")
    )
    np.testing.assert_allclose(there, here, atol=1e-5)


def test_directions_do_not_depend_on_memory(gaussian: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fresh_projections(gaussian, projections=150, sample=64)
    monkeypatch.setattr("noisezoo.analysis.gaussianity.DIRECTION_BYTES", 4 * 64 * 7)
    np.testing.assert_allclose(fresh_projections(gaussian, projections=150, sample=64), whole, atol=1e-5)


def test_more_rows_reveal_what_few_hide() -> None:
    rng = np.random.default_rng(1)
    slight = rng.standard_t(12, (6000, 1)) * np.ones(16) / np.sqrt(16) + 0.2 * rng.standard_normal((6000, 16))
    curve = acceptance_by_size(slight, projections=200)
    assert [point.sample for point in curve] == [250, 1000, 5000, 6000]
    assert curve[0].dp.share > curve[1].dp.share > curve[2].dp.share
    assert curve[2].sw is not None
    assert curve[3].sw is None


def test_qq_of_normal_samples_lies_on_the_diagonal() -> None:
    found = quantiles(np.random.default_rng(0).standard_normal((2000, 250)))
    np.testing.assert_allclose(found.mean, found.normal, atol=0.03)
    inside = (found.low >= found.expected_low - 0.1) & (found.high <= found.expected_high + 0.1)
    assert inside[5:-5].all()


@pytest.mark.parametrize("sample", [5, 3001])
def test_samples_that_cannot_be_drawn_are_refused(gaussian: np.ndarray, sample: int) -> None:
    with pytest.raises(NoiseZooError, match=str(sample)):
        gaussianity(gaussian, projections=2, sample=sample)
