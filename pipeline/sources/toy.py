"""The embedded toy faces: drawn when asked for, their true latent z known, free to publish.

The toy models were trained on rows below `HELD_OUT`; a toy zoo begins there, so that none of its faces has been seen in training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.sources.base import Index, Picture
from pipeline.sources.png import stored_png
from pipeline.toy import HELD_OUT, faces, truth

_TILE = 64
"""Faces drawn in one go."""


class Toy:
    """`size` faces from the held-out part of the toy world; the last `test_share` of them are the test split. `rows/truth` holds z."""

    name = "toy"
    licence = "CC0-1.0"
    homepage = ""
    images_may_be_published = True

    def __init__(self, size: int = 2500, seed: int = 0, test_share: float = 0.2) -> None:
        self.size = size
        self.seed = seed
        self.test_share = test_share

    def index(self) -> Index:
        z = truth.latents(self.seed, self._drawn(range(self.size)))
        split = np.zeros(self.size, np.int8)
        split[self.size - round(self.size * self.test_share) :] = 1
        return Index(
            keys=tuple(f"face-{n:07d}.png" for n in self._drawn(range(self.size))),
            attributes=tuple(truth.ATTRIBUTES),
            labels=truth.labels(z),
            splits=("train", "test"),
            split=split,
            extra={"truth": z},
        )

    def read(self, rows: Sequence[int]) -> Iterator[Picture]:
        for at in range(0, len(rows), _TILE):
            some = rows[at : at + _TILE]
            for row, pixels in zip(some, faces.render(self.seed, self._drawn(some)), strict=True):
                yield Picture(int(row), stored_png(pixels), extension="png")

    def _drawn(self, rows: Sequence[int]) -> np.ndarray:
        return np.asarray(rows, np.int64) + HELD_OUT
