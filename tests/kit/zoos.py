"""Small finished zoos, written by the library's own writer: what the tests of publishing, fetching and reading work on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisezoo import layout, writer
from noisezoo.store import Store
from noisezoo.writer import Table, Unit, write_unit
from noisezoo.zoo import Zoo

SPACES: dict[str, tuple[int, ...]] = {"toy_sd": (4, 8, 8), "toy_clip": (32,)}
SOURCE = {
    "name": "toy",
    "licence": "CC0-1.0",
    "homepage": "",
    "images_may_be_published": True,
    "digest": "0" * 64,
    "selection": {},
}


def values(space: str, rows: np.ndarray, shape: tuple[int, ...], dtype: str = "float16") -> np.ndarray:
    """The latents of some rows of a space, told by name and row alone. `(n, *shape)`"""
    seed = sum(map(ord, space))
    drawn = [np.random.default_rng([seed, int(row)]).standard_normal(shape) for row in rows]
    return np.asarray(drawn, dtype).reshape(len(rows), *shape)


def make_zoo(
    place: Path | str,
    rows: int = 100,
    shard_rows: int = 16,
    spaces: Mapping[str, tuple[int, ...]] = SPACES,
    *,
    attributes: Sequence[str] = ("Smiling", "Male"),
    splits: Sequence[str] = ("train", "test"),
    invalid: Mapping[str, Sequence[int]] | None = None,
    without: Sequence[tuple[str, int]] = (),
    source: Mapping[str, Any] = SOURCE,
    extra: Mapping[str, np.ndarray] | None = None,
) -> Zoo:
    """A zoo whose units are all there but those in `without`, and whose rows are all valid but those in `invalid`; the last fifth is the last split."""
    store = Store(str(place))
    numbers = np.arange(rows)
    split = np.where(numbers < rows * 4 // 5, 0, len(splits) - 1) if splits else None
    labels = np.stack([(numbers // (k + 1)) % 2 for k in range(len(attributes))], axis=1) if attributes else None
    if labels is not None:
        labels[:3, 0] = -1
    table = Table(
        keys=np.array([f"{n:06d}.jpg" for n in numbers], dtype=object),
        numbers=numbers,
        sha256=np.zeros((rows, 32), np.uint8),
        attributes=tuple(attributes),
        labels=labels,
        splits=tuple(splits),
        split=split,
        extra=extra or {},
    )
    writer.create(store, table, source, shard_rows)
    for name, shape in spaces.items():
        is_noise = len(shape) == 3
        dims = ("channel", "y", "x") if is_noise else tuple(f"feature_{i}" for i in range(len(shape)))
        config: dict[str, Any] = {"family": "diffusion" if is_noise else "encoder", "model": f"models/{name}"}
        config |= {
            "revision": "abc",
            "precision": "float32",
            "inverter": {"name": "ddim", "steps": 50} if is_noise else None,
        }
        if name.endswith("_noise"):  # a control: no weights, nothing inverted
            config = {"family": name.replace("_", " "), "seed": 42}
        digest = writer.add_space(store, name, shape, dims, "float16", config, fidelity=is_noise)
        group = store.group("r+")[layout.space_path(name)]
        bad = set((invalid or {}).get(name, ()))
        for shard in range(layout.shard_count(rows, shard_rows)):
            if (name, shard) in without:
                continue
            span = layout.span(shard, rows, shard_rows)
            valid = np.array([row not in bad for row in span])
            latent = values(name, np.array(span), shape)
            latent[~valid] = np.nan
            arrays = {layout.LATENT: latent, layout.VALID: valid}
            if is_noise:
                fidelity = np.full((len(span), len(layout.FIDELITY_MEASURES)), np.nan, np.float32)
                fidelity[0] = (31.0 + shard / 10, 0.9, 35.0 + shard / 10, 0.95)
                arrays[layout.FIDELITY] = fidelity
            reasons = {row: "made invalid" for row in span if row in bad}
            versions = {"torch": "2.13.0", "numpy": "2.4.0"}
            write_unit(store, group, Unit(name, shard, digest, arrays, reasons, device="cpu", versions=versions))  # type: ignore[arg-type]
    return Zoo(store)
