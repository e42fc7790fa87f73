"""A small zoo in which the Universal Normal Embedding holds by construction: every space is a noisy linear view of one known Gaussian z, and attributes are its signs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisezoo import layout, writer
from noisezoo.store import Store
from noisezoo.zoo import Zoo

ATTRIBUTES = ("Smiling", "Male", "Young", "Bangs", "Bald", "Eyeglasses")
DIFFUSION: dict[str, Any] = {"family": "diffusion", "model": "made", "inverter": {"name": "ddim", "steps": 50}}
ENCODER: dict[str, Any] = {"family": "encoder", "model": "made"}
SPACES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "noise_a": ((3, 8, 8), DIFFUSION),
    "noise_b": ((2, 8, 8), {**DIFFUSION, "inverter": {"name": "heun", "steps": 20}}),
    "enc_a": ((24,), ENCODER),
    "enc_b": ((32,), ENCODER),
    "pixels": ((3, 6, 6), {"family": "pixels"}),
    "gaussian_noise": ((3, 8, 8), {"family": "gaussian noise"}),
}


def planted_zoo(
    place: Path | str,
    rows: int = 600,
    shard_rows: int = 128,
    *,
    spaces: Sequence[str] = tuple(SPACES),
    attributes: Sequence[str] = ATTRIBUTES,
    truth: bool = True,
    invalid: Mapping[str, Sequence[int]] | None = None,
    unmarked_nan: Mapping[str, Sequence[int]] | None = None,
    without: Sequence[tuple[str, int]] = (),
    constant: Sequence[str] = (),
    one_class: Sequence[str] = (),
) -> Zoo:
    """Write it.

    `invalid` rows are marked so, `unmarked_nan` rows are NaN and not marked, `without` leaves out units, `constant` spaces do not vary, `one_class` attributes neither.
    """
    rng = np.random.default_rng(7)
    mix = rng.standard_normal((len(ATTRIBUTES), len(ATTRIBUTES))) / 3 + np.eye(len(ATTRIBUTES))
    z = rng.standard_normal((rows, len(ATTRIBUTES))) @ mix
    labels = (z > 0.3).astype(np.int8)
    for name in one_class:
        labels[:, ATTRIBUTES.index(name)] = 1
    columns = [ATTRIBUTES.index(name) for name in attributes]
    store = Store(str(place))
    table = writer.Table(
        keys=np.array([f"{n:06d}.jpg" for n in range(rows)], dtype=object),
        numbers=np.arange(rows),
        sha256=np.zeros((rows, 32), np.uint8),
        attributes=tuple(attributes),
        labels=labels[:, columns] if columns else None,
        splits=("train", "test"),
        split=(np.arange(rows) % 5 == 4).astype(np.int8),
        extra={"truth": z} if truth else {},
    )
    source = {"name": "planted", "licence": "CC0-1.0", "homepage": "", "digest": "0" * 64, "selection": {}}
    writer.create(store, table, source, shard_rows)
    for name in spaces:
        shape, config = SPACES[name]
        values = view(name, z, shape)
        if name in constant:
            values[:] = 1.5
        values[list((invalid or {}).get(name, ()))] = np.nan
        values[list((unmarked_nan or {}).get(name, ()))] = np.nan
        dims = ("channel", "y", "x") if len(shape) == 3 else ("feature",)
        digest = writer.add_space(store, name, shape, dims, "float16", config, fidelity=len(shape) == 3)
        group: Any = store.group("r+")[layout.space_path(name)]
        marked = np.ones(rows, bool)
        marked[list((invalid or {}).get(name, ()))] = False
        for shard in range(layout.shard_count(rows, shard_rows)):
            if (name, shard) in without:
                continue
            span = layout.span(shard, rows, shard_rows)
            part = slice(span.start, span.stop)
            arrays = {layout.LATENT: values[part], layout.VALID: marked[part]}
            if len(shape) == 3:
                fidelity = np.full((len(span), len(layout.FIDELITY_MEASURES)), np.nan, np.float32)
                fidelity[0] = (31.0, 0.9, 35.0 + shard, 0.95)
                arrays[layout.FIDELITY] = fidelity
            reasons = {row: "made invalid" for row in span if not marked[row]}
            writer.write_unit(store, group, writer.Unit(name, shard, digest, arrays, reasons, device="cpu"))
    return Zoo(store)


def view(name: str, z: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """x = Mz + noise for a space, each space with its own M; the noise alone for Gaussian noise, and something bent for pixels. `(rows, *shape)`"""
    rng = np.random.default_rng(sum(map(ord, name)))
    width = int(np.prod(shape))
    scale = {"gaussian_noise": 0.0, "pixels": 0.5}.get(name, 0.35 if len(shape) == 3 else 1.0)
    x = scale * z @ rng.standard_normal((z.shape[1], width)) / np.sqrt(z.shape[1])
    x += rng.standard_normal(x.shape) * (0.5 if len(shape) == 1 else 1.0)
    if name == "pixels":
        x = np.tanh(x) + 0.3
    return np.asarray(x, np.float16).reshape(len(z), *shape)
