"""AFHQ, numbered folders, any folder, tars, hub data sets, the toy world: rows, order, splits, labels, and what is refused."""

from __future__ import annotations

import functools
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from noisezoo.errors import NoiseZooError
from pipeline.sources.afhq import AFHQ
from pipeline.sources.base import Source
from pipeline.sources.celeba import ATTRIBUTES
from pipeline.sources.folder import Folder
from pipeline.sources.hub import Hub
from pipeline.sources.numbered import FFHQ, CelebAHQ
from pipeline.sources.tars import Tars
from pipeline.sources.toy import Toy, ToyAnimals
from pipeline.toy import HELD_OUT, faces, truth
from tests.kit import lookalikes as like


def told(make: Callable[[], Source]) -> str:
    """The one sentence by which a source is refused."""
    with pytest.raises(NoiseZooError) as error:
        make().index()
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message


# AFHQ


@pytest.mark.parametrize("version", [1, 2])
def test_afhq_as_folder_and_as_zip_is_the_same(tmp_path: Path, version: int) -> None:
    files = like.afhq(tmp_path, version)
    forms = [
        AFHQ(str(like.lay(tmp_path / "bare", files))),
        AFHQ(str(like.lay(tmp_path / "nested" / "afhq", files).parent)),
        AFHQ(str(like.pack_zip(tmp_path / "afhq.zip", files[::-1]))),
        AFHQ(str(like.pack_zip(tmp_path / "afhq_v2.zip", files, "afhq/"))),
    ]
    assert len({form.index().digest() for form in forms}) == 1
    index = forms[0].index()
    assert index.attributes == ("cat", "dog", "wild")
    assert index.splits == ("train", "test")
    np.testing.assert_array_equal(index.split, [0] * 9 + [1] * 9)
    np.testing.assert_array_equal(index.labels.argmax(1), np.tile(np.repeat([0, 1, 2], 3), 2))
    assert (index.labels.sum(1) == 1).all()
    for form in forms:
        assert [p.data for p in form.read(range(18))] == [data for _, data in files]


def test_a_folder_inside_afhq_is_told_its_root(tmp_path: Path) -> None:
    root = like.lay(tmp_path / "afhq", like.afhq(tmp_path))
    assert f"dataset.root={root}." in told(lambda: AFHQ(str(root / "train" / "cat")))


def test_a_folder_with_the_zip_in_it_is_told_the_zip(tmp_path: Path) -> None:
    like.pack_zip(tmp_path / "afhq_v2.zip", like.afhq(tmp_path))
    assert f"dataset.root={tmp_path / 'afhq_v2.zip'}." in told(lambda: AFHQ(str(tmp_path)))


def test_two_afhqs_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    like.lay(tmp_path / "afhq", like.afhq(tmp_path, 1))
    like.lay(tmp_path / "afhq_v2", like.afhq(tmp_path, 2))
    assert "more than one" in told(lambda: AFHQ(str(tmp_path)))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\3\4" + b"\0" * 500, "cut off"),
        (b"", "not a zip"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
    ],
)
def test_what_is_no_zip_is_told_what_it_is(tmp_path: Path, data: bytes, word: str) -> None:
    (tmp_path / "afhq.zip").write_bytes(data)
    message = told(lambda: AFHQ(str(tmp_path / "afhq.zip")))
    assert word in message
    assert "afhq.zip" in message


# Numbered folders


def test_ffhq_rows_are_the_numbers(tmp_path: Path) -> None:
    like.lay(
        tmp_path, [(f"images1024x1024/0{n // 3}000/{n:05d}.png", like.picture(n, kind="PNG")) for n in (5, 0, 1, 3, 4)]
    )
    index = FFHQ(str(tmp_path)).index()
    assert index.keys == tuple(f"{n:05d}.png" for n in range(6))
    found = list(FFHQ(str(tmp_path)).read(range(6)))
    assert [p.data is None for p in found] == [False, False, True, False, False, False]
    assert found[2].reason == "no such file"
    assert found[5].data == like.picture(5, kind="PNG")


def test_ffhq_in_two_sizes_is_refused(tmp_path: Path) -> None:
    like.lay(tmp_path, [("images1024x1024/00000.png", b"a"), ("thumbnails128x128/00000.png", b"b")])
    message = told(lambda: FFHQ(str(tmp_path)))
    assert "thumbnails128x128" in message


