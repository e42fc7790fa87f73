"""Principal components of a space of any width, streamed.

A space of up to `DENSE` dimensions, or of so few rows, is solved exactly through its covariance or Gram matrix. A wider one by block Krylov iteration (Musco and
Musco 2015): with A = Σ (x−μ)(x−μ)ᵀ and a random block B, the span of B, AB, …, A^(m−1)B holds the leading eigenvectors to a far better accuracy than the same
number of products spent on plain power iterations, which matters where the spectrum is as flat as that of inverted noise. With b = k/4 and m = 14 it captures as much as
scikit-learn's randomised solver with its seven power iterations, for less than half the products, even where there is no structure at all. One pass over the
rows for each of the m blocks; memory is that of the basis, d × m·b values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cholesky, eigh, qr, solve_triangular

from noisezoo.analysis.devices import covariance_times
from noisezoo.analysis.streams import Floats, Latents, Rows, blocks, held, moments, numbered_blocks, row_numbers, width

DENSE = 2048
DEPTH = 14
_NULL = 1e-6
_SLACK = 1e-5  # from orthonormal, in float32


@dataclass(frozen=True)
class PCA:
    """Orthonormal `components` `(k, d)` around `mean` `(d,)`, the variance `(k,)` along each, and the variance of the whole."""

    mean: Floats
    components: Floats
    variance: Floats
    total_variance: float

    @property
    def explained(self) -> float:
        """Share of the variance that the components hold."""
        return float(self.variance.sum() / self.total_variance) if self.total_variance > 0 else 0.0

    def scores(self, X: Latents, rows: Rows = None, block_rows: int | None = None) -> Floats:
        """Coordinates (x − μ)·vⱼ of the rows: `(rows, k)` float32."""
        shift = (self.components @ self.mean).astype(np.float32)
        out = np.empty((len(row_numbers(X, rows)), len(self.components)), np.float32)
        for positions, block in numbered_blocks(X, rows, block_rows):
            out[positions] = block @ self.components.T - shift
        return out


def fit_pca(
    X: Latents,
    components: int,
    rows: Rows = None,
    *,
    seed: int = 42,
    block_rows: int | None = None,
    device: str | None = None,
) -> PCA:
    """The leading `components` of the chosen rows; fewer where rows or dimensions do not span so many. `device`: one of torch's, for the passes over wide spaces."""
    d = width(X)
    if d > DENSE and len(row_numbers(X, rows)) > DENSE:
        X, rows = held(X, rows)
    facts = moments(X, rows, block_rows)
    n = facts.rows
    k = min(components, d, n - 1)
    if k < 1 or facts.variance.sum() == 0:
        return PCA(facts.mean, np.empty((0, d), np.float32), np.empty(0), float(facts.variance.sum()))
    if d <= DENSE:
        values, vectors = _by_covariance(X, rows, facts.mean, k, block_rows)
    elif n <= DENSE:
        values, vectors = _by_gram(X, rows, facts.mean, k, block_rows)
    else:
        values, vectors = _by_krylov(X, rows, facts.mean, k, seed, block_rows, device)
    order = np.argsort(values)[::-1]
    order = order[values[order] > _NULL * values.max()]
    vectors = vectors[:, order].T
    heaviest = vectors[np.arange(len(vectors)), np.abs(vectors).argmax(axis=1)]
    vectors = (vectors * np.sign(heaviest)[:, None]).astype(np.float32)
    return PCA(facts.mean, np.ascontiguousarray(vectors), values[order] / n, float(facts.variance.sum()))


def _by_covariance(X: Latents, rows: Rows, mean: Floats, k: int, block_rows: int | None) -> tuple[Floats, Floats]:
    d = len(mean)
    total, centre = np.zeros((d, d)), mean.astype(np.float32)
    for block in blocks(X, rows, block_rows):
        centred = block - centre
        total += centred.T @ centred
    values, vectors = eigh(total, subset_by_index=(d - k, d - 1))
    return values, vectors


def _by_gram(X: Latents, rows: Rows, mean: Floats, k: int, block_rows: int | None) -> tuple[Floats, Floats]:
    centre = mean.astype(np.float32)
    centred = np.concatenate([block - centre for block in blocks(X, rows, block_rows)])
    n = len(centred)
    values, left = eigh((centred @ centred.T).astype(np.float64), subset_by_index=(n - k, n - 1))
    vectors = centred.T @ left
    return values, vectors / np.maximum(np.linalg.norm(vectors, axis=0), np.finfo(np.float32).tiny)


def _by_krylov(
    X: Latents, rows: Rows, mean: Floats, k: int, seed: int, block_rows: int | None, device: str | None
) -> tuple[Floats, Floats]:
    d, centre = len(mean), mean.astype(np.float32)
    size = min(16 * -(-k // 64), d // DEPTH)  # k/4, as whole vectors of the processor
    k = min(k, size * DEPTH)
    basis, columns = np.empty((d, size * DEPTH), np.float32, order="F"), []
    basis[:, :size] = _orthonormal(np.random.default_rng(seed).standard_normal((d, size), np.float32))
    for done in range(size, size * DEPTH + 1, size):
        image = _covariance_times(X, rows, centre, basis[:, done - size : done], block_rows, device)
        found = basis[:, :done]
        columns.append(found.T @ image)
        if done < size * DEPTH:
            image -= found @ columns[-1]
            image -= found @ (found.T @ image)  # twice is enough (Parlett)
            basis[:, done : done + size] = _orthonormal(image)
    # Qᵀ A Q, of which each pass gave the columns of its block down to the diagonal.
    within = np.zeros((basis.shape[1], basis.shape[1]))
    for index, column in enumerate(columns):
        here = slice(index * size, (index + 1) * size)
        within[: len(column), here] = column
        within[here, : len(column)] = column.T
    m = len(within)
    values, inner = eigh(within, subset_by_index=(m - k, m - 1))
    return values, basis @ inner.astype(np.float32)


def _orthonormal(vectors: Floats) -> Floats:
    """An orthonormal basis of the columns' span `(d, b)`: Cholesky QR, twice, which is all products; Householder's where that is not accurate enough."""
    found = vectors
    for _ in range(2):
        try:
            factor = cholesky((found.T @ found).astype(np.float64))
        except LinAlgError:
            break
        found = np.asarray(solve_triangular(factor, found.T, trans="T").T, np.float32)
    else:
        if np.abs(found.T @ found - np.eye(found.shape[1])).max() < _SLACK:
            return found
    return np.asarray(qr(vectors, mode="economic")[0])


def _covariance_times(
    X: Latents, rows: Rows, centre: Floats, B: Floats, block_rows: int | None, device: str | None
) -> Floats:
    """Σ (x−μ)(x−μ)ᵀ B, `(d, b)`."""
    if device:
        return covariance_times(blocks(X, rows, block_rows), centre, B, device)
    total, shift = np.zeros(B.shape), centre @ B
    sums = np.zeros(B.shape[1])
    for block in blocks(X, rows, block_rows):
        along = block @ B - shift
        total += block.T @ along
        sums += along.sum(axis=0, dtype=np.float64)
    return (total - np.outer(centre, sums)).astype(np.float32)
