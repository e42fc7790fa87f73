"""CelebA (Liu et al., 2015) in every form it is handed on: the official folders or zip, torchvision's folder, Kaggle's
CSV, the hub's Parquet. All give the same rows in the same order.

Rows follow the file names, 000001.jpg to 202599.jpg; train, validation and test are consecutive runs of them, 162,770 +
19,867 + 19,962. `rows/paper_split` is the division of the validation split by which the paper's probes were trained
and tested.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisezoo.errors import NoiseZooError
from pipeline.sources.annotations import match, read_numbers
from pipeline.sources.archives import zip_members
from pipeline.sources.base import Index, Picture, pictures
from pipeline.sources.places import FolderPlaces, Place

SPLITS = ("train", "validation", "test")
ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips",
    "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin",
    "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open",
    "Mustache", "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline",
    "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat",
    "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
PAPER_SHARE, PAPER_SEED = 0.2, 42

_ATTRIBUTES = ("list_attr_celeba.txt", "list_attr_celeba.csv")
_PARTITION = ("list_eval_partition.txt", "list_eval_partition.csv")
_IDENTITY = ("identity_CelebA.txt", "identity_celeba.txt")
_LANDMARKS = ("list_landmarks_align_celeba.txt", "list_landmarks_align_celeba.csv")
_IMAGES = "img_align_celeba"
_PARTS = ("Anno", "Eval", "Img", _IMAGES)
"""Folders inside the official download."""
_SITE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


@dataclass(frozen=True)
class Files:
    """Where the parts of a download lie."""

    attributes: str
    partition: str
    identity: str | None
    landmarks: str | None
    folder: str | None
    archive: str | None


class CelebA:
    """`root`: the folder of the download, in any of its forms, or `hf://eurecom-ds/celeba` to read the hub's copy as it comes."""

    name = "celeba"
    licence = "CelebA agreement: non-commercial research only, images not to be passed on"
    homepage = _SITE
    images_may_be_published = False

    def __init__(self, root: str, revision: str | None = None) -> None:
        self.root = root if root.startswith("hf://") else os.path.abspath(os.path.expanduser(root))
        self.revision = revision
        self._places: Sequence[Place] | None = None
        self._hub: Any = None
        """The rows of the Parquet form, `hub.Rows`, which takes an import of `datasets`."""

    def index(self) -> Index:
        if self.root.startswith("hf://"):
            return self._from_hub(self.root.removeprefix("hf://").removeprefix("datasets/"))
        if not os.path.isdir(self.root):
            raise NoiseZooError(
                f"There is no folder {self.root}: give the folder of your CelebA download, dataset.root=…."
            )
        names = _survey(self.root)
        if not any(name in names for name in _ATTRIBUTES) and _parquet(self.root):
            return self._from_hub(self.root)
        return self._from_files(locate(self.root, names))

    def read(self, rows: Sequence[int]) -> Iterator[Picture]:
        places = self.places(rows)
        if places is not None:
            return pictures(rows, places)
        found: Iterator[Picture] = self._hub.read(rows)
        return found

    def places(self, rows: Sequence[int]) -> list[Place] | None:
        if self._places is None and self._hub is None:
            self.index()
        return None if self._places is None else [self._places[r] for r in rows]

    def _from_files(self, files: Files) -> Index:
        table = read_numbers(files.attributes)
        unknown = [column for column in ATTRIBUTES if column not in table.columns]
        if unknown:
            raise NoiseZooError(
                f"{files.attributes} lacks the attribute {unknown[0]} in its header: download it again from {_SITE}."
            )
        order = sorted(range(len(table.names)), key=table.names.__getitem__)
        keys = [table.names[i] for i in order]
        labels = (table.values[order][:, [table.columns.index(a) for a in ATTRIBUTES]] > 0).astype(np.int8)
        part = match(read_numbers(files.partition), files.partition, keys, files.attributes)[:, 0]
        if part.min() < 0 or part.max() > 2:
            raise NoiseZooError(
                f"{files.partition} holds a split other than 0, 1 and 2: download it again from {_SITE}."
            )
        extra: dict[str, np.ndarray] = {}
        if files.identity is not None:
            extra["identity"] = match(read_numbers(files.identity), files.identity, keys, files.attributes)[
                :, 0
            ].astype(np.int32)
        if files.landmarks is not None:
            points = match(read_numbers(files.landmarks), files.landmarks, keys, files.attributes)
            extra["landmarks"] = points.astype(np.int16).reshape(len(keys), 5, 2)
        self._places = _places(files, keys)
        return _index(keys, labels, part.astype(np.int8), extra)

    def _from_hub(self, path: str) -> Index:
        from pipeline.sources.hub import Rows

        rows = Rows(path, image="image", revision=self.revision, splits=SPLITS)
        wanted = [name for name in ("identity", "landmarks") if name in rows.features]
        if "attributes" not in rows.features:
            raise NoiseZooError(
                f"{path} has no column 'attributes' and so is not the hub's CelebA: give hf://eurecom-ds/celeba or a local copy of it."
            )
        table = rows.table(["attributes", *wanted])
        count = table.num_rows
        labels = np.asarray(table.column("attributes").combine_chunks().flatten()).reshape(count, -1)
        if labels.shape[1] != len(ATTRIBUTES):
            raise NoiseZooError(
                f"{path} has {labels.shape[1]} attributes a row where CelebA has {len(ATTRIBUTES)}: give hf://eurecom-ds/celeba or a local copy of it."
            )
        extra: dict[str, np.ndarray] = {}
        if "identity" in wanted:
            extra["identity"] = np.asarray(table.column("identity").combine_chunks()).astype(np.int32)
        if "landmarks" in wanted:
            extra["landmarks"] = (
                np.asarray(table.column("landmarks").combine_chunks().flatten()).astype(np.int16).reshape(count, 5, 2)
            )
        self._hub = rows
        # The hub's copy has no file names, but its splits are CelebA's own runs of them, in order.
        return _index([f"{i + 1:06d}.jpg" for i in range(count)], (labels > 0).astype(np.int8), rows.split, extra)


