"""Ingest: what it leaves, that it leaves the same however it is run, and that it never lets rows slip against their images."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisezoo.errors import NoiseZooError
from pipeline import shards
from pipeline.ingest import duplicates, ingest, load
from pipeline.sources.afhq import AFHQ
from pipeline.sources.base import Index, Picture, Source
from pipeline.sources.celeba import CelebA
from pipeline.sources.folder import Folder
from pipeline.sources.selection import Selection
from pipeline.sources.tars import Tars
from pipeline.sources.toy import Toy
from tests.kit import lookalikes as like

SHARD = 8


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    return like.official_folder(tmp_path / "CelebA")


def image(root: Path, row: int) -> Path:
    return root / "Img" / "img_align_celeba" / like.KEYS[row]


def contents(folder: Path) -> dict[str, str]:
    """Every file with the digest of its bytes."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


class Unread:
    """A source whose images must not be read."""

    def __init__(self, source: Source) -> None:
        self.name, self.licence, self.homepage = source.name, source.licence, source.homepage
        self.images_may_be_published = source.images_may_be_published
        self.index = source.index

    def read(self, rows: Sequence[int]) -> Iterator[Picture]:
        raise AssertionError("read again")


def test_everything_is_there(tmp_path: Path, celeba: Path) -> None:
    seen: list[tuple[int, int]] = []
    done = ingest(
        CelebA(str(celeba)), str(tmp_path / "images"), shard_rows=SHARD, workers=1, progress=lambda *at: seen.append(at)
    )
    assert done.rows.tolist() == list(range(like.ROWS))
    assert done.index.digest() == CelebA(str(celeba)).index().digest()
    assert [d.tobytes() for d in done.sha256] == [hashlib.sha256(like.picture(i)).digest() for i in range(like.ROWS)]
    assert (done.invalid, done.duplicates) == ((), ())
    assert done.bytes == sum(len(like.picture(i)) for i in range(like.ROWS))
    assert done.source == {
        "name": "celeba",
        "licence": CelebA.licence,
        "homepage": CelebA.homepage,
        "images_may_be_published": False,
    }
    assert seen[-1] == (like.ROWS, like.ROWS)
    assert seen == sorted(seen)


def test_loaded_is_what_was_returned(tmp_path: Path, celeba: Path) -> None:
    done = ingest(
        CelebA(str(celeba)),
        str(tmp_path / "images"),
        shard_rows=SHARD,
        workers=1,
        selection=Selection(split="validation"),
    )
    again = load(str(tmp_path / "images"))
    assert again.selection == done.selection == Selection(split="validation")
    for name, values in done.index.extra.items():
        np.testing.assert_array_equal(again.index.extra[name], values)
        assert again.index.extra[name].dtype == values.dtype
    assert again.index.names == {"paper_split": ("train", "test")}
    np.testing.assert_array_equal(again.index.labels, like.LABELS[like.SPLIT == 1])


