"""FFHQ and CelebA-HQ: folders of images named by their numbers. A row is an image's number, whatever folder it lies in; a number that is missing is a row without an image."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

import numpy as np

from noisezoo.errors import NoiseZooError
from pipeline.sources.annotations import match, read_numbers
from pipeline.sources.base import Index, Picture, pictures
from pipeline.sources.celeba import ATTRIBUTES
from pipeline.sources.folder import Found, walk
from pipeline.sources.places import Place

_NUMBER = re.compile(r"\d{1,6}")
_FFHQ_TRAIN = 60_000
_CELEBA_ENDS = (162_770, 182_637)
"""CelebA's rows at which its validation and test splits begin."""


class FFHQ:
    """`root`: FFHQ's folder, or its images1024x1024 or thumbnails128x128."""

    name = "ffhq"
    licence = "CC BY-NC-SA 4.0 for the set; each image has its photographer's own licence"
    homepage = "https://github.com/NVlabs/ffhq-dataset"
    images_may_be_published = False

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))
        self._images: list[Place] | None = None

    def index(self) -> Index:
        files = numbered(self.root)
        self._images = _places(self.root, files)
        rows = len(files)
        # The division that the set's own ffhq-dataset-v2.json gives.
        split = (np.arange(rows) >= _FFHQ_TRAIN).astype(np.int8)
        return Index(tuple(f"{n:05d}.png" for n in range(rows)), splits=("train", "validation"), split=split)

    def read(self, rows: Sequence[int]) -> Iterator[Picture]:
        return pictures(rows, self.places(rows))

    def places(self, rows: Sequence[int]) -> list[Place]:
        if self._images is None:
            self.index()
        assert self._images is not None
        return [self._images[r] for r in rows]


class CelebAHQ:
    """`root`: CelebAMask-HQ's folder, StarGAN v2's celeba_hq, or any folder of images named 0 to 29999.

    With CelebAMask-HQ's tables beside the images there are the 40 attributes and CelebA's own splits; in StarGAN v2's
    folder there are its splits and `Male`.
    """

    name = "celebahq"
    licence = "CelebA agreement: non-commercial research only, images not to be passed on"
    homepage = "https://github.com/switchablenorms/CelebAMask-HQ"
    images_may_be_published = False

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))
        self._images: list[Place] | None = None

    def index(self) -> Index:
        files = numbered(self.root)
        self._images = _places(self.root, files)
        keys = tuple(f"{n}.jpg" for n in range(len(files)))
        attributes, labels = self._labels(keys, files)
        splits, split = self._splits(files)
        return Index(keys, attributes, labels, splits, split)

    def read(self, rows: Sequence[int]) -> Iterator[Picture]:
        return pictures(rows, self.places(rows))

    def places(self, rows: Sequence[int]) -> list[Place]:
        if self._images is None:
            self.index()
        assert self._images is not None
        return [self._images[r] for r in rows]

    def _labels(self, keys: Sequence[str], files: Sequence[Found | None]) -> tuple[tuple[str, ...], np.ndarray]:
        path = self._table("CelebAMask-HQ-attribute-anno.txt")
        if path is not None:
            table = read_numbers(path)
            values = match(table, path, list(keys), self.root)
            if any(a not in table.columns for a in ATTRIBUTES):
                raise NoiseZooError(
                    f"{path} lacks some of CelebA's 40 attributes in its header: download CelebAMask-HQ again."
                )
            return ATTRIBUTES, (values[:, [table.columns.index(a) for a in ATTRIBUTES]] > 0).astype(np.int8)
        kinds = [_folder_of(f, ("male", "female")) for f in files]
        if not any(kinds):
            return (), np.zeros((len(files), 0), np.int8)
        return ("Male",), np.array([[-1 if kind is None else int(kind == "male")] for kind in kinds], np.int8)

    def _splits(self, files: Sequence[Found | None]) -> tuple[tuple[str, ...], np.ndarray]:
        path = self._table("CelebA-HQ-to-CelebA-mapping.txt")
        if path is not None:
            with open(path, encoding="utf-8-sig") as lines:
                pairs = [line.split()[:2] for line in lines if line.strip() and line.split()[0].isdigit()]
            original = np.full(len(files), -1)
            for number, row in pairs:
                if int(number) < len(files):
                    original[int(number)] = int(row)
            if (original < 0).any():
                raise NoiseZooError(
                    f"{path} lacks {int((original < 0).sum()):,} of the {len(files):,} images: download CelebAMask-HQ again."
                )
            return ("train", "validation", "test"), np.searchsorted(_CELEBA_ENDS, original, side="right").astype(
                np.int8
            )
        parts = [_folder_of(f, ("train", "val")) for f in files]
        if not any(parts):
            return (), np.full(len(files), -1, np.int8)
        return ("train", "validation"), np.array([-1 if p is None else int(p == "val") for p in parts], np.int8)

    def _table(self, name: str) -> str | None:
        return next(
            (
                p
                for folder in (self.root, os.path.dirname(self.root))
                if os.path.isfile(p := os.path.join(folder, name))
            ),
            None,
        )


def numbered(root: str) -> list[Found | None]:
    """The images under `root` by number, None where one is missing; files with other names are passed over."""
    if not os.path.isdir(root):
        raise NoiseZooError(
            f"There is no folder {root}: give the folder that holds the numbered images, dataset.root=…."
        )
    by_number: dict[int, Found] = {}
    for found in walk(root):
        stem = os.path.splitext(os.path.basename(found.name))[0]
        if not _NUMBER.fullmatch(stem) or "mask-anno" in found.name:
            continue
        other = by_number.setdefault(int(stem), found)
        if other is not found:
            raise NoiseZooError(
                f"{root} holds two images of number {int(stem)} ({other.name} and {found.name}): "
                f"give the folder of one of them, dataset.root={os.path.join(root, found.name.split('/')[0])}."
            )
    if not by_number:
        raise NoiseZooError(
            f"There is no image named by a number under {root} (00000.png, 0.jpg, …): give the folder that holds them, dataset.root=…."
        )
    return [by_number.get(n) for n in range(max(by_number) + 1)]


def _places(root: str, files: Sequence[Found | None]) -> list[Place]:
    return [
        Place(root, fault="no such file") if f is None else Place(f.path, within=root, fault=f.fault) for f in files
    ]


def _folder_of(found: Found | None, words: Sequence[str]) -> str | None:
    """Which of these folders an image lies in."""
    parts = found.name.split("/")[:-1] if found is not None else []
    return next((word for word in words if word in parts), None)
