"""Reading rows: byte ranges against Zarr itself, valid rows, Dask and xarray, on a disk, from the Hub and from S3."""

from __future__ import annotations

import logging
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import noisezoo
from noisezoo import layout, ranges, writer
from noisezoo.direct import plain
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from noisezoo.writer import Table, Unit, write_unit
from tests.hub import local_hub, local_s3
from tests.hub_server import Fault
from tests.kit.zoos import make_zoo, values


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 70),
    shard_rows=st.sampled_from([1, 3, 8, 16]),
    shape=st.sampled_from([(5,), (2, 3, 3), (1,)]),
    dtype=st.sampled_from(["float16", "float32", "int16", "uint8"]),
    absent=st.sets(st.integers(0, 5)),
    data=st.data(),
)
def test_byte_ranges_give_what_zarr_gives(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    shard_rows: int,
    shape: tuple[int, ...],
    dtype: str,
    absent: set[int],
    data: st.DataObject,
) -> None:
    """Any shape, dtype, ragged last shard and missing shards; any rows in any order, more than once."""
    place = tmp_path_factory.mktemp("zoo") / "zoo.zarr"
    store = Store(str(place))
    keys = np.array([str(i) for i in range(rows)], dtype=object)
    writer.create(
        store, Table(keys, np.arange(rows), np.zeros((rows, 32), np.uint8)), {"name": "x", "digest": "0"}, shard_rows
    )
    dims = tuple(f"d{i}" for i in range(len(shape)))
    digest = writer.add_space(store, "s", shape, dims, dtype, {})
    group = store.group("r+")["spaces/s"]
    for shard in set(range(layout.shard_count(rows, shard_rows))) - absent:
        span = layout.span(shard, rows, shard_rows)
        latent = np.arange(span.start * 7, span.start * 7 + len(span) * int(np.prod(shape))).astype(dtype)
        unit = Unit(
            "s", shard, digest, {"latent": latent.reshape(len(span), *shape), "valid": np.ones(len(span), bool)}, {}
        )
        write_unit(store, group, unit)  # type: ignore[arg-type]
    space = noisezoo.open(str(place))["s"]
    whole = np.asarray(zarr.open_array(str(place / "spaces/s/latent"), mode="r")[:])
    assert space._plain is not None
    picked = data.draw(hnp.arrays(np.int64, st.integers(0, 30), elements=st.integers(-rows, rows - 1)))
    np.testing.assert_array_equal(space[picked], whole[picked])
    cut = data.draw(st.slices(rows))
    np.testing.assert_array_equal(space[cut], whole[cut])
    np.testing.assert_array_equal(space[-1], whole[-1])


def test_a_compressed_array_is_zarrs_to_read(tmp_path: Path) -> None:
    compressed = zarr.create_array(str(tmp_path / "a"), shape=(32, 4), chunks=(4, 4), shards=(16, 4), dtype="float16")
    assert plain(compressed, Store(str(tmp_path)), "a") is None
    bare = zarr.create_array(str(tmp_path / "b"), shape=(32, 4), chunks=(4, 4), dtype="float16", compressors=None)
    assert plain(bare, Store(str(tmp_path)), "b") is None


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_index_is_told_not_read(tmp_path: Path, damage: str) -> None:
    make_zoo(tmp_path / "zoo.zarr")
    path = tmp_path / "zoo.zarr" / layout.chunk_key(layout.array_path("toy_sd"), 1, 4)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:-3]
    else:
        data[-10] ^= 1
    path.write_bytes(data)
    space = noisezoo.open(str(tmp_path / "zoo.zarr"))["toy_sd"]
    np.testing.assert_array_equal(space[:16], values("toy_sd", np.arange(16), (4, 8, 8)))
    with pytest.raises(NoiseZooError, match=r"cut short or damaged.*noisezoo verify"):
        space[16:20]