def test_two_processes_leave_what_one_leaves(tmp_path: Path, celeba: Path) -> None:
    ingest(CelebA(str(celeba)), str(tmp_path / "one"), shard_rows=SHARD, workers=1)
    ingest(CelebA(str(celeba)), str(tmp_path / "two"), shard_rows=SHARD, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("form", like.CELEBA)
def test_every_form_of_celeba_leaves_the_same_tars(tmp_path: Path, form: str) -> None:
    root = like.CELEBA[form](tmp_path / "source")
    ingest(CelebA(str(root)), str(tmp_path / "images"), shard_rows=SHARD, workers=1)
    ingest(CelebA(str(like.official_zip(tmp_path / "other"))), str(tmp_path / "others"), shard_rows=SHARD, workers=1)
    tars = [{k: v for k, v in contents(tmp_path / f).items() if k.endswith(".tar")} for f in ("images", "others")]
    assert tars[0] == tars[1]


def test_a_second_call_reads_nothing(tmp_path: Path) -> None:
    root = str(tmp_path / "images")
    ingest(Toy(size=20), root, shard_rows=SHARD, workers=1)
    before = contents(tmp_path / "images")
    assert len(ingest(Unread(Toy(size=20)), root, shard_rows=SHARD, workers=1).rows) == 20
    assert contents(tmp_path / "images") == before


def test_it_goes_on_where_it_stopped(tmp_path: Path, celeba: Path) -> None:
    ingest(CelebA(str(celeba)), str(tmp_path / "whole"), shard_rows=SHARD, workers=1)
    ingest(CelebA(str(celeba)), str(tmp_path / "part"), shard_rows=SHARD, workers=1)
    part = tmp_path / "part"
    for name in ("ingest.json", "digests.npy", "shard-000002.json", "shard-000004.tar"):
        (part / name).unlink()
    (part / "shard-000002.tar.0123abcd.part").write_bytes(b"half")
    untouched = (part / "shard-000000.tar").stat().st_mtime_ns
    seen: list[int] = []
    ingest(CelebA(str(celeba)), str(part), shard_rows=SHARD, workers=1, progress=lambda done, _: seen.append(done))
    assert contents(part) == contents(tmp_path / "whole")
    assert (part / "shard-000000.tar").stat().st_mtime_ns == untouched
    assert seen == [like.ROWS - SHARD, like.ROWS]


def test_object_stores_hold_the_same(tmp_path: Path, celeba: Path) -> None:
    import fsspec

    ingest(CelebA(str(celeba)), str(tmp_path / "images"), shard_rows=SHARD, workers=1)
    url = f"memory://{tmp_path.name}/images"
    done = ingest(CelebA(str(celeba)), url, shard_rows=SHARD, workers=1)
    fs = fsspec.filesystem("memory")
    held = {
        path.rsplit("/", 1)[1]: hashlib.sha256(fs.cat(path)).hexdigest()
        for path in fs.ls(f"/{tmp_path.name}/images", detail=False)
    }
    assert held == contents(tmp_path / "images")
    assert [p.data for p in shards.read(url, 1)] == [like.picture(i) for i in range(SHARD, 2 * SHARD)]
    assert load(url).index.keys == done.index.keys


# Selections


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(split="validation"), np.flatnonzero(like.SPLIT == 1)),
        (Selection(rows="10:20"), np.arange(10, 20)),
        (Selection(rows="45:"), np.arange(45, like.ROWS)),
        (Selection(rows=":3"), np.arange(3)),
        (Selection(limit=5), np.arange(5)),
        (Selection(where={"Male": 1}), np.flatnonzero(like.LABELS[:, 20] == 1)),
        (Selection(split="train", where={"Male": 0, "Smiling": 1}, rows="5:", limit=3), None),
    ],
)
def test_a_selection_keeps_the_sources_row_numbers(
    tmp_path: Path, celeba: Path, selection: Selection, expected: np.ndarray | None
) -> None:
    if expected is None:
        keep = (like.SPLIT == 0) & (like.LABELS[:, 20] == 0) & (like.LABELS[:, 31] == 1) & (np.arange(like.ROWS) >= 5)
        expected = np.flatnonzero(keep)[:3]
    done = ingest(CelebA(str(celeba)), str(tmp_path / "images"), selection=selection, shard_rows=4, workers=1)
    assert done.rows.tolist() == expected.tolist()
    assert done.index.keys == tuple(like.KEYS[i] for i in expected)
    found = list(shards.read(str(tmp_path / "images"), 0))
    assert [p.row for p in found] == expected[:4].tolist()
    assert [p.data for p in found] == [like.picture(i) for i in expected[:4]]
    assert json.loads((tmp_path / "images" / "ingest.json").read_text())["selection"] == selection.facts()


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(split="valid"), "did you mean 'validation'"),
        (Selection(where={"male": 1}), "did you mean 'Male'"),
        (Selection(rows="20-30"), "dataset.rows=1000:2000"),
        (Selection(rows="30:20"), "holds no rows"),
        (Selection(rows="900:"), "rows 0 to 50"),
        (Selection(limit=0), "dataset.limit=null"),
        (Selection(split="test", rows=":10"), "split=test, rows=:10"),
    ],
)
def test_an_empty_or_unknown_selection_is_told(celeba: Path, selection: Selection, words: str) -> None:
    with pytest.raises(NoiseZooError) as told:
        selection.of(CelebA(str(celeba)).index())
    assert words in str(told.value)


@given(st.integers(1, 60), st.integers(0, 70), st.integers(0, 70), st.none() | st.integers(1, 70))
def test_ranges_are_pythons(rows: int, first: int, past: int, limit: int | None) -> None:
    index = Index(tuple(str(i) for i in range(rows)))
    expected = list(range(rows))[first:past][:limit]
    selection = Selection(rows=f"{first}:{past}", limit=limit)
    if expected:
        assert selection.of(index).tolist() == expected
    else:
        with pytest.raises(NoiseZooError):
            selection.of(index)


# Duplicates


def test_exact_duplicates_are_listed_and_kept(tmp_path: Path) -> None:
    files = [(f"{i}.jpg", like.picture(i % 4 if i != 6 else 9)) for i in range(9)]
    done = ingest(
        Folder(str(like.lay(tmp_path / "source", files))), str(tmp_path / "images"), shard_rows=SHARD, workers=1
    )
    assert done.duplicates == ((0, 4, 8), (1, 5), (3, 7))
    assert len(done.rows) == 9


