"""A space with planted structure: attributes that are signs of directions of a known Gaussian z, seen through a linear map and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class Planted:
    z: np.ndarray  # (rows, 12) true latent
    directions: np.ndarray  # (5, 12) unit directions of z
    labels: np.ndarray  # (rows, 5) int8
    names: tuple[str, ...]
    maps: dict[str, np.ndarray]  # (d, 12)
    spaces: dict[str, np.ndarray]  # (rows, ...)
    train: np.ndarray
    test: np.ndarray


def plant(rows: int = 6000, seed: int = 0) -> Planted:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((rows, 12))
    directions = rng.standard_normal((5, 12))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    thresholds = np.array([0.0, 0.3, -0.4, 0.8, -1.0])
    labels = (z @ directions.T + 0.15 * rng.standard_normal((rows, 5)) > thresholds).astype(np.int8)
    labels[rng.random(labels.shape) < 0.03] = -1
    shapes = {"noise": (3, 8, 8), "encoder": (48,), "wide": (4, 26, 26)}
    maps, spaces = {}, {}
    for name, shape in shapes.items():
        d = int(np.prod(shape))
        maps[name] = rng.standard_normal((d, 12)) / 3
        values = z @ maps[name].T + 0.3 * rng.standard_normal((rows, d)) + rng.standard_normal(d)
        spaces[name] = values.reshape(rows, *shape).astype(np.float16)
    part = rng.random(rows) < 0.5
    names = ("Smiling", "Male", "Young", "Hat", "Beard")
    return Planted(z, directions, labels, names, maps, spaces, np.flatnonzero(part), np.flatnonzero(~part))


@pytest.fixture(scope="session")
def planted() -> Planted:
    return plant()
