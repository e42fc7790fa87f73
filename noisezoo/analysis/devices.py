"""The products that most of a study's time goes into, on a device of torch: a GPU where there is one, or the CPU.

Everything else is NumPy's and needs no torch, so that torch is imported here alone, and only when a device is named.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np

from noisezoo.analysis.streams import Floats, Ints
from noisezoo.errors import NoiseZooError

_COLUMNS = 512  # of a block of rows at a time: as many as a core's cache holds


def covariance_times(blocks: Iterable[Floats], centre: Floats, B: Floats, device: str) -> Floats:
    """Σ (x−μ)(x−μ)ᵀ B over all rows, `(d, b)` float32; products in float32, their sum over blocks in float64 (float32 on devices that have none)."""
    torch, where = torch_on(device)
    mean, inner = (torch.from_numpy(np.ascontiguousarray(part)).to(where) for part in (centre, B))
    exact = torch.float32 if where.type == "mps" else torch.float64
    total = torch.zeros(inner.shape, dtype=exact, device=where)
    sums = torch.zeros(inner.shape[1], dtype=exact, device=where)
    with torch.inference_mode():
        shift = mean @ inner
        for block in blocks:
            rows = torch.from_numpy(block).to(where)
            along = rows @ inner - shift
            total += rows.T @ along
            sums += along.sum(dim=0, dtype=exact)
        total -= torch.outer(mean, sums)
    return np.asarray(total.cpu().numpy(), np.float32)


def picked_products_on(directions: Floats, device: str) -> Callable[[Floats, Ints, Ints], Floats]:
    """`gaussianity.picked_products` for these directions `(m, dims, d)`, as products sampled at the places of a sparse matrix."""
    torch, where = torch_on("cpu" if device == "mps" else device)  # where torch has no sparse matrices
    vectors = torch.from_numpy(directions).to(where)
    m, dims, d = directions.shape

    def products(block: Floats, edges: Ints, picked: Ints) -> Floats:
        out = np.empty((len(picked), dims), np.float32)
        rows = torch.from_numpy(block).to(where)
        places = [torch.from_numpy(numbers).to(where) for numbers in (edges, picked)]
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse .* beta state")
            for k in range(dims):
                empty = torch.zeros(len(picked), device=where)
                found = torch.sparse_csr_tensor(*places, empty, size=(m, len(block)), check_invariants=False)
                for start in range(0, d, _COLUMNS):
                    columns = slice(start, start + _COLUMNS)
                    torch.sparse.sampled_addmm(
                        found, vectors[:, k, columns].contiguous(), rows[:, columns].contiguous().T, out=found
                    )
                out[:, k] = found.values().cpu().numpy()
        return out

    return products


def torch_on(device: str) -> tuple[ModuleType, Any]:
    """The library, and its device of that name; refused where either is missing."""
    try:
        import torch
    except ImportError:
        raise NoiseZooError(
            f"Computing on {device} needs PyTorch, which is not installed; type: pip install torch, or leave the device out."
        ) from None
    try:
        where = torch.device(device)
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError) as e:
        raise NoiseZooError(
            f"There is no device '{device}' here ({str(e).strip().splitlines()[0]}); give cpu, or cuda where there is a GPU."
        ) from None
    return torch, where