@given(st.lists(st.integers(0, 5), max_size=40))
def test_duplicates_are_the_classes_of_equal_digests(values: list[int]) -> None:
    digests = np.zeros((len(values), 32), np.uint8)
    digests[:, 0] = values
    groups = duplicates(digests)
    assert groups == sorted(
        [i for i, v in enumerate(values) if v == w] for w in set(values) if w and values.count(w) > 1
    )


def test_a_lost_shard_is_brought_back(tmp_path: Path, celeba: Path) -> None:
    ingest(CelebA(str(celeba)), str(tmp_path / "images"), shard_rows=SHARD, workers=1)
    before = contents(tmp_path / "images")
    (tmp_path / "images" / "shard-000001.tar").unlink()
    ingest(CelebA(str(celeba)), str(tmp_path / "images"), shard_rows=SHARD, workers=1)
    assert contents(tmp_path / "images") == before


# Sources that change


def test_a_changed_table_is_told_in_numbers(tmp_path: Path) -> None:
    files = [(f"{kind}/{i}.jpg", like.picture(i)) for kind in "ab" for i in range(5)]
    root = like.lay(tmp_path / "source", files)
    ingest(Folder(str(root)), str(tmp_path / "images"), shard_rows=SHARD, workers=1)
    before = contents(tmp_path / "images")
    (root / "a" / "0.jpg").unlink()
    (root / "a" / "1.jpg").rename(root / "b" / "7.jpg")
    (root / "b" / "8.jpg").write_bytes(like.picture(8))
    with pytest.raises(NoiseZooError, match="2 rows added, 2 missing, 8 different"):
        ingest(Folder(str(root)), str(tmp_path / "images"), shard_rows=SHARD, workers=1)
    assert contents(tmp_path / "images") == before


@pytest.mark.parametrize("finished", [True, False])
def test_an_exchanged_image_is_noticed(tmp_path: Path, celeba: Path, finished: bool) -> None:
    images = tmp_path / "images"
    ingest(CelebA(str(celeba)), str(images), shard_rows=SHARD, workers=1)
    if not finished:
        (images / "ingest.json").unlink()
        (images / "shard-000003.json").unlink()
    image(celeba, 2).write_bytes(like.picture(999))
    with pytest.raises(NoiseZooError, match=r"0 rows added, 0 missing, 1 different .such as 000003\.jpg"):
        ingest(CelebA(str(celeba)), str(images), shard_rows=SHARD, workers=1)


def test_an_image_that_went_away_is_noticed(tmp_path: Path, celeba: Path) -> None:
    ingest(CelebA(str(celeba)), str(tmp_path / "images"), shard_rows=SHARD, workers=1)
    image(celeba, 2).unlink()
    with pytest.raises(NoiseZooError, match="1 different"):
        ingest(CelebA(str(celeba)), str(tmp_path / "images"), shard_rows=SHARD, workers=1)


def test_new_times_alone_change_nothing(tmp_path: Path, celeba: Path) -> None:
    ingest(CelebA(str(celeba)), str(tmp_path / "images"), shard_rows=SHARD, workers=1)
    os.utime(image(celeba, 2), (1, 1))
    for _ in range(2):
        assert not ingest(CelebA(str(celeba)), str(tmp_path / "images"), shard_rows=SHARD, workers=1).invalid


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"selection": Selection(split="test")}, "split=test"),
        ({"shard_rows": 4}, "shard_rows"),
        ({"copy": False}, "ingest.copy"),
    ],
)
def test_another_plan_for_the_same_folder_is_refused(
    tmp_path: Path, celeba: Path, changed: dict[str, object], word: str
) -> None:
    options: dict[str, object] = {"selection": Selection(split="train"), "shard_rows": SHARD, "workers": 1}
    ingest(CelebA(str(celeba)), str(tmp_path / "images"), **options)  # type: ignore[arg-type]
    with pytest.raises(NoiseZooError, match=r"dir=") as told:
        ingest(CelebA(str(celeba)), str(tmp_path / "images"), **{**options, **changed})  # type: ignore[arg-type]
    assert word in str(told.value)


# Broken images


