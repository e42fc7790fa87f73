"""What is written is what is read, with our reader and with the ordinary ones."""

from __future__ import annotations

import warnings
from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import noisezoo
from noisezoo import layout, ledger, writer
from noisezoo.info import summary, table
from noisezoo.store import Store
from noisezoo.verify import unfinished, verify
from tests.kit.small import small_table, small_zoo


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, np.ndarray]]:
    return small_zoo(tmp_path_factory.mktemp("zoo") / "zoo.zarr")


@pytest.fixture(scope="module")
def zoo(made: tuple[Store, dict[str, np.ndarray]]) -> noisezoo.Zoo:
    return noisezoo.open(made[0].url)


@pytest.mark.parametrize("name", ["noise", "code"])
def test_any_rows_come_back_as_written(zoo: noisezoo.Zoo, made: tuple[Store, dict[str, np.ndarray]], name: str) -> None:
    written = made[1][name]

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.integers(-100, 99), max_size=30))
    def check(rows: list[int]) -> None:
        np.testing.assert_array_equal(zoo[name].take(rows), written[np.array(rows, int)])

    check()
    np.testing.assert_array_equal(zoo[name][10:40], written[10:40])
    np.testing.assert_array_equal(zoo[name][zoo.splits["test"]], written[zoo.splits["test"]])


def test_rows_labels_and_splits(zoo: noisezoo.Zoo) -> None:
    expected = small_table(100)
    assert list(zoo.row_fact("key")[:2]) == ["000000.jpg", "000001.jpg"]
    np.testing.assert_array_equal(zoo.row_fact("sha256"), expected.sha256)
    np.testing.assert_array_equal(zoo.labels["Male"], expected.labels[:, 1])  # type: ignore[index]
    assert zoo.labels.names == ("Smiling", "Male")
    assert {name: len(rows) for name, rows in zoo.splits.items()} == {
        "train": 80,
        "test": 20,
        "half:even": 50,
        "half:odd": 50,
    }
    with pytest.raises(noisezoo.NoiseZooError, match="did you mean 'Smiling'"):
        zoo.labels["smiling"]
    with pytest.raises(noisezoo.NoiseZooError, match="did you mean 'train'"):
        zoo.rows("trian")
    with pytest.raises(noisezoo.NoiseZooError, match="did you mean 'noise'"):
        zoo["nose"]


def test_a_pair_is_aligned_and_valid(zoo: noisezoo.Zoo, made: tuple[Store, dict[str, np.ndarray]]) -> None:
    a, b, rows = zoo.pair("noise", "code", split="test")
    assert len(rows) == 19  # row 99 is invalid
    assert 99 not in rows
    np.testing.assert_array_equal(a, made[1]["noise"][rows])
    np.testing.assert_array_equal(b, made[1]["code"][rows])


def test_ordinary_readers_read_it_without_a_warning(made: tuple[Store, dict[str, np.ndarray]]) -> None:
    store, written = made
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group = zarr.open_group(store.url, mode="r")
        assert sorted(name for name, _ in group.members()) == ["labels", "rows", "spaces"]
        np.testing.assert_array_equal(group["spaces/noise/latent"][...], written["noise"])  # type: ignore[index]
        dataset = xarray.open_zarr(store.url, group="spaces/noise")
        assert dataset.latent.dims == ("row", "c", "y", "x")
        np.testing.assert_array_equal(dataset.latent.isel(row=slice(3, 50)).values, written["noise"][3:50])
        labels = xarray.open_zarr(store.url, group="labels")
        np.testing.assert_array_equal(labels.label.sel(attribute="Male").values, small_table(100).labels[:, 1])  # type: ignore[index]
        lazy = dask.array.from_zarr(store.url, component="spaces/code/latent")
        np.testing.assert_array_equal(lazy[5:90].compute(), written["code"][5:90])


