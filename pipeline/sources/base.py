"""What a source is: a table of rows in canonical order, and the bytes of each row's image.

The table (`Index`) is cheap and complete before any image is read, so that ingest can cut shards, refuse a changed source and read shards in parallel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from pipeline.sources.places import Place, Reader, UnreadableError


@dataclass(frozen=True)
class Index:
    """Every row of a source, in canonical order, without its pixels."""

    keys: tuple[str, ...]
    """The source's own name for each row (`000001.jpg`), unique."""
    attributes: tuple[str, ...] = ()
    labels: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int8))
    """(rows, attributes) int8; 1 / 0, a small number, or -1 where unknown."""
    splits: tuple[str, ...] = ()
    split: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8))
    """(rows,) int8: place of each row's split in `splits`, -1 for none."""
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    """Further per-row arrays (identity, landmarks, the toy world's true z), stored under `rows/`."""
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The words for the numbers of those arrays in `extra` that are categories: `{"paper_split": ("train", "test")}`; -1 is none."""

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: np.ndarray) -> Index:
        """The table of some rows, in the order given."""
        if len(rows) == len(self) and np.array_equal(rows, np.arange(len(self))):
            return self
        return Index(
            keys=tuple(self.keys[i] for i in rows),
            attributes=self.attributes,
            labels=self.labels[rows] if self.labels.size else np.zeros((len(rows), len(self.attributes)), np.int8),
            splits=self.splits,
            split=self.split[rows] if len(self.split) else np.full(len(rows), -1, np.int8),
            extra={name: values[rows] for name, values in self.extra.items()},
            names=self.names,
        )

    def digest(self) -> str:
        """sha256 over (key, split, labels) of every row: equal for every form of the same data set."""
        h = hashlib.sha256()
        h.update("\0".join(self.attributes).encode())
        names = [*self.splits, ""]  # -1 picks the last
        for i, key in enumerate(self.keys):
            part = names[self.split[i]] if len(self.split) else ""
            h.update(f"\n{key}\t{part}\t".encode())
            if self.labels.size:
                h.update(self.labels[i].astype(np.int8).tobytes())
        return h.hexdigest()


@dataclass(frozen=True)
class Picture:
    """One row's image file as the source holds it, or the reason why there is none."""

    row: int
    """The row's number in the whole source."""
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


@runtime_checkable
class Located(Protocol):
    """A source whose images may lie on this machine's disk: they can be referenced instead of copied, and changes be noticed."""

    def places(self, rows: Sequence[int]) -> list[Place] | None:
        """Where the image files of these rows lie; None where this form of the source keeps them otherwise."""
        ...


def places_of(source: Source, rows: Sequence[int]) -> list[Place] | None:
    """Where a source's image files lie, if they do."""
    return source.places(rows) if isinstance(source, Located) else None


def pictures(rows: Sequence[int], places: Sequence[Place]) -> Iterator[Picture]:
    """`Source.read` for a source whose image files lie at these places, one a row."""
    with Reader() as reader:
        for row, place in zip(rows, places, strict=True):
            try:
                yield Picture(int(row), reader.fetch(place))
            except UnreadableError as e:
                yield Picture(int(row), None, str(e))
