"""Arithmetic of rows, shards and chunks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisezoo import layout
from noisezoo.errors import NoiseZooError

COUNTS = st.integers(1, 10**7)
SHARDS = st.integers(1, 1 << 14)


@given(st.integers(1, 100_000), st.integers(64, 1 << 14))
def test_shards_partition_the_rows(rows: int, shard_rows: int) -> None:
    spans = [layout.span(s, rows, shard_rows) for s in range(layout.shard_count(rows, shard_rows))]
    assert [spans[0].start, spans[-1].stop] == [0, rows]
    assert all(a.stop == b.start for a, b in itertools.pairwise(spans))
    assert all(len(s) == shard_rows for s in spans[:-1])
    assert 0 < len(spans[-1]) <= shard_rows


@given(COUNTS, SHARDS, st.data())
def test_a_row_is_in_the_shard_that_is_named_for_it(rows: int, shard_rows: int, data: st.DataObject) -> None:
    some = data.draw(st.lists(st.integers(0, rows - 1), max_size=20))
    shards = layout.shards_of(some, shard_rows)
    assert shards == sorted(set(shards))
    assert all(any(row in layout.span(s, rows, shard_rows) for s in shards) for row in some)
    assert all(any(row in layout.span(s, rows, shard_rows) for row in some) for s in shards)


@given(COUNTS, SHARDS, st.integers(0, 1 << 20))
def test_there_is_no_shard_beyond_the_last(rows: int, shard_rows: int, beyond: int) -> None:
    with pytest.raises(IndexError):
        layout.span(layout.shard_count(rows, shard_rows) + beyond, rows, shard_rows)
    with pytest.raises(IndexError):
        layout.span(-1 - beyond, rows, shard_rows)


@given(
    st.lists(st.integers(1, 64), min_size=0, max_size=3),
    st.sampled_from(["float16", "float32", "int32"]),
    st.integers(1, 4096),
)
def test_a_chunk_divides_its_shard_and_is_as_large_as_may_be(shape: list[int], dtype: str, shard_rows: int) -> None:
    chunk = layout.chunk_rows(tuple(shape), dtype, shard_rows)
    row_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    assert shard_rows % chunk == 0
    assert chunk == 1 or chunk * row_bytes <= layout.CHUNK_BYTES
    assert shard_rows % (2 * chunk) or 2 * chunk * row_bytes > layout.CHUNK_BYTES


@pytest.mark.parametrize("name", ["sd15", "clip_b16", "A", "x" * 64])
def test_good_names(name: str) -> None:
    assert layout.check_name(name) == name


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b", "_private", "9lives", "x" * 65, "zarr.json"])
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(NoiseZooError, match="cannot name a space"):
        layout.check_name(name)


def test_newer_formats_and_other_groups_are_told_apart() -> None:
    assert layout.check_format({"noisezoo": {"format": 1, "rows": 3}}, "here")["rows"] == 3
    with pytest.raises(NoiseZooError, match="format 2 and this noisezoo reads format 1"):
        layout.check_format({"noisezoo": {"format": 2}}, "here")
    with pytest.raises(NoiseZooError, match="not a zoo"):
        layout.check_format({"other": 1}, "here")
