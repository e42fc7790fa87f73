"""A zoo in Dask and xarray: one block a shard, read when it is computed, wherever that is."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo import layout
from noisezoo.errors import NoiseZooError

if TYPE_CHECKING:
    from noisezoo.zoo import SpaceView, Zoo


def to_dask(space: SpaceView, rows: np.ndarray) -> Any:
    """Ascending rows of a space `(n, *shape)`."""
    da, delayed = _dask()
    shape, dtype = space.shape[1:], space.array.dtype
    read = delayed(_read, pure=True)
    blocks = []
    for shard in layout.shards_of(rows, space.zoo.shard_rows):
        span = layout.span(shard, len(space), space.zoo.shard_rows)
        here = rows[np.searchsorted(rows, span.start) : np.searchsorted(rows, span.stop)]
        block = read(space.zoo.store.url, space.name, here)
        blocks.append(da.from_delayed(block, (len(here), *shape), dtype))
    return da.concatenate(blocks) if blocks else da.zeros((0, *shape), dtype=dtype)


def to_xarray(zoo: Zoo, spaces: list[str], split: str | None) -> Any:
    """Variables: each space over `row` and dimensions of its own, and `label` over `row` and `attribute`. Coordinates: `row` and `key`."""
    try:
        import xarray
    except ImportError as e:
        raise NoiseZooError("xarray is not installed: type `pip install 'noisezoo[dask]'`.") from e
    rows = zoo.valid_rows(spaces, split)
    variables: dict[str, Any] = {}
    for name in spaces:
        dims = zoo[name].array.metadata.dimension_names or ()  # type: ignore[union-attr]
        own = [f"{name}_{dim}" for dim in dims[1:]]
        variables[name] = (("row", *own), to_dask(zoo[name], rows), {"config_digest": zoo[name].config_digest})
    coordinates: dict[str, Any] = {"row": rows, "key": ("row", [str(key) for key in zoo.row_fact("key")[rows]])}
    if len(zoo.labels):
        variables["label"] = (("row", "attribute"), zoo.labels.values[rows])
        coordinates["attribute"] = list(zoo.labels.names)
    return xarray.Dataset(variables, coordinates, {"source": zoo.source["name"], "url": zoo.store.url})


def _read(url: str, space: str, rows: np.ndarray) -> np.ndarray:
    return _opened(url)[space].take(rows)


@lru_cache(maxsize=8)
def _opened(url: str) -> Zoo:
    """The zoo, opened once in each process that reads it."""
    import noisezoo

    return noisezoo.open(url)


def _dask() -> tuple[Any, Any]:
    try:
        import dask.array
    except ImportError as e:
        raise NoiseZooError("Dask is not installed: type `pip install 'noisezoo[dask]'`.") from e
    return dask.array, dask.delayed
