"""CelebA: whatever form it was downloaded in, the same rows, splits, labels and images come out, in the same order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from noisezoo.errors import NoiseZooError
from pipeline.sources.base import places_of
from pipeline.sources.celeba import ATTRIBUTES, CelebA, paper_split
from tests.kit import lookalikes as like

PAPER_ROWS = 19_867


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in like.CELEBA.items()}


@pytest.mark.parametrize("form", like.CELEBA)
def test_every_form_gives_the_same_rows(forms: dict[str, Path], form: str) -> None:
    index = CelebA(str(forms[form])).index()
    assert index.digest() == CelebA(str(forms["official_zip"])).index().digest()
    assert index.keys == tuple(like.KEYS)
    assert index.attributes == ATTRIBUTES
    np.testing.assert_array_equal(index.labels, like.LABELS)
    assert index.splits == ("train", "validation", "test")
    np.testing.assert_array_equal(index.split, like.SPLIT)


@pytest.mark.parametrize("form", like.CELEBA)
def test_every_form_gives_the_same_images(forms: dict[str, Path], form: str) -> None:
    rows = [0, 3, like.TRAIN - 1, like.TRAIN, like.ROWS - 1]
    found = list(CelebA(str(forms[form])).read(rows))
    assert [p.row for p in found] == rows
    assert [p.data for p in found] == [like.picture(row) for row in rows]


@pytest.mark.parametrize("form", like.CELEBA)
def test_what_the_form_has_beyond_labels_is_kept(forms: dict[str, Path], form: str) -> None:
    extra = CelebA(str(forms[form])).index().extra
    if form != "kaggle":
        np.testing.assert_array_equal(extra["identity"], like.IDENTITY)
    if form != "hub":
        np.testing.assert_array_equal(extra["landmarks"], like.LANDMARKS.reshape(-1, 5, 2))


def test_a_changed_label_split_or_key_changes_the_digest(tmp_path: Path) -> None:
    root = like.official_folder(tmp_path)
    digests = {CelebA(str(root)).index().digest()}
    attributes, partition = root / "Anno" / "list_attr_celeba.txt", root / "Eval" / "list_eval_partition.txt"
    whole = attributes.read_bytes()
    row = b"000007.jpg" + b"".join(b" -1" if v == 0 else b"  1" for v in like.LABELS[6])
    flipped = row[:-2] + (b" 1" if row.endswith(b"-1") else b"-1")
    assert row in whole
    attributes.write_bytes(whole.replace(row, flipped))
    digests.add(CelebA(str(root)).index().digest())
    attributes.write_bytes(whole)
    partition.write_bytes(partition.read_bytes().replace(b"000026.jpg 1", b"000026.jpg 0"))
    digests.add(CelebA(str(root)).index().digest())
    assert len(digests) == 3


def test_only_the_parquet_form_cannot_be_referenced(forms: dict[str, Path]) -> None:
    for name, root in forms.items():
        assert (places_of(CelebA(str(root)), [0]) is None) == (name == "hub")


def test_unsorted_tables_are_put_in_order(tmp_path: Path) -> None:
    root = like.official_folder(tmp_path)
    path = root / "Anno" / "list_attr_celeba.txt"
    count, header, *lines = path.read_bytes().decode("utf-8-sig").splitlines()
    path.write_text("\n".join([count, header, *reversed(lines)]))
    assert CelebA(str(root)).index().keys == tuple(like.KEYS)


def test_the_papers_division_is_the_authors_shuffle() -> None:
    # What the authors' notebook does: seed NumPy's global generator, shuffle, cut.
    order = np.arange(PAPER_ROWS)
    state = np.random.get_state()
    try:
        np.random.seed(42)
        np.random.shuffle(order)
    finally:
        np.random.set_state(state)
    split = paper_split(PAPER_ROWS)
    assert (np.count_nonzero(split == 0), np.count_nonzero(split == 1)) == (15_893, 3_974)
    np.testing.assert_array_equal(np.flatnonzero(split == 0), np.sort(order[:15_893]))
    np.testing.assert_array_equal(np.flatnonzero(split == 1), np.sort(order[15_893:]))


def test_scikit_learn_makes_the_same_shuffle_but_cuts_the_other_end() -> None:
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(np.arange(PAPER_ROWS), test_size=0.2, random_state=42)
    order = np.random.RandomState(42).permutation(PAPER_ROWS)
    np.testing.assert_array_equal(test, order[:3_974])
    np.testing.assert_array_equal(train, order[3_974:])
    assert len(np.intersect1d(test, np.flatnonzero(paper_split(PAPER_ROWS) == 1))) == 0


def test_the_papers_division_lies_within_the_validation_split(forms: dict[str, Path]) -> None:
    index = CelebA(str(forms["hub"])).index()
    paper = index.extra["paper_split"]
    assert index.names["paper_split"] == ("train", "test")
    assert (paper[index.split != 1] == -1).all()
    np.testing.assert_array_equal(paper[index.split == 1], paper_split(like.VALIDATION))


def _without(name: str) -> Callable[[Path], Path]:
    def spoil(root: Path) -> Path:
        next(root.rglob(name)).unlink()
        return root

    return spoil


def _short(name: str, lines: int = 1) -> Callable[[Path], Path]:
    def spoil(root: Path) -> Path:
        path = next(root.rglob(name))
        path.write_bytes(b"\r\n".join(path.read_bytes().rstrip().split(b"\r\n")[:-lines]) + b"\r\n")
        return root

    return spoil


def _cut(name: str, share: float = 0.7) -> Callable[[Path], Path]:
    def spoil(root: Path) -> Path:
        path = next(root.rglob(name))
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        return root

    return spoil


def _html(name: str) -> Callable[[Path], Path]:
    def spoil(root: Path) -> Path:
        next(root.rglob(name)).write_bytes(
            b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title>"
        )
        return root

    return spoil


def _emptied(root: Path) -> Path:
    for path in (root / "Img" / "img_align_celeba").iterdir():
        path.unlink()
    return root


WRONG: dict[str, tuple[str, Callable[[Path], Path], tuple[str, ...]]] = {
    "attribute file missing": ("official_folder", _without("list_attr_celeba.txt"), ("list_attr_celeba.txt", "mmlab")),
    "partition file missing": ("official_folder", _without("list_eval_partition.txt"), ("list_eval_partition.txt", "mmlab")),
    "one partition line short": ("official_folder", _short("list_eval_partition.txt"), ("list_eval_partition.txt", "000051.jpg", "again")),
    "one identity line short": ("official_folder", _short("identity_CelebA.txt"), ("identity_CelebA.txt", "000051.jpg", "again")),
    "attribute lines short": ("official_folder", _short("list_attr_celeba.txt", 3), ("list_attr_celeba.txt", "51", "48", "again")),
    "attribute file cut in a line": ("kaggle", _cut("list_attr_celeba.csv", 0.8), ("list_attr_celeba.csv", "again")),
    "attribute file is a web page": ("official_folder", _html("list_attr_celeba.txt"), ("list_attr_celeba.txt", "web page", "again")),
    "zip cut off": ("official_zip", _cut("img_align_celeba.zip"), ("img_align_celeba.zip", "cut off", "again")),
    "web page saved as zip": ("official_zip", _html("img_align_celeba.zip"), ("img_align_celeba.zip", "web page", "again")),
    "no zip": ("official_zip", _without("img_align_celeba.zip"), ("img_align_celeba.zip", "mmlab")),
    "image folder empty": ("official_folder", _emptied, ("img_align_celeba", "unpack")),
    "folder too deep": ("official_folder", lambda root: root / "Img" / "img_align_celeba", ("dataset.root=",)),
    "folder too deep by one": ("official_folder", lambda root: root / "Eval", ("dataset.root=",)),
    "no such folder": ("official_folder", lambda root: root / "celebA", ("dataset.root=",)),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_download_is_told_in_one_sentence(tmp_path: Path, case: str) -> None:
    form, spoil, words = WRONG[case]
    root = spoil(like.CELEBA[form](tmp_path / "CelebA"))
    with pytest.raises(NoiseZooError) as told:
        CelebA(str(root)).index()
    message = str(told.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert message.endswith(".")


def test_the_folder_named_in_the_mend_works(tmp_path: Path) -> None:
    root = like.official_folder(tmp_path / "CelebA")
    with pytest.raises(NoiseZooError, match=r"dataset\.root=") as told:
        CelebA(str(root / "Img" / "img_align_celeba")).index()
    mend = str(told.value).split("dataset.root=")[1].rstrip(".")
    assert len(CelebA(mend).index()) == like.ROWS


def test_one_level_too_high_is_found(tmp_path: Path) -> None:
    like.official_folder(tmp_path / "CelebA")
    assert len(CelebA(str(tmp_path)).index()) == like.ROWS


def test_images_missing_from_the_folder_are_rows_without_an_image(tmp_path: Path) -> None:
    root = like.official_folder(tmp_path)
    (root / "Img" / "img_align_celeba" / "000005.jpg").unlink()
    found = {p.row: p for p in CelebA(str(root)).read(range(like.ROWS))}
    assert found[4].data is None
    assert found[4].reason == "no such file"
    assert found[5].data == like.picture(5)