def test_too_many_broken_images_stop_it_and_mending_them_lets_it_go_on(tmp_path: Path, celeba: Path) -> None:
    for row in (4, 30):
        image(celeba, row).write_bytes(b"")
    with pytest.raises(
        NoiseZooError, match=r"2 of the 32 read so far.*2 × empty; first: 000005.jpg, 000031.jpg.*max_broken_share"
    ):
        ingest(CelebA(str(celeba)), str(tmp_path / "images"), shard_rows=SHARD, workers=1, max_broken_share=0.02)
    with pytest.raises(NoiseZooError, match="no finished ingest"):
        load(str(tmp_path / "images"))
    for row in (4, 30):
        image(celeba, row).write_bytes(like.picture(row))
    done = ingest(CelebA(str(celeba)), str(tmp_path / "images"), shard_rows=SHARD, workers=1, max_broken_share=0.02)
    assert not done.invalid
    assert [p.data for p in shards.pick(str(tmp_path / "images"), [4, 30], SHARD)] == [
        like.picture(4),
        like.picture(30),
    ]


def test_a_set_share_of_broken_images_is_allowed(tmp_path: Path, celeba: Path) -> None:
    image(celeba, 4).write_bytes(b"")
    done = ingest(CelebA(str(celeba)), str(tmp_path / "images"), shard_rows=SHARD, workers=2, max_broken_share=0.02)
    (invalid,) = done.invalid
    assert (invalid.position, invalid.row, invalid.key, invalid.reason) == (4, 4, "000005.jpg", "empty")
    assert not done.sha256[4].any()


def test_a_hopeless_source_is_given_up_early(tmp_path: Path) -> None:
    files = [(f"{i:03d}.jpg", b"") for i in range(400)]
    source = Folder(str(like.lay(tmp_path / "source", files)))
    with pytest.raises(NoiseZooError, match="Too many images are broken"):
        ingest(source, str(tmp_path / "images"), shard_rows=10, workers=1)
    assert len(list((tmp_path / "images").glob("shard-*.json"))) < 5


# References instead of copies


def referenced(kind: str, tmp_path: Path) -> tuple[Source, list[bytes]]:
    if kind == "folder":
        return CelebA(str(like.official_folder(tmp_path / "source"))), [like.picture(i) for i in range(like.ROWS)]
    if kind == "zip":
        return CelebA(str(like.official_zip(tmp_path / "source"))), [like.picture(i) for i in range(like.ROWS)]
    if kind == "deflated zip":
        files = like.afhq(tmp_path)
        return AFHQ(str(like.pack_zip(tmp_path / "afhq.zip", files))), [data for _, data in files]
    like.pack_tar(tmp_path / "a.tar", like.web_samples(0, 20))
    return Tars(str(tmp_path / "a.tar")), [like.picture(i) for i in range(20)]


@pytest.mark.parametrize("kind", ["folder", "zip", "deflated zip", "tar"])
def test_images_can_stay_where_they_are(tmp_path: Path, kind: str) -> None:
    source, images = referenced(kind, tmp_path)
    root = str(tmp_path / "images")
    done = ingest(source, root, shard_rows=SHARD, workers=1, copy=False)
    assert not list((tmp_path / "images").glob("*.tar"))
    found = [p.data for s in range(-(-len(images) // SHARD)) for p in shards.read(root, s)]
    assert found == images
    assert [d.tobytes() for d in done.sha256] == [hashlib.sha256(data).digest() for data in images]
    assert [p.data for p in shards.pick(root, [9, 2], SHARD)] == [images[9], images[2]]


def test_a_referenced_image_that_changes_is_not_read_as_if_it_had_not(tmp_path: Path, celeba: Path) -> None:
    ingest(CelebA(str(celeba)), str(tmp_path / "images"), shard_rows=SHARD, workers=1, copy=False)
    image(celeba, 1).write_bytes(like.picture(77))
    image(celeba, 2).unlink()
    found = list(shards.read(str(tmp_path / "images"), 0))
    assert [p.data is None for p in found[:4]] == [False, True, True, False]
    assert [p.reason for p in found[1:3]] == [
        "no longer what was ingested: its sha256 differs",
        "no longer what was ingested: no such file",
    ]


def test_images_that_are_drawn_cannot_be_referenced(tmp_path: Path) -> None:
    with pytest.raises(NoiseZooError, match=r"ingest\.copy=true"):
        ingest(Toy(size=5), str(tmp_path / "images"), copy=False)


def test_a_zip_that_changes_is_noticed(tmp_path: Path) -> None:
    root = like.official_zip(tmp_path / "source")
    ingest(CelebA(str(root)), str(tmp_path / "images"), shard_rows=SHARD, workers=1)
    path = root / "Img" / "img_align_celeba.zip"
    path.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        for i, key in enumerate(like.KEYS):
            archive.writestr(key, like.picture(i if i != 7 else 70))
    with pytest.raises(NoiseZooError, match=r"1 different .such as 000008\.jpg"):
        ingest(CelebA(str(root)), str(tmp_path / "images"), shard_rows=SHARD, workers=1)