def paper_split(rows: int) -> np.ndarray:
    """(rows,) int8, 0 = train, 1 = test: NumPy's legacy generator, seeded with 42, shuffles 0…rows-1; the first ⌊0.8·rows⌋ train.

    This is the division in the authors' code. scikit-learn's `train_test_split` with the same seed makes the same
    shuffle but takes its test rows from the front, and so divides otherwise.
    """
    order = np.arange(rows)
    np.random.RandomState(PAPER_SEED).shuffle(order)
    split = np.zeros(rows, np.int8)
    split[order[int(rows * (1 - PAPER_SHARE)) :]] = 1
    return split


def locate(root: str, names: dict[str, str]) -> Files:
    """The parts of a download among the files `names` (name to path) that lie under `root`; one sentence for what is missing."""

    def first(candidates: Sequence[str]) -> str | None:
        return next((names[c] for c in candidates if c in names), None)

    attributes, partition = first(_ATTRIBUTES), first(_PARTITION)
    if attributes is None:
        higher = next((up for up in _above(root) if any(name in _survey(up) for name in _ATTRIBUTES)), None)
        if higher is not None:
            raise NoiseZooError(f"{root} is a folder inside the CelebA download: type dataset.root={higher}.")
        raise NoiseZooError(
            f"There is no list_attr_celeba.txt (or .csv) under {root}: download it from {_SITE} into that folder, or give the right one, dataset.root=…."
        )
    if partition is None:
        raise NoiseZooError(
            f"There is no list_eval_partition.txt (or .csv) under {root}: download it from {_SITE} and put it beside {attributes}."
        )
    folder, archive = names.get(_IMAGES), names.get(_IMAGES + ".zip")
    if folder is None and archive is None:
        raise NoiseZooError(
            f"There is no {_IMAGES} folder and no {_IMAGES}.zip under {root}: download the zip from {_SITE} and put it beside {attributes}."
        )
    return Files(attributes, partition, first(_IDENTITY), first(_LANDMARKS), folder, archive)


def _survey(root: str, depth: int = 3) -> dict[str, str]:
    """Name to path of the files, and of the image folder, in `root` and a few folders below it; the upper ones win. Folders of images are not listed, they are long."""
    found: dict[str, str] = {}
    level = [root]
    for _ in range(depth):
        below: list[str] = []
        for folder in level:
            if os.path.basename(folder) == _IMAGES:
                continue
            try:
                entries = sorted(os.scandir(folder), key=lambda e: e.name)
            except OSError:
                continue
            for entry in entries:
                if not entry.name.endswith((".jpg", ".png")):
                    found.setdefault(entry.name, entry.path)
                if entry.is_dir():
                    below.append(entry.path)
        level = below
    return found


def _above(root: str) -> list[str]:
    """The folders above one that is a part of a download."""
    found = []
    while os.path.basename(root) in _PARTS:
        root = os.path.dirname(root)
        found.append(root)
    return found


def _parquet(root: str) -> bool:
    return any(name.endswith(".parquet") for name in _survey(root, depth=2))


def _places(files: Files, keys: Sequence[str]) -> Sequence[Place]:
    """Where each row's image lies; the unpacked folder is preferred, as Kaggle nests it too."""
    probes = {keys[0], keys[len(keys) // 2], keys[-1]}
    for folder in (files.folder, os.path.join(files.folder, _IMAGES)) if files.folder else ():
        if any(os.path.lexists(os.path.join(folder, key)) for key in probes):
            return FolderPlaces(folder, tuple(keys))
    if files.archive is not None:
        held = {
            os.path.basename(m.name): m.place for m in zip_members(files.archive) if not m.name.startswith("__MACOSX")
        }
        if not any(key in held for key in probes):
            raise NoiseZooError(
                f"{files.archive} holds none of the images that {os.path.basename(files.attributes)} lists (such as {keys[0]}): download it again from {_SITE}."
            )
        return [held.get(key, Place(files.archive, fault="not in the zip")) for key in keys]
    raise NoiseZooError(
        f"{files.folder} holds none of the images that {os.path.basename(files.attributes)} lists (such as {keys[0]}): unpack {_IMAGES}.zip there."
    )


def _index(keys: Sequence[str], labels: np.ndarray, split: np.ndarray, extra: dict[str, np.ndarray]) -> Index:
    paper = np.full(len(keys), -1, np.int8)
    validation = np.flatnonzero(split == SPLITS.index("validation"))
    paper[validation] = paper_split(len(validation))
    return Index(
        keys=tuple(keys),
        attributes=ATTRIBUTES,
        labels=labels,
        splits=SPLITS,
        split=split,
        extra={**extra, "paper_split": paper},
        names={"paper_split": ("train", "test")},
    )
