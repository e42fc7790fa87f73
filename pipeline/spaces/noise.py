"""Random numbers that belong to a row: the same whatever the batch, the worker or the order of work.

Each row has its own counter-based Philox stream, keyed by (seed, row); `stream` keeps uses apart that share a seed.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch


def generator(seed: int, row: int, stream: str) -> np.random.Generator:
    """The random stream of one row."""
    key = np.array([seed, row], np.uint64)
    counter = np.array([0, 0, 0, zlib.crc32(stream.encode())], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def gaussian(seed: int, rows: torch.Tensor, shape: Sequence[int], stream: str, device: torch.device) -> torch.Tensor:
    """Standard normal noise `(n, *shape)` in float32 for these row numbers `(n,)`."""
    drawn = [generator(seed, row, stream).standard_normal(tuple(shape), dtype=np.float32) for row in rows.tolist()]
    return torch.from_numpy(np.stack(drawn)).to(device)
