"""Image shards: tars that any tool reads, with the same bytes every time, and records by which any row is found again."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from pipeline import shards
from pipeline.ingest import ingest
from pipeline.sources.folder import Folder
from tests.kit import lookalikes as like

ROWS, SHARD = 10, 4


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Ten images, the fourth broken, ingested in shards of four."""
    files = [(f"{i}.jpg", like.picture(i) if i != 3 else b"") for i in range(ROWS)]
    source = Folder(str(like.lay(tmp_path / "source", files)))
    ingest(source, str(tmp_path / "images"), shard_rows=SHARD, workers=1, max_broken_share=0.5)
    return tmp_path / "images"


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(max_size=1500), max_size=6))
def test_the_tar_is_what_the_standard_library_would_write(files: list[bytes]) -> None:
    ours, theirs = io.BytesIO(), io.BytesIO()
    writer = shards.TarWriter(ours)
    offsets = [writer.add(f"{i:09d}.jpg", data) for i, data in enumerate(files)]
    assert writer.finish() == len(ours.getvalue())
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for i, data in enumerate(files):
            info = tarfile.TarInfo(f"{i:09d}.jpg")
            info.size, info.mode = len(data), 0o444
            archive.addfile(info, io.BytesIO(data))
    assert ours.getvalue() == theirs.getvalue()[: len(ours.getvalue())]
    assert not any(theirs.getvalue()[len(ours.getvalue()) :])  # it pads to 10 KiB, which no reader needs
    assert [ours.getvalue()[at : at + len(data)] for at, data in zip(offsets, files, strict=True)] == files


def test_a_shard_is_read_in_order_with_the_reason_for_what_is_missing(images: Path) -> None:
    found = [list(shards.read(str(images), s)) for s in range(3)]
    assert [[p.row for p in shard] for shard in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [p.data for p in found[0]] == [like.picture(0), like.picture(1), like.picture(2), None]
    assert found[0][3].reason == "empty"
    assert found[2][1].data == like.picture(9)


def test_any_rows_are_picked_in_any_order(images: Path) -> None:
    found = list(shards.pick(str(images), [9, 0, 3, 4], SHARD))
    assert [p.row for p in found] == [9, 0, 3, 4]
    assert [p.data for p in found] == [like.picture(9), like.picture(0), None, like.picture(4)]


def test_webdataset_reads_the_shards_as_its_own(images: Path) -> None:
    wds = pytest.importorskip("webdataset")
    urls = sorted(str(path) for path in images.glob("*.tar"))
    samples = list(wds.WebDataset(urls, shardshuffle=False))
    assert [s["__key__"] for s in samples] == [f"{i:09d}" for i in range(ROWS) if i != 3]
    assert [s["jpg"] for s in samples] == [like.picture(i) for i in range(ROWS) if i != 3]


def test_members_are_named_by_the_sources_row_numbers(images: Path) -> None:
    with tarfile.open(images / "shard-000001.tar") as archive:
        assert archive.getnames() == ["000000004.jpg", "000000005.jpg", "000000006.jpg", "000000007.jpg"]


def test_a_damaged_tar_is_told_and_counts_as_missing_from_then_on(images: Path) -> None:
    path = images / "shard-000000.tar"
    data = bytearray(path.read_bytes())
    data[600] ^= 1  # inside the first image
    path.write_bytes(data)
    with pytest.raises(shards.DamagedError, match=r"shard-000000.tar .* is damaged: type the same command again"):
        list(shards.read(str(images), 0))
    assert shards.read_record(Store(str(images)), 0) is None
    with pytest.raises(NoiseZooError, match=r"Shard 0 .*`noisezoo ingest`"):
        list(shards.read(str(images), 0))


@pytest.mark.parametrize("spoil", ["shorten", "remove the tar", "remove the record"])
def test_a_missing_shard_is_told(images: Path, spoil: str) -> None:
    tar = images / "shard-000001.tar"
    if spoil == "shorten":
        tar.write_bytes(tar.read_bytes()[:-100])
    elif spoil == "remove the tar":
        tar.unlink()
    else:
        (images / "shard-000001.json").unlink()
    assert shards.read_record(Store(str(images)), 1) is None
    with pytest.raises(NoiseZooError, match=r"Shard 1 .*`noisezoo ingest`"):
        list(shards.read(str(images), 1))
