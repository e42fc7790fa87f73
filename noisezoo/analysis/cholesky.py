"""Cholesky's factorisation of a large positive definite matrix, in place and by tiles.

By tiles because OpenBLAS, which NumPy and SciPy bring, ends the process when it factorises more than some 15,500 rows with two threads: its threaded rank-k update
writes past its buffer. Products and small factorisations, of which this is made, are safe, and as fast.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from noisezoo.analysis.streams import Floats

TILE = 2048


def factorise(A: Floats) -> Floats:
    """L with A = LLᵀ, written over A's lower triangle, which alone is read; what is above it is not to be used afterwards.

    Tile by tile: Lₖₖ is the factor of Aₖₖ − Σⱼ LₖⱼLₖⱼᵀ, and Lᵢₖ = (Aᵢₖ − Σⱼ LᵢⱼLₖⱼᵀ) Lₖₖ⁻ᵀ, over all j < k.
    """
    for here in _tiles(A):
        left = A[here, : here.start]
        A[here, here] -= left @ left.T
        A[here, here] = np.linalg.cholesky(A[here, here])
        for below in _tiles(A, here.stop):
            rest = A[below, here] - A[below, : here.start] @ left.T
            A[below, here] = _triangular(A[here, here], rest.T).T
    return A


def solve(L: Floats, B: Floats) -> Floats:
    """X with LLᵀX = B `(n, p)`, written over B."""
    for here in _tiles(L):
        B[here] = _triangular(L[here, here], B[here] - L[here, : here.start] @ B[: here.start])
    for here in reversed(_tiles(L)):
        B[here] = _triangular(L[here, here], B[here] - L[here.stop :, here].T @ B[here.stop :], transposed=True)
    return B


def _tiles(A: Floats, start: int = 0) -> list[slice]:
    return [slice(at, min(at + TILE, len(A))) for at in range(start, len(A), TILE)]


def _triangular(L: Floats, B: Floats, transposed: bool = False) -> Floats:
    return np.asarray(solve_triangular(L, B, lower=True, trans=int(transposed), check_finite=False))
