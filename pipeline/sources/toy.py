"""The embedded toy world: faces whose true latent z is known, and animals; drawn when asked for, free to publish.

The toy models were trained on rows below `HELD_OUT`; a toy zoo begins there, so that no model has seen any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pipeline.sources.base import Index, Picture
from pipeline.sources.png import stored_png
from pipeline.toy import HELD_OUT, animals, faces, truth

_TILE = 64
"""Pictures drawn in one go."""


class Toy:
    """`size` faces; the last `test_share` of them are the test split. `rows/truth` holds each face's z."""

    name = "toy"
    licence = "CC0-1.0"
    homepage = ""
    images_may_be_published = True

    def __init__(self, size: int = 2500, seed: int = 0, test_share: float = 0.2) -> None:
        self.size = size
        self.seed = seed
        self.test_share = test_share

    def index(self) -> Index:
        z = truth.latents(self.seed, _drawn(range(self.size)))
        return Index(
            keys=_keys("face", self.size),
            attributes=tuple(truth.ATTRIBUTES),
            labels=truth.labels(z),
            splits=("train", "test"),
            split=_split(self.size, self.test_share),
            extra={"truth": z},
        )

    def read(self, rows: Sequence[int]) -> Iterator[Picture]:
        return _draw(faces.render, self.seed, rows)


class ToyAnimals:
    """`size` animals, each a cat, a dog or wild; the last `test_share` of them are the test split."""

    name = "toy_animals"
    licence = "CC0-1.0"
    homepage = ""
    images_may_be_published = True

    def __init__(self, size: int = 2500, seed: int = 0, test_share: float = 0.2) -> None:
        self.size = size
        self.seed = seed
        self.test_share = test_share

    def index(self) -> Index:
        species = animals.labels(self.seed, _drawn(range(self.size)))
        return Index(
            keys=_keys("animal", self.size),
            attributes=animals.SPECIES,
            labels=(species[:, None] == np.arange(len(animals.SPECIES))).astype(np.int8),
            splits=("train", "test"),
            split=_split(self.size, self.test_share),
        )

    def read(self, rows: Sequence[int]) -> Iterator[Picture]:
        return _draw(animals.render, self.seed, rows)


def _draw(render: Callable[[int, np.ndarray], np.ndarray], seed: int, rows: Sequence[int]) -> Iterator[Picture]:
    for at in range(0, len(rows), _TILE):
        some = rows[at : at + _TILE]
        for row, pixels in zip(some, render(seed, _drawn(some)), strict=True):
            yield Picture(int(row), stored_png(pixels), extension="png")


def _drawn(rows: Sequence[int]) -> np.ndarray:
    """The toy world's own numbers of a zoo's rows."""
    return np.asarray(rows, np.int64) + HELD_OUT


def _keys(word: str, count: int) -> tuple[str, ...]:
    return tuple(f"{word}-{n:07d}.png" for n in _drawn(range(count)))


def _split(count: int, test_share: float) -> np.ndarray:
    split = np.zeros(count, np.int8)
    split[count - round(count * test_share) :] = 1
    return split