def test_rows_out_of_range_are_told(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr")
    with pytest.raises(NoiseZooError, match="from 0 to 99"):
        zoo["toy_sd"][[100]]


def test_only_valid_rows_and_it_says_how_many_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr", invalid={"toy_sd": [3, 50], "toy_clip": [50, 60]})
    with caplog.at_level(logging.WARNING, "noisezoo"):
        a, b, rows = zoo.pair("toy_sd", "toy_clip", split="train")
    assert rows.tolist() == [row for row in range(80) if row not in (3, 50, 60)]
    assert np.isfinite(a).all()
    np.testing.assert_array_equal(b, values("toy_clip", rows, (32,)))
    assert "3 of 80 rows are not valid in toy_sd and toy_clip and are left out" in caplog.text


def test_a_published_folder_opens_like_the_zoo_in_it(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "hub" / "zoo.zarr")
    assert noisezoo.open(str(tmp_path / "hub")).digest == zoo.digest


def test_to_dask_is_lazy_and_right(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr", invalid={"toy_sd": [3, 50]})
    lazy = zoo["toy_sd"].to_dask()
    assert lazy.shape == (98, 4, 8, 8)
    assert lazy.chunks[0][0] == 15, "one block a shard, less what is not valid"
    rows = np.flatnonzero(zoo["toy_sd"].valid)
    np.testing.assert_array_equal(lazy.compute(scheduler="threads"), zoo["toy_sd"][rows])
    assert zoo["toy_sd"].to_dask(split="test").shape == (20, 4, 8, 8)


def test_to_xarray_aligns_spaces_and_labels(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr", invalid={"toy_sd": [3], "toy_clip": [5]})
    data = zoo.to_xarray(split="train")
    assert data.sizes["row"] == 78
    assert data["toy_sd"].dims == ("row", "toy_sd_channel", "toy_sd_y", "toy_sd_x")
    some = data.sel(row=[10, 4])
    np.testing.assert_array_equal(some["toy_clip"].values, zoo["toy_clip"][[10, 4]])
    assert some["label"].sel(attribute="Male").values.tolist() == zoo.labels["Male"][[10, 4]].tolist()
    assert some["key"].values.tolist() == ["000010.jpg", "000004.jpg"]


def test_ordinary_readers_need_nothing_of_ours(tmp_path: Path) -> None:
    import dask.array as da
    import xarray as xr

    make_zoo(tmp_path / "zoo.zarr")
    wanted = values("toy_sd", np.arange(100), (4, 8, 8))
    place = str(tmp_path / "zoo.zarr")
    group = zarr.open_group(place, mode="r")
    np.testing.assert_array_equal(group["spaces/toy_sd/latent"][:], wanted)  # type: ignore[index]
    np.testing.assert_array_equal(da.from_zarr(f"{place}/spaces/toy_sd/latent")[:10].compute(), wanted[:10])
    with xr.open_zarr(place, group="spaces/toy_sd", consolidated=True) as space:
        np.testing.assert_array_equal(space["latent"].values, wanted)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    make_zoo(
        tmp_path / "hub" / "zoo.zarr", rows=1000, shard_rows=128, spaces={"toy_sd": (4, 32, 32), "toy_clip": (32,)}
    )
    (tmp_path / "hub" / "README.md").write_text("# a zoo\n")
    return tmp_path / "hub"


def test_from_the_hub_only_the_rows_asked_for_are_moved(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_hub(tmp_path / "server", monkeypatch) as hub:
        hub.add_folder("me/zoo", published)
        zoo = noisezoo.open("hf://datasets/me/zoo")
        space = zoo["toy_sd"]
        _ = space.shape
        hub.log.clear()
        rows = np.random.default_rng(0).choice(1000, 20, replace=False)
        got = space[rows]
        np.testing.assert_array_equal(got, values("toy_sd", rows, (4, 32, 32)))
        row_bytes, index_bytes = 4 * 32 * 32 * 2, 8 * (128 // 32 * 16 + 4)
        assert hub.sent() <= 20 * row_bytes + index_bytes
        hub.log.clear()
        np.testing.assert_array_equal(space[100:200], values("toy_sd", np.arange(100, 200), (4, 32, 32)))
        assert hub.count("") == 2, "one request a shard, where its place and its index are known"


@pytest.mark.parametrize("kind", ["cut", 500, 403])
def test_large_ranges_from_the_hub_outlive_faults(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str | int
) -> None:
    """403 is what an address that has run out answers: it is asked for again."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(ranges, "LARGE", 1000)
    with local_hub(tmp_path / "server", monkeypatch) as hub:
        hub.add_folder("me/zoo", published)
        space = noisezoo.open("hf://datasets/me/zoo")["toy_sd"]
        _ = space[[0, 200]]  # places and indices are known
        hub.faults = [Fault(kind, "GET /(cdn|datasets)", times=2)]
        np.testing.assert_array_equal(space[:256], values("toy_sd", np.arange(256), (4, 32, 32)))
        assert hub.faults[0].times == 0


def test_from_s3(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with local_s3(monkeypatch) as fs:
        fs.put(str(published / "zoo.zarr"), "bucket/zoo.zarr", recursive=True)
        zoo = noisezoo.open("s3://bucket/zoo.zarr")
        rows = np.array([900, 3, 4, 500])
        np.testing.assert_array_equal(zoo["toy_sd"][rows], values("toy_sd", rows, (4, 32, 32)))
        assert zoo.labels["Male"][5] == 0
