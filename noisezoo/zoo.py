"""Reading a zoo: rows, labels, splits and spaces, lazily, from a folder or any URL.

`noisezoo.open(...)` reads metadata alone; latents are read when they are indexed, and only the chunks that hold the rows asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import zarr

from noisezoo import layout, ledger
from noisezoo.direct import PlainArray, plain
from noisezoo.errors import NoiseZooError, nearest
from noisezoo.store import Store

LOG = logging.getLogger("noisezoo")


def open(url: str) -> Zoo:
    """Open the zoo at a folder or URL: `zoos/toy/zoo.zarr`, `s3://bucket/zoo.zarr`, or a published dataset, `hf://datasets/USER/NAME`."""
    store = Store(str(url))
    if not store.exists("zarr.json"):
        inside = Store(f"{str(url).rstrip('/')}/{layout.PUBLISHED}")
        store = inside if inside.exists("zarr.json") else store
    return Zoo(store)


class Zoo:
    """Aligned rows in many spaces."""

    def __init__(self, store: Store) -> None:
        self.store = store
        try:
            self.group = store.group("r")
        except FileNotFoundError as e:
            what = "is not a zoo (it holds no zarr.json)" if store.exists() else "does not exist"
            raise NoiseZooError(f"{store.url} {what}: give the zoo.zarr that `noisezoo build` wrote.") from e
        except Exception as e:
            raise NoiseZooError(
                f"{store.url} is not a zoo ({type(e).__name__}: {e}): give the zoo.zarr that `noisezoo build` wrote."
            ) from e
        self.facts = layout.check_format(self.group.attrs.asdict(), store.url)

    def __repr__(self) -> str:
        return f"<Zoo {self.store.url}: {len(self)} rows, spaces {', '.join(self.spaces) or 'none'}>"

    def __len__(self) -> int:
        return int(self.facts["rows"])

    @property
    def shard_rows(self) -> int:
        return int(self.facts["shard_rows"])

    @property
    def source(self) -> dict[str, Any]:
        """Where the images came from: name, licence, homepage, digest, selection."""
        return dict(self.facts["source"])

    @property
    def digest(self) -> str:
        """One sha256 for what the zoo holds: its rows, and the bytes of every finished unit of every space. Who computed them, and when, does not count."""
        held = {name: {"config": space.config_digest, "files": space.digests} for name, space in self.spaces.items()}
        source = {"digest": self.source["digest"], "rows": len(self), "shard_rows": self.shard_rows}
        return ledger.digest({"format": layout.FORMAT, "source": source, "spaces": held})

    @cached_property
    def spaces(self) -> dict[str, SpaceView]:
        """All spaces by name."""
        group = self.group[layout.SPACES]
        assert isinstance(group, zarr.Group)
        return {
            name: SpaceView(self, name, part) for name, part in sorted(group.groups()) if "config_digest" in part.attrs
        }

    def __getitem__(self, name: str) -> SpaceView:
        try:
            return self.spaces[name]
        except KeyError:
            raise NoiseZooError(f"This zoo has no space '{name}': {nearest(name, self.spaces)}") from None

    @cached_property
    def labels(self) -> Labels:
        group = self.group[layout.LABELS]
        assert isinstance(group, zarr.Group)
        return Labels(group)

    def row_fact(self, name: str) -> np.ndarray:
        """An array of `rows/` (`key`, `number`, `sha256`, …), read whole."""
        group = self.group[layout.ROWS]
        assert isinstance(group, zarr.Group)
        if name not in group:
            raise NoiseZooError(f"This zoo knows no '{name}' of its rows: {nearest(name, group.array_keys())}")
        return np.asarray(group[name][...])  # type: ignore[index]

    @property
    def row_facts(self) -> list[str]:
        """Names of the arrays of `rows/`."""
        group = self.group[layout.ROWS]
        assert isinstance(group, zarr.Group)
        return sorted(group.array_keys())

    @cached_property
    def splits(self) -> dict[str, np.ndarray]:
        """Rows of each split; a division of another kind that the source knows is named with it: `paper_split:train`."""
        group = self.group[layout.ROWS]
        assert isinstance(group, zarr.Group)
        found: dict[str, np.ndarray] = {}
        for array_name in ("split", *(name for name in self.row_facts if name != "split")):
            words: Any = group[array_name].attrs.get("names")
            if words:
                values = self.row_fact(array_name)
                prefix = "" if array_name == "split" else f"{array_name}:"
                found |= {f"{prefix}{word}": np.flatnonzero(values == i) for i, word in enumerate(words)}
        return found

    def rows(self, split: str | None = None) -> np.ndarray:
        """Row numbers of a split, or all."""
        if split is None:
            return np.arange(len(self))
        try:
            return self.splits[split]
        except KeyError:
            raise NoiseZooError(f"This zoo has no split '{split}': {nearest(split, self.splits)}") from None

    def pair(self, a: str, b: str, split: str | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Two spaces over the rows that are valid in both, and those rows' numbers."""
        rows = self.valid_rows([a, b], split)
        return self[a].take(rows), self[b].take(rows), rows

    def valid_rows(self, spaces: Sequence[str], split: str | None = None) -> np.ndarray:
        """Row numbers, of a split or all, that are valid in each of these spaces; how many are left out is told."""
        rows = self.rows(split)
        valid = np.logical_and.reduce([self[name].valid[rows] for name in spaces])
        if not valid.all():
            LOG.warning(
                "%d of %d rows are not valid in %s and are left out.", (~valid).sum(), len(rows), " and ".join(spaces)
            )
        return rows[valid]

    def to_xarray(self, spaces: Sequence[str] | None = None, split: str | None = None) -> Any:
        """An `xarray.Dataset` of some spaces with keys and labels, lazy, over the rows that are valid in all of them."""
        from noisezoo.lazy import to_xarray

        return to_xarray(self, list(spaces or self.spaces), split)


