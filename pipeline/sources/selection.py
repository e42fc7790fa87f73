"""Which rows of a source go into a zoo: by split, by row number, by label, and how many. Row numbers stay the source's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from noisezoo.errors import NoiseZooError, nearest
from pipeline.sources.base import Index

_RANGE = re.compile(r"(\d*):(\d*)")


@dataclass(frozen=True)
class Selection:
    """All conditions hold together; `limit` counts last."""

    split: str | None = None
    rows: str | None = None
    """`1000:2000`, `1000:` or `:2000`, as in Python, over the source's row numbers."""
    where: Mapping[str, int] | None = None
    """Attribute to the value that it must have: `{"Male": 1, "Eyeglasses": 0}`."""
    limit: int | None = None

    def of(self, index: Index) -> np.ndarray:
        """(selected,) int64, ascending row numbers of `index`; a sentence where nothing fits."""
        keep = np.ones(len(index), bool)
        if self.split is not None:
            if self.split not in index.splits:
                raise NoiseZooError(f"This source has no split '{self.split}': {nearest(self.split, index.splits)}")
            keep &= index.split == index.splits.index(self.split)
        if self.rows is not None:
            first, past = self.span(len(index))
            keep[:first] = False
            keep[past:] = False
        for attribute, value in (self.where or {}).items():
            if attribute not in index.attributes:
                raise NoiseZooError(
                    f"This source has no attribute '{attribute}' to select by: {nearest(attribute, index.attributes)}"
                )
            keep &= index.labels[:, index.attributes.index(attribute)] == value
        found = np.flatnonzero(keep).astype(np.int64)
        if self.limit is not None:
            if self.limit < 1:
                raise NoiseZooError(
                    f"dataset.limit={self.limit} leaves no rows: give a number above zero, or dataset.limit=null for all."
                )
            found = found[: self.limit]
        if not len(found):
            raise NoiseZooError(
                f"No row of the source's {len(index):,} fits the selection ({self}): widen dataset.split, dataset.rows or dataset.where."
            )
        return found

    def span(self, rows: int) -> tuple[int, int]:
        """First row and one past the last."""
        match = _RANGE.fullmatch(str(self.rows).strip())
        if match is None:
            raise NoiseZooError(f"dataset.rows={self.rows} is no range of rows: write it as dataset.rows=1000:2000.")
        first = int(match[1] or 0)
        past = int(match[2]) if match[2] else rows
        if first >= past or first >= rows:
            raise NoiseZooError(
                f"dataset.rows={self.rows} holds no rows: the source has rows 0 to {rows - 1}, and the first number must be below the second."
            )
        return first, past

    def facts(self) -> dict[str, Any]:
        """The conditions that are set, for the record."""
        return {
            key: dict(value) if isinstance(value, Mapping) else value for key, value in asdict(self).items() if value
        }

    def __str__(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.facts().items()) or "all rows"
