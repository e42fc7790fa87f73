"""AFHQ (Choi et al., 2020), v1 or v2, as an unpacked folder or as the zip: cats, dogs and wild animals, train and test.

v1 calls its held-out part `val`, v2 calls it `test`; both are the split `test` here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

import numpy as np

from noisezoo.errors import NoiseZooError
from pipeline.sources.archives import zip_members
from pipeline.sources.base import Index, Picture, pictures
from pipeline.sources.folder import walk
from pipeline.sources.places import Place

CLASSES = ("cat", "dog", "wild")
SPLITS = ("train", "test")

_FILE = re.compile(r"(?P<base>|.*/)(?P<split>train|val|test)/(?P<kind>cat|dog|wild)/(?P<file>[^/]+\.(?:jpg|jpeg|png))")


class AFHQ:
    """`root`: the folder that holds `train`, or one above it, or the zip."""

    name = "afhq"
    licence = "CC BY-NC 4.0"
    homepage = "https://github.com/clovaai/stargan-v2"
    images_may_be_published = True

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))
        self._images: list[Place] | None = None

    def index(self) -> Index:
        found = []
        bases: set[str] = set()
        for name, place in self._files():
            match = _FILE.fullmatch(name)
            if match and not name.startswith("__MACOSX"):
                bases.add(match["base"])
                split = 0 if match["split"] == "train" else 1
                kind = CLASSES.index(match["kind"])
                found.append((split, kind, f"{match['split']}/{match['kind']}/{match['file']}", place))
        if not found:
            raise NoiseZooError(self._nothing())
        if len(bases) > 1:
            one, two = sorted(bases)[:2]
            raise NoiseZooError(
                f"{self.root} holds more than one AFHQ ('{one}' and '{two}'): give one of them, dataset.root={os.path.join(self.root, one)}."
            )
        found.sort(key=lambda f: f[:3])
        self._images = [place for *_, place in found]
        kinds = np.array([kind for _, kind, *_ in found])
        return Index(
            keys=tuple(key for _, _, key, _ in found),
            attributes=CLASSES,
            labels=(kinds[:, None] == np.arange(len(CLASSES))).astype(np.int8),
            splits=SPLITS,
            split=np.array([split for split, *_ in found], np.int8),
        )

    def read(self, rows: Sequence[int]) -> Iterator[Picture]:
        return pictures(rows, self.places(rows))

    def places(self, rows: Sequence[int]) -> list[Place]:
        if self._images is None:
            self.index()
        assert self._images is not None
        return [self._images[r] for r in rows]

    def _files(self) -> list[tuple[str, Place]]:
        if os.path.isdir(self.root):
            return [(f.name, Place(f.path, within=self.root, fault=f.fault)) for f in walk(self.root)]
        return [(member.name, member.place) for member in zip_members(self.root)]

    def _nothing(self) -> str:
        if os.path.isdir(self.root):
            zips = [name for name in os.listdir(self.root) if name.startswith("afhq") and name.endswith(".zip")]
            if zips:
                return f"{self.root} holds {zips[0]} but no unpacked images: type dataset.root={os.path.join(self.root, zips[0])}."
            above = re.sub(r"/(train|val|test)(/(cat|dog|wild))?$", "", self.root)
            if above != self.root:
                return f"{self.root} is a folder inside AFHQ: type dataset.root={above}."
        return f"There is no train/cat, train/dog or train/wild in {self.root}: give AFHQ's folder or zip, from https://github.com/clovaai/stargan-v2."