def test_ffhq_splits_at_sixty_thousand(tmp_path: Path) -> None:
    like.lay(tmp_path, [(f"{n:05d}.png", b"") for n in (0, 59_999, 60_000)])
    index = FFHQ(str(tmp_path)).index()
    assert [index.splits[s] for s in index.split[[0, 59_999, 60_000]]] == ["train", "train", "validation"]


def test_celebahq_with_masks_tables_has_celebas_splits_and_attributes(tmp_path: Path) -> None:
    rows = 12
    labels = np.random.RandomState(0).randint(0, 2, (rows, 40))
    original = [0, 162_769, 162_770, 182_636, 182_637, 202_598, 5, 6, 7, 8, 9, 10]
    like.lay(tmp_path, [(f"CelebA-HQ-img/{n}.jpg", like.picture(n)) for n in range(rows)])
    like.lay(tmp_path, [("CelebAMask-HQ-mask-anno/0/00000_hair.png", b"mask")])
    lines = [f"{n}.jpg" + "".join(f"  {2 * v - 1:2d}" for v in labels[n]) for n in range(rows)]
    (tmp_path / "CelebAMask-HQ-attribute-anno.txt").write_bytes(like.text(str(rows), " ".join(ATTRIBUTES), *lines))
    pairs = [f"{n:<10d}{o:<10d}{o + 1:06d}.jpg" for n, o in enumerate(original)]
    (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").write_bytes(like.text("idx orig_idx   orig_file", *pairs))
    index = CelebAHQ(str(tmp_path)).index()
    assert index.keys[10] == "10.jpg"
    np.testing.assert_array_equal(index.labels, labels)
    np.testing.assert_array_equal(index.split, [0, 0, 1, 1, 2, 2, *[0] * 6])
    assert [p.data for p in CelebAHQ(str(tmp_path)).read([2, 10])] == [like.picture(2), like.picture(10)]


def test_celebahq_of_stargan_has_its_splits_and_male(tmp_path: Path) -> None:
    names = ["train/female/000000.jpg", "train/male/000001.jpg", "val/male/000003.jpg", "val/female/000002.jpg"]
    index = CelebAHQ(str(like.lay(tmp_path, [(n, like.picture(0)) for n in names]))).index()
    assert index.attributes == ("Male",)
    assert index.labels[:, 0].tolist() == [0, 1, 0, 1]
    assert [index.splits[s] for s in index.split] == ["train", "train", "validation", "validation"]


# Any folder


def test_class_folders_are_labels(tmp_path: Path) -> None:
    names = ["b/1.jpg", "a/x/2.PNG", "a/1.jpg", "loose.webp", "a/notes.txt", ".hidden/1.jpg", "b/.DS_Store"]
    index = Folder(str(like.lay(tmp_path, [(n, b"x") for n in names]))).index()
    assert index.keys == ("a/1.jpg", "a/x/2.PNG", "b/1.jpg", "loose.webp")
    assert index.attributes == ("a", "b")
    assert index.labels.tolist() == [[1, 0], [1, 0], [0, 1], [-1, -1]]
    assert index.splits == ()


def test_split_folders_are_splits_and_the_next_is_the_class(tmp_path: Path) -> None:
    names = ["train/a/1.jpg", "valid/b/1.jpg", "test/a/1.jpg", "test/2.jpg"]
    index = Folder(str(like.lay(tmp_path, [(n, b"x") for n in names]))).index()
    assert index.splits == ("train", "validation", "test")
    assert [index.splits[s] for s in index.split] == ["test", "test", "train", "validation"]
    assert index.labels.tolist() == [[-1, -1], [1, 0], [1, 0], [0, 1]]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_a_table_says_rows_and_labels(tmp_path: Path, kind: str) -> None:
    like.lay(tmp_path, [(f"images/{n}.jpg", like.picture(n)) for n in range(4)])
    table = pa.table(
        {
            "file_name": ["images/2.jpg", "images/0.jpg", "images/9.jpg"],
            "smiling": [1, -1, 1],
            "age": [30, None, 61],
            "kind": ["cat", "dog", None],
            "split": ["val", "train", "train"],
        }
    )
    path = tmp_path / f"labels.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        comma = "," if kind == "csv" else "\t"
        lines = [comma.join("" if v is None else str(v) for v in row.values()) for row in table.to_pylist()]
        path.write_bytes(like.text(comma.join(table.column_names), *lines, end="\r\n", bom=True))
    source = Folder(str(tmp_path), labels=path.name)
    index = source.index()
    assert index.keys == ("images/2.jpg", "images/0.jpg", "images/9.jpg")
    assert index.attributes == ("smiling", "age", "cat", "dog") if kind == "parquet" else True
    assert index.labels[:, :2].tolist() == [[1, 30], [0, -1], [1, 61]]
    assert [index.splits[s] for s in index.split] == ["validation", "train", "train"]
    found = list(source.read(range(3)))
    assert found[0].data == like.picture(2)
    assert found[2].reason == "no such file"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": "labels.csv"}, ("labels.csv", "dataset.labels=")),
        ({"labels": "table.csv", "file_column": "pth"}, ("pth", "did you mean 'path'")),
        ({"labels": "table.csv", "label_columns": ["colour"]}, ("colour",)),
        ({"labels": "table.csv", "label_columns": ["weight"]}, ("weight", "label_columns")),
        ({"labels": "page.csv"}, ("page.csv", "HTML")),
    ],
)
def test_a_table_that_does_not_fit_is_told(tmp_path: Path, options: dict[str, object], words: tuple[str, ...]) -> None:
    (tmp_path / "table.csv").write_text("path,weight\na.jpg,1.5\n")
    (tmp_path / "page.csv").write_text("<!DOCTYPE html><html>")
    message = told(lambda: Folder(str(tmp_path), **options))  # type: ignore[arg-type]
    assert all(word in message for word in words), message