def test_the_ledger_covers_every_unit(zoo: noisezoo.Zoo) -> None:
    for space in zoo.spaces.values():
        entries = space.finished
        assert sorted(entries) == list(range(7))
        assert [entry.rows for entry in entries.values()][-1] == (96, 100)
        assert sum(entry.valid for entry in entries.values()) == 99
        assert entries[6].invalid == {"99": "made so"}
        assert unfinished(space) == []
    assert verify(zoo) == []
    assert summary(zoo["noise"]).is_finished
    assert summary(zoo["noise"]).reasons == {"made so": 1}
    assert "noise" in table(zoo)


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    store, _ = small_zoo(tmp_path / "zoo.zarr", rows=40)
    files = [name for name in store.files("spaces") if "/c/" in name]
    rng = np.random.default_rng(1)
    for name in files:
        path = Path(store.path(name))
        whole = path.read_bytes()
        at = int(rng.integers(len(whole)))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        (problem,) = verify(noisezoo.open(store.url))
        assert problem.space == name.split("/")[1]
        assert problem.shard == int(name.split("/")[4])
        assert f"rows {problem.rows.start}…" in str(problem)
        path.write_bytes(whole)
    Path(store.path(files[0])).unlink()
    assert "missing" in verify(noisezoo.open(store.url))[0].what


def test_a_valid_row_that_is_not_finite_is_found(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "zoo.zarr"))
    writer.create(store, small_table(8), {"name": "made", "digest": "d"}, 8)
    digest = writer.add_space(store, "s", (2,), ("f",), "float16", {})
    latent = np.zeros((8, 2), np.float16)
    latent[3] = np.inf
    unit = writer.Unit("s", 0, digest, {"latent": latent, "valid": np.ones(8, bool)}, {})
    writer.write_unit(store, store.group("r+")["spaces/s"], unit)  # type: ignore[arg-type]
    (problem,) = verify(noisezoo.open(store.url))
    assert "row 3 is marked valid and is not finite" in problem.what


def test_a_space_made_otherwise_is_refused_and_the_fields_are_named(tmp_path: Path) -> None:
    store, _ = small_zoo(tmp_path / "zoo.zarr", rows=20)
    with pytest.raises(noisezoo.NoiseZooError, match=r"seed 0, not 7.*rebuild=\[noise\]"):
        writer.add_space(store, "noise", (4, 4, 4), ("c", "y", "x"), "float16", {"seed": 7})
    with pytest.raises(noisezoo.NoiseZooError, match="dtype float16, not float32"):
        writer.add_space(store, "noise", (4, 4, 4), ("c", "y", "x"), "float32", {"seed": 0})
    writer.remove_space(store, "noise")
    assert list(noisezoo.open(store.url).spaces) == ["code"]
    assert not store.exists(layout.ledger_path("noise"))


def test_a_torn_ledger_entry_counts_as_none(tmp_path: Path) -> None:
    store, _ = small_zoo(tmp_path / "zoo.zarr", rows=20)
    path = Path(store.path(layout.ledger_path("noise", 0)))
    path.write_bytes(path.read_bytes()[:50])
    assert ledger.read(store, "noise", 0) is None
    assert unfinished(noisezoo.open(store.url)["noise"]) == [0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is not a zoo"),
        (lambda path: (path.mkdir(), (path / "zarr.json").write_text("{]")), "is not a zoo"),
        (lambda path: zarr.create_group(str(path)), "not a zoo"),
        (lambda path: zarr.create_group(str(path), attributes={"noisezoo": {"format": 9}}), "format 9"),
    ],
)
def test_what_is_no_zoo_is_told_in_a_sentence(tmp_path: Path, make: object, message: str) -> None:
    make(tmp_path / "zoo.zarr")  # type: ignore[operator]
    with pytest.raises(noisezoo.NoiseZooError, match=message):
        noisezoo.open(str(tmp_path / "zoo.zarr"))


def test_a_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("a/b", b"old")
    (tmp_path / "a" / "ro").mkdir()
    with pytest.raises((noisezoo.NoiseZooError, OSError)):
        store.write("a/ro", b"new")  # a folder is in the way: the rename fails after the bytes were written
    assert store.files() == ["a/b"]
