"""Blocks hold the rows that were asked for, exactly, whatever the container and the cut."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from noisezoo.analysis.streams import blocks, finite_rows, held, moments, numbered_blocks, row_numbers, widen
from noisezoo.errors import NoiseZooError


@pytest.fixture(params=["numpy", "zarr", "memmap"])
def latents(request, tmp_path) -> tuple[object, np.ndarray]:
    values = np.random.default_rng(0).standard_normal((53, 2, 3, 3)).astype(np.float16)
    if request.param == "numpy":
        return values, values
    if request.param == "zarr":
        array = zarr.create_array(
            store=zarr.storage.MemoryStore(), shape=values.shape, chunks=(5, 2, 3, 3), dtype="float16"
        )
        array[:] = values
        return array, values
    mapped = np.memmap(tmp_path / "latents", dtype=np.float16, mode="w+", shape=values.shape)
    mapped[:] = values
    return mapped, values


def joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([part.copy() for part in parts])


@pytest.mark.parametrize("length", [1, 7, 53, 1000, None])
def test_blocks_cover_the_rows_in_order(latents, length) -> None:
    array, values = latents
    for rows in (None, np.array([3]), np.array([0, 1, 20, 52]), np.arange(53) % 2 == 0):
        numbers = row_numbers(array, rows)
        expected = values.reshape(53, -1).astype(np.float32)[numbers]
        np.testing.assert_array_equal(joined(blocks(array, rows, length)), expected)
        for positions, block in numbered_blocks(array, rows, length):
            np.testing.assert_array_equal(block, expected[positions])


def test_pieces_of_a_read_do_not_show(latents, monkeypatch: pytest.MonkeyPatch) -> None:
    array, values = latents
    monkeypatch.setattr("noisezoo.analysis.streams.PIECE_BYTES", 4 * 18 * 2)
    for rows in (None, np.array([0, 1, 20, 52])):
        expected = values.reshape(53, -1).astype(np.float32)[row_numbers(array, rows)]
        np.testing.assert_array_equal(joined(blocks(array, rows, 16)), expected)


def test_every_half_float_is_widened_exactly() -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]
    for part in (halves, finite, np.tile(finite, 5)):
        found = np.empty((part.size // 2, 2), np.float32)
        assert widen(part.reshape(-1, 2), found) == bool(np.isfinite(part).all())
        np.testing.assert_array_equal(found, part.reshape(-1, 2).astype(np.float32))


@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.integers(1, 70))
def test_moments_do_not_depend_on_the_cut(rows: list[int], length: int) -> None:
    values = np.random.default_rng(1).standard_normal((61, 5)) * 0.01 + 30
    chosen = np.unique(rows)
    found = moments(values, chosen, length)
    reference = values.astype(np.float32)[chosen].astype(np.float64)
    np.testing.assert_allclose(found.mean, reference.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.variance, reference.var(axis=0), rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_that_are_not_finite_are_refused_or_masked(bad: float, dtype: type) -> None:
    values = np.ones((40, 6), dtype)
    values[[3, 17], 2] = bad
    with pytest.raises(NoiseZooError, match=r"2 of the rows .* row 3"):
        list(blocks(values))
    mask = finite_rows(values, 9)
    assert np.flatnonzero(~mask).tolist() == [3, 17]
    assert sum(len(block) for block in blocks(values, mask)) == 38


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (np.zeros(9, bool), "No rows"),
        (np.array([], int), "No rows"),
        (np.array([2, 1]), "increase"),
        (np.array([1, 1]), "increase"),
        (np.array([0, 9]), "range"),
        (np.ones(4, bool), "mask"),
    ],
)
def test_senseless_rows_are_refused(rows: np.ndarray, says: str) -> None:
    with pytest.raises(NoiseZooError, match=says):
        row_numbers(np.zeros((9, 2)), rows)


@pytest.mark.parametrize("limit", [0, 2 * 53 * 18, 10**9])
def test_held_rows_are_the_same_rows(latents, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    array, values = latents
    monkeypatch.setattr("noisezoo.analysis.streams.HELD_BYTES", limit)
    monkeypatch.setattr("noisezoo.analysis.streams.BLOCK_BYTES", 4 * 18 * 6)
    for rows in (None, np.array([4, 5, 30, 52]), np.arange(53) > 40):
        kept, left = held(array, rows)
        expected = values[row_numbers(array, rows)].reshape(-1, 18).astype(np.float32)
        np.testing.assert_array_equal(joined(blocks(kept, left)), expected)
        assert held(kept, left)[0] is kept


def test_rows_that_are_held_are_not_copied_again_and_were_finite(latents) -> None:
    array, _ = latents
    kept, left = held(array, np.arange(9, 31))
    assert left is None
    assert all(np.shares_memory(block, kept[:]) for block in blocks(kept, left, 5))
    broken = np.ones((4, 6), np.float16)
    broken[2, 1] = np.nan
    with pytest.raises(NoiseZooError, match="row 2"):
        held(broken)
