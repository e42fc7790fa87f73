"""Random numbers that depend on (seed, stream, row, column) and on nothing else: a counter-based hash in 64-bit integers, so that a
row is the same in whatever batch, process or machine it is drawn."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Rows = Sequence[int] | NDArray[np.integer]

_WEYL = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014), a bijection of the 64-bit integers."""
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def as_rows(rows: Rows) -> NDArray[np.int64]:
    """Row numbers as a (n,) int64 array."""
    return np.asarray(rows, dtype=np.int64).reshape(-1)


def uniforms(seed: int, stream: int, rows: Rows, columns: int) -> NDArray[np.float64]:
    """(n, columns) numbers in the open interval (0, 1), multiples of 2^-52 plus a half step."""
    key = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64) + _WEYL)
    key = _mix(key ^ _mix(np.array([stream], dtype=np.uint64) + _WEYL))
    of_row = _mix(key + as_rows(rows).astype(np.uint64) * _WEYL)
    bits = _mix(of_row[:, None] + np.arange(1, columns + 1, dtype=np.uint64)[None, :] * _WEYL)
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def normals(seed: int, stream: int, rows: Rows, columns: int) -> NDArray[np.float64]:
    """(n, columns) standard normal numbers, by the inverse of the distribution function."""
    normal: NDArray[np.float64] = ndtri(uniforms(seed, stream, rows, columns))
    return normal


def on_grid(x: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """x rounded to multiples of 2^-bits: what two machines compute an ulp apart becomes the same number."""
    return np.floor(x * 2.0**bits + 0.5) * 2.0**-bits
