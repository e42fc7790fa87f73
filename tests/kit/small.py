"""Small zoos made on the spot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from noisezoo import writer
from noisezoo.store import Store


def small_table(rows: int, attributes: tuple[str, ...] = ("Smiling", "Male")) -> writer.Table:
    """Rows with keys, two splits, labels, a truth and a second division."""
    rng = np.random.default_rng(0)
    return writer.Table(
        keys=np.array([f"{i:06d}.jpg" for i in range(rows)], dtype=object),
        numbers=np.arange(rows),
        sha256=rng.integers(0, 256, (rows, 32), dtype=np.uint8),
        attributes=attributes,
        labels=rng.integers(0, 2, (rows, len(attributes)), dtype=np.int8),
        splits=("train", "test"),
        split=(np.arange(rows) % 5 == 4).astype(np.int8),
        extra={"truth": rng.standard_normal((rows, 3)), "half": (np.arange(rows) % 2).astype(np.int8)},
        names={"half": ("even", "odd")},
    )


def small_zoo(
    folder: Path, rows: int = 100, shard_rows: int = 16, spaces: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[Store, dict[str, np.ndarray]]:
    """A finished zoo of Gaussian latents, the last row of each space invalid; its store, and what was written."""
    store = Store(str(folder))
    source = {"name": "made", "licence": "CC0", "homepage": "", "digest": "d", "selection": {}}
    writer.create(store, small_table(rows), source, shard_rows)
    written: dict[str, np.ndarray] = {}
    for seed, (name, shape) in enumerate((spaces or {"noise": (4, 4, 4), "code": (6,)}).items()):
        latents = np.random.default_rng(seed).standard_normal((rows, *shape)).astype(np.float16)
        latents[-1] = np.nan
        written[name] = latents
        digest = writer.add_space(store, name, shape, tuple("cyx"[: len(shape)]), "float16", {"seed": seed})
        for start in range(0, rows, shard_rows):
            part = latents[start : start + shard_rows]
            valid = ~np.isnan(part.astype(np.float32)).reshape(len(part), -1).any(axis=1)
            invalid = {start + int(i): "made so" for i in np.flatnonzero(~valid)}
            unit = writer.Unit(name, start // shard_rows, digest, {"latent": part, "valid": valid}, invalid)
            writer.write_unit(store, store.group("r+")[f"spaces/{name}"], unit)
    return store, written
