"""The one product that most of a study's time goes into, on a device of torch: a GPU where there is one.

On a CPU NumPy does it as fast and needs no torch, so that torch is imported here alone, and only when a device is named.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from noisezoo.analysis.streams import Floats
from noisezoo.errors import NoiseZooError


def covariance_times(blocks: Iterable[Floats], centre: Floats, B: Floats, device: str) -> Floats:
    """Σ (x−μ)(x−μ)ᵀ B over all rows, `(d, b)` float32; products in float32, their sum over blocks in float64 (float32 on devices that have none)."""
    try:
        import torch
    except ImportError:
        raise NoiseZooError(
            f"Computing on {device} needs PyTorch, which is not installed; type: pip install torch, or leave the device out."
        ) from None
    try:
        where = torch.device(device)
        mean, inner = (torch.from_numpy(np.ascontiguousarray(part)).to(where) for part in (centre, B))
    except (RuntimeError, AssertionError) as e:
        raise NoiseZooError(
            f"There is no device '{device}' here ({str(e).strip().splitlines()[0]}); give cpu, or cuda where there is a GPU."
        ) from None
    exact = torch.float32 if where.type == "mps" else torch.float64
    total = torch.zeros(inner.shape, dtype=exact, device=where)
    with torch.inference_mode():
        for block in blocks:
            rows = torch.from_numpy(block).to(where)
            rows = rows - mean
            total += rows.T @ (rows @ inner)
    return np.asarray(total.cpu().numpy(), np.float32)
