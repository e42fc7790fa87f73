"""What a source is: a table of rows in canonical order, and the bytes of each row's image.

The table (`Index`) is cheap and complete before any image is read, so that ingest can cut shards, refuse a changed source and read shards in parallel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Index:
    """Every row of a source, in canonical order, without its pixels."""

    keys: tuple[str, ...]
    """The source's own name for each row (`000001.jpg`), unique."""
    attributes: tuple[str, ...] = ()
    labels: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int8))
    """(rows, attributes) int8; 1 / 0, a class number, or -1 where unknown."""
    splits: tuple[str, ...] = ()
    split: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8))
    """(rows,) int8: place of each row's split in `splits`, -1 for none."""
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    """Further per-row arrays (identity, landmarks, the toy world's true z), stored under `rows/`."""

    def digest(self) -> str:
        """sha256 over (key, split, labels) of every row: equal for every form of the same data set."""
        h = hashlib.sha256()
        h.update("\0".join(self.attributes).encode())
        names = np.array([*self.splits, ""])  # -1 picks the last
        for i, key in enumerate(self.keys):
            part = names[self.split[i]] if len(self.split) else ""
            h.update(f"\n{key}\t{part}\t".encode())
            if self.labels.size:
                h.update(self.labels[i].tobytes())
        return h.hexdigest()


@dataclass(frozen=True)
class Picture:
    """One row's image file as the source holds it, or the reason why there is none."""

    row: int
    data: bytes | None
    reason: str | None = None
    extension: str = "jpg"


class Source(Protocol):
    """Where images come from. Constructing one is cheap; `index` may read tables, never pixels."""

    name: str
    licence: str
    homepage: str
    images_may_be_published: bool

    def index(self) -> Index:
        """The rows in canonical order."""
        ...

    def read(self, rows: Sequence[int]) -> Iterator[Picture]:
        """The image files of these rows (ascending row numbers of `index`), in that order; a bad file is a `Picture` with a reason, never an exception."""
        ...