def test_a_folder_without_images_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert "no image" in told(lambda: Folder(str(tmp_path)))
    assert "dataset.root=" in told(lambda: Folder(str(tmp_path / "nowhere")))


# Tars


def test_tars_are_read_in_order_with_their_classes(tmp_path: Path) -> None:
    for t in range(3):
        like.pack_tar(tmp_path / f"data-{t:03d}.tar", like.web_samples(t * 4, 4))
    one = Tars(str(tmp_path / "*.tar"), json_labels=["smiling"])
    two = Tars(str(tmp_path / "data-{000..002}.tar"), json_labels=["smiling"])
    index = one.index()
    assert index.digest() == two.index().digest()
    assert index.keys[5] == "data-001.tar/000005.jpg"
    assert index.attributes == ("0", "1", "2", "smiling")
    assert index.labels[5].tolist() == [0, 0, 1, 1]
    assert [p.data for p in one.read([0, 5, 11])] == [like.picture(i) for i in (0, 5, 11)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server of tmp_path/web."""
    (tmp_path / "web").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_tars_at_a_url_are_fetched_once(tmp_path: Path, server: str) -> None:
    tar = like.pack_tar(tmp_path / "web" / "a.tar", like.web_samples(0, 4))
    source = Tars(f"{server}/a.tar", cache=str(tmp_path / "cache"))
    assert source.index().keys[1] == "a.tar/000001.jpg"
    tar.unlink()
    again = Tars(f"{server}/a.tar", cache=str(tmp_path / "cache"))
    assert [p.data for p in again.read([2])] == [like.picture(2)]
    assert "gone.tar" in told(lambda: Tars(f"{server}/gone.tar", cache=str(tmp_path / "cache")))


def test_what_is_no_tar_is_told(tmp_path: Path) -> None:
    whole = like.pack_tar(tmp_path / "a.tar", like.web_samples(0, 3)).read_bytes()
    end = len(whole.rstrip(b"\0"))
    for length in (700, 1700, end - 100, -(-end // 512) * 512):
        cut = tmp_path / "cut.tar"
        cut.write_bytes(whole[:length])
        assert "cut off" in told(functools.partial(Tars, str(cut)))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.tar", "a.tar")
    assert "gunzip" in told(lambda: Tars(str(tmp_path / "a.tar.gz")))
    (tmp_path / "page.tar").write_bytes(b"<html>")
    assert "web page" in told(lambda: Tars(str(tmp_path / "page.tar")))
    assert "No file fits" in told(lambda: Tars(str(tmp_path / "b*.tar")))
    assert "nowhere.tar" in told(lambda: Tars(str(tmp_path / "nowhere.tar")))
    like.pack_tar(tmp_path / "texts.tar", [("a.txt", b"x")])
    assert "no image" in told(lambda: Tars(str(tmp_path / "texts.tar")))


# The hub


def hub_folder(root: Path) -> Path:
    """A data set with class labels, a truth value and a string, in two splits."""
    import datasets

    features = datasets.Features(
        img=datasets.Image(),
        kind=datasets.ClassLabel(names=["cat", "dog"]),
        indoors=datasets.Value("bool"),
        caption=datasets.Value("string"),
    )
    (root / "data").mkdir(parents=True)
    for split, rows in (("train", range(10)), ("test", range(10, 15))):
        columns = {
            "img": [{"bytes": like.picture(i), "path": None} for i in rows],
            "kind": [i % 2 for i in rows],
            "indoors": [i % 3 == 0 for i in rows],
            "caption": ["a picture"] * len(rows),
        }
        datasets.Dataset.from_dict(columns, features).to_parquet(root / "data" / f"{split}-00000-of-00001.parquet")
    return root


def test_a_hub_data_set_gives_its_class_labels_and_named_columns(tmp_path: Path) -> None:
    root = str(hub_folder(tmp_path))
    index = Hub(root).index()
    assert index.attributes == ("cat", "dog")
    assert index.labels[:3].tolist() == [[1, 0], [0, 1], [1, 0]]
    assert index.splits == ("train", "test")
    assert index.split.tolist() == [0] * 10 + [1] * 5
    assert Hub(root, labels=["indoors"]).index().labels[:4, 0].tolist() == [1, 0, 0, 1]
    assert [p.data for p in Hub(root, image="img").read([0, 9, 10, 14, 3])] == [
        like.picture(i) for i in (0, 9, 10, 14, 3)
    ]


def test_an_image_folder_of_the_hub_is_read_too(tmp_path: Path) -> None:
    files = [
        (f"{split}/{kind}/{i}.jpg", like.picture(i))
        for split in ("train", "test")
        for kind in ("cat", "dog")
        for i in range(2)
    ]
    source = Hub(str(like.lay(tmp_path / "set", files)))
    index = source.index()
    assert index.attributes == ("cat", "dog")
    assert index.splits == ("train", "test")
    assert sorted(p.data or b"" for p in source.read(range(4))) == sorted(data for _, data in files[:4])


def test_a_table_cannot_name_files_outside_the_data_set(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(like.picture(1))
    (tmp_path / "set").mkdir()
    paths = [str(tmp_path / "secret.jpg"), "../secret.jpg", None]
    column = pa.array(
        [{"bytes": None, "path": path} for path in paths], pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    meta = {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})}
    pq.write_table(pa.table({"image": column}).replace_schema_metadata(meta), tmp_path / "set" / "train.parquet")
    found = list(Hub(str(tmp_path / "set")).read(range(3)))
    assert [p.data for p in found] == [None, None, None]
    assert [p.reason for p in found] == [
        "a name outside the folder",
        "a name outside the folder",
        "no image in this row",
    ]


def test_a_hub_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    root = str(hub_folder(tmp_path))
    assert "did you mean 'kind'" in told(lambda: Hub(root, labels=["kin"]))
    assert "no column 'image'" in told(lambda: Hub(root, image="image"))
    assert "nowhere" in told(lambda: Hub(str(tmp_path / "nowhere")))


# The toy world


def test_toy_rows_are_held_out_faces_with_their_truth() -> None:
    source = Toy(size=50, seed=3)
    index = source.index()
    rows = np.arange(HELD_OUT, HELD_OUT + 50)
    np.testing.assert_array_equal(index.extra["truth"], truth.latents(3, rows))
    np.testing.assert_array_equal(index.labels, truth.labels(index.extra["truth"]))
    assert index.split.tolist() == [0] * 40 + [1] * 10
    (found,) = source.read([7])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found.data or b""))), faces.render(3, rows[7:8])[0])


@pytest.mark.parametrize("make", [Toy, ToyAnimals])
def test_toy_images_do_not_depend_on_which_others_are_asked_for(make: type[Toy | ToyAnimals]) -> None:
    many = [p.data for p in make(size=90).read(range(90))]
    assert [p.data for p in make(size=90).read([0, 5, 70, 89])] == [many[i] for i in (0, 5, 70, 89)]


def test_toy_animals_have_one_species_each() -> None:
    index = ToyAnimals(size=60).index()
    assert index.attributes == ("cat", "dog", "wild")
    assert (index.labels.sum(1) == 1).all()
    assert (index.labels.sum(0) > 5).all()