class Labels(Mapping[str, np.ndarray]):
    """The source's attributes by name, each `(rows,)` int8 with -1 for unknown."""

    def __init__(self, group: zarr.Group) -> None:
        self._group = group

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(str(n) for n in self._group["attribute"][...]) if "attribute" in self._group else ()  # type: ignore[index,union-attr]

    @cached_property
    def values(self) -> np.ndarray:  # type: ignore[override]
        """(rows, attributes) int8."""
        return np.asarray(self._group["label"][...]) if self.names else np.zeros((0, 0), np.int8)  # type: ignore[index]

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            column: np.ndarray = self.values[:, self.names.index(name)]
        except ValueError:
            raise NoiseZooError(f"This zoo has no attribute '{name}': {nearest(name, self.names)}") from None
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class SpaceView:
    """One space of a zoo. Index it by rows for a NumPy array; `array` is the Zarr array itself."""

    def __init__(self, zoo: Zoo, name: str, group: zarr.Group) -> None:
        self.zoo = zoo
        self.name = name
        self.group = group

    def __repr__(self) -> str:
        return f"<space {self.name}: {self.array.shape} {self.array.dtype}, {int(self.valid.sum())} valid>"

    @property
    def array(self) -> zarr.Array:
        array = self.group[layout.LATENT]
        assert isinstance(array, zarr.Array)
        return array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def config(self) -> dict[str, Any]:
        """What the latents were computed with."""
        return dict(self.group.attrs["config"])  # type: ignore[arg-type]

    @property
    def config_digest(self) -> str:
        return str(self.group.attrs["config_digest"])

    @cached_property
    def valid(self) -> np.ndarray:
        """(rows,) bool: which rows could be computed."""
        return np.asarray(self.group[layout.VALID][...])  # type: ignore[index]

    @cached_property
    def fidelity(self) -> dict[str, np.ndarray]:
        """Per measure the values of the rows that were regenerated; empty where the space has none."""
        if layout.FIDELITY not in self.group:
            return {}
        values = np.asarray(self.group[layout.FIDELITY][...])  # type: ignore[index]
        return {name: values[np.isfinite(values[:, i]), i] for i, name in enumerate(layout.FIDELITY_MEASURES)}

    @property
    def finished(self) -> dict[int, ledger.Entry]:
        """The ledger's entries for the present configuration, by shard."""
        return ledger.finished(self.zoo.store, self.name, self.config_digest)

    @property
    def digests(self) -> dict[str, str]:
        """Every file of the finished units, with the sha256 of its bytes."""
        return {file: sha256 for entry in self.finished.values() for file, sha256 in entry.files.items()}

    def __len__(self) -> int:
        return len(self.zoo)

    def to_dask(self, split: str | None = None) -> Any:
        """The valid rows, of a split or all, as a lazy `dask.array` with one block a shard."""
        from noisezoo.lazy import to_dask

        return to_dask(self, self.zoo.valid_rows([self.name], split))

    @cached_property
    def _plain(self) -> PlainArray | None:
        return plain(self.array, self.zoo.store, layout.array_path(self.name))

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Latents of a slice, a row or an array of rows, valid or not."""
        if isinstance(rows, slice):
            return self.take(np.arange(*rows.indices(len(self))))
        if isinstance(rows, int | np.integer):
            row: np.ndarray = self.take([rows])[0]
            return row
        return self.take(rows) if isinstance(rows, np.ndarray | list) else np.asarray(self.array[rows])

    def take(self, rows: Any) -> np.ndarray:
        """Latents of these rows `(n, *shape)`, in the order given; each chunk is read once."""
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        if len(rows) and (rows.min() < -len(self) or rows.max() >= len(self)):
            raise NoiseZooError(
                f"Rows of '{self.name}' run from 0 to {len(self) - 1}, not {int(rows.min())} to {int(rows.max())}."
            )
        if not len(rows):
            return np.zeros((0, *self.shape[1:]), self.array.dtype)
        rows = np.where(rows < 0, rows + len(self), rows).astype(np.int64)
        if (np.diff(rows) > 0).all():
            return self._read(rows)
        unique, back = np.unique(rows, return_inverse=True)
        return self._read(unique)[back]

    def _read(self, rows: np.ndarray) -> np.ndarray:
        """Ascending rows, each once: as byte ranges where the array is stored plain, through Zarr otherwise."""
        return np.asarray(self.array.oindex[rows]) if self._plain is None else self._plain.read(rows)
