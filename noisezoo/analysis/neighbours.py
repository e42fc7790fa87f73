"""Do two spaces agree on which rows are alike? Compared with the same spaces whose rows have been shuffled.

Likeness is the cosine of centred rows. `spearman`: for each row, the rank correlation of its likeness to all others in one space and in the other, averaged.
`overlap`: the share of a row's `near` nearest neighbours in one space that are among them in the other (mutual nearest neighbours).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from noisezoo.analysis.streams import Floats
from noisezoo.errors import NoiseZooError

NEAR, ROWS_MOST, PERMUTATIONS = 10, 2000, 20


@dataclass(frozen=True)
class Neighbours:
    """Agreement, and the highest that shuffled rows reached in `permutations` trials."""

    rows: int
    spearman: float
    spearman_by_chance: float
    overlap: float
    overlap_by_chance: float
    permutations: int


def neighbour_agreement(
    A: Floats,
    B: Floats,
    *,
    near: int = NEAR,
    rows_most: int = ROWS_MOST,
    permutations: int = PERMUTATIONS,
    seed: int = 42,
) -> Neighbours:
    """Agreement of coordinates A `(n, k)` and B `(n, l)` of the same rows, on `rows_most` of them drawn at random if there are more."""
    if len(A) != len(B) or len(A) < near + 2:
        raise NoiseZooError(
            f"Neighbourhoods of {near} cannot be compared on {len(A)} and {len(B)} rows; pass the same rows of both, at least {near + 2}."
        )
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(A), min(rows_most, len(A)), replace=False))
    first, second = _ranks(A[chosen]), _ranks(B[chosen])
    n = len(chosen)
    spearman, overlap = _compare(first, second, near)
    chance = [
        _compare(first, second[np.ix_(order, order)], near)
        for order in (rng.permutation(n) for _ in range(permutations))
    ]
    highest = np.max(chance, axis=0) if chance else np.full(2, np.nan)
    return Neighbours(n, spearman, float(highest[0]), overlap, float(highest[1]), permutations)


def _ranks(points: Floats) -> Floats:
    """Rank of every other row by likeness, `(n, n)`: 1 the least alike, n − 1 the most; 0 on the diagonal, which takes no part."""
    centred = np.asarray(points, np.float64) - points.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    scaled = centred / np.where(lengths > 0, lengths, 1.0)
    likeness = scaled @ scaled.T
    np.fill_diagonal(likeness, -np.inf)
    return np.asarray(rankdata(likeness, axis=1) - 1, np.float32)


def _compare(first: Floats, second: Floats, near: int) -> tuple[float, float]:
    n = len(first)
    middle = np.float32(n / 2)  # mean of the ranks 1 … n − 1
    a, b = first - middle, second - middle
    np.fill_diagonal(a, 0)
    np.fill_diagonal(b, 0)
    together = np.einsum("ij,ij->i", a, b, dtype=np.float64)
    spread = np.sqrt(np.einsum("ij,ij->i", a, a, dtype=np.float64) * np.einsum("ij,ij->i", b, b, dtype=np.float64))
    nearest = (first > n - 1 - near) & (second > n - 1 - near)
    return float((together / np.where(spread > 0, spread, 1.0)).mean()), float(nearest.sum() / (n * near))
