"""From one space to another by a linear map: ridge regression, and what is lost on the way.

With centred X `(n, d)` and Y `(n, p)`: W = (XᵀX + α_eff I)⁻¹ XᵀY and α_eff = α‖X‖²_F/d, the paper's scaling, so that α = 1 shrinks a direction of average variance
by half. Solved by normal equations where there are more rows than dimensions and by the Gram matrix where there are fewer; neither X nor Y is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from noisezoo.analysis.cholesky import factorise, solve
from noisezoo.analysis.probes import Probes
from noisezoo.analysis.streams import (
    Floats,
    Ints,
    Latents,
    Rows,
    block_length,
    blocks,
    held,
    moments,
    numbered_blocks,
    paired_blocks,
    row_numbers,
    width,
)
from noisezoo.errors import NoiseZooError

ALPHA = 1.0
ALPHAS = (0.01, 0.1, 1.0, 10.0)
_TILE = 4096


@dataclass(frozen=True)
class Ridge:
    """The map x → W x + b: `weights` `(p, d)`, `bias` `(p,)`; `penalty` is α_eff."""

    weights: Floats
    bias: Floats
    alpha: float
    penalty: float

    def __call__(self, block: Floats) -> Floats:
        """Map rows `(n, d)` to `(n, p)`."""
        return block @ self.weights.T + self.bias.astype(np.float32)


def fit_ridge(
    X: Latents, Y: Latents, rows: Rows = None, *, alpha: float = ALPHA, block_rows: int | None = None
) -> Ridge:
    """The ridge map from X to Y over the chosen rows."""
    return fit_ridges(X, Y, rows, alphas=(alpha,), block_rows=block_rows)[0]


def fit_ridges(
    X: Latents, Y: Latents, rows: Rows = None, *, alphas: Sequence[float], block_rows: int | None = None
) -> list[Ridge]:
    """One map for each α; the sums over rows are made once."""
    if min(alphas) <= 0:
        raise NoiseZooError(
            f"Ridge regression needs α above 0, not {min(alphas)}; pass a small positive α for next to no penalty."
        )
    x, y = moments(X, rows, block_rows), moments(Y, rows, block_rows)
    n, d = x.rows, width(X)
    size = n * float(x.variance.sum()) / d
    dual = n < d
    if dual:
        left, right = _gram(X, rows, x.mean, block_rows), _centred(Y, rows, y.mean, block_rows)
    else:
        left, right = _normal_equations(X, Y, rows, x.mean, y.mean, block_rows)
    found = []
    for alpha in alphas:
        # Rows all alike leave nothing to learn from: the map is then the mean of Y, whatever the penalty.
        penalty = alpha * size if size > 0 else 1.0
        last = alpha == alphas[-1]
        system = left if last else left.copy()
        system[np.diag_indices_from(system)] += penalty
        solved = solve(factorise(system), right if last else right.copy())
        weights = _times_rows(X, rows, x.mean, solved, block_rows) if dual else solved.T.astype(np.float32)
        found.append(Ridge(weights, y.mean - weights @ x.mean, alpha, penalty))
    return found


def _normal_equations(
    X: Latents, Y: Latents, rows: Rows, x_mean: Floats, y_mean: Floats, block_rows: int | None
) -> tuple[Floats, Floats]:
    """XᵀX `(d, d)`, of which only the lower triangle is filled, and XᵀY `(d, p)` of centred rows in float64, by tiles so that no second matrix of that size is needed."""
    d, p = len(x_mean), len(y_mean)
    left, right = np.zeros((d, d)), np.zeros((d, p))
    # Many rows at a time, for adding up `(d, d)` values takes as long as multiplying several hundred rows.
    length = block_rows or 4 * min(block_length(X), block_length(Y))
    for _, (x, y) in paired_blocks([X, Y], rows, length):
        x, y = x - x_mean.astype(np.float32), y - y_mean.astype(np.float32)
        for top in range(0, d, _TILE):
            band = slice(top, top + _TILE)
            left[band, : top + _TILE] += x[:, band].T @ x[:, : top + _TILE]
            right[band] += x[:, band].T @ y
    return left, right


def _gram(X: Latents, rows: Rows, mean: Floats, block_rows: int | None) -> Floats:
    """XXᵀ `(n, n)` of centred rows in float64, of which only the lower triangle is filled; blocks are met again for each pair, so rows are held where memory allows."""
    X, rows = held(X, rows)
    numbers, centre = row_numbers(X, rows), mean.astype(np.float32)
    length = block_rows or block_length(X)
    out = np.empty((len(numbers), len(numbers)))
    for here, block in numbered_blocks(X, rows, length):
        block = block - centre
        shift = block @ centre
        for there, other in numbered_blocks(X, rows, length):
            if there.start > here.start:
                break
            out[here, there] = block @ other.T - shift[:, None]
    return out


def _centred(Y: Latents, rows: Rows, mean: Floats, block_rows: int | None) -> Floats:
    return np.concatenate([block - mean for block in blocks(Y, rows, block_rows)])


def _times_rows(X: Latents, rows: Rows, mean: Floats, dual: Floats, block_rows: int | None) -> Floats:
    """Σ aᵢ(xᵢ − μ)ᵀ, `(p, d)`."""
    total = np.zeros((dual.shape[1], len(mean)))
    for positions, block in numbered_blocks(X, rows, block_rows):
        total += dual[positions].astype(np.float32).T @ (block - mean.astype(np.float32))
    return total.astype(np.float32)


def choose_alpha(
    X: Latents, Y: Latents, rows: Rows = None, *, alphas: Sequence[float] = ALPHAS, folds: int = 5, seed: int = 42
) -> tuple[float, Floats]:
    """The α with the best R² on left-out rows, averaged over folds, and that R² for every α."""
    numbers = row_numbers(X, rows)
    fold = np.random.default_rng(seed).permutation(len(numbers)) % folds
    scores = np.zeros((folds, len(alphas)))
    for index in range(folds):
        maps = fit_ridges(X, Y, numbers[fold != index], alphas=alphas)
        scores[index] = [measure_transfer(ridge, X, Y, numbers[fold == index]).r2 for ridge in maps]
    mean = scores.mean(axis=0)
    return float(alphas[int(mean.argmax())]), mean


@dataclass(frozen=True)
class Transfer:
    """How near mapped rows come: mean squared error per value, cosine, R² over all values, and beside the cosine what two trivial views of it give.

    An embedding's mean alone has a cosine with every embedding (`cosine_of_mean`); `centred_cosine` takes the mean out of both sides.
    """

    mse: float
    cosine: float
    centred_cosine: float
    cosine_of_mean: float
    r2: float


def measure_transfer(
    ridge: Ridge, X: Latents, Y: Latents, rows: Rows = None, *, block_rows: int | None = None
) -> Transfer:
    """Measures of the mapped rows of X against the rows of Y."""
    facts = moments(Y, rows, block_rows)
    mean = facts.mean.astype(np.float32)
    error, cosines = 0.0, np.zeros(3)
    for _, (x, y) in paired_blocks([X, Y], rows, block_rows):
        mapped = ridge(x)
        error += float(((mapped - y) ** 2).sum(dtype=np.float64))
        cosines += [_cosine(mapped, y), _cosine(mapped - mean, y - mean), _cosine(np.broadcast_to(mean, y.shape), y)]
    total = facts.rows * float(facts.variance.sum())
    cosine, centred, trivial = (cosines / facts.rows).tolist()
    r2 = 1.0 - error / total if total > 0 else float("nan")
    return Transfer(error / (facts.rows * width(Y)), cosine, centred, trivial, r2)


def _cosine(a: Floats, b: Floats) -> float:
    """Sum over rows of the cosine; a row of zeros counts as 0."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float((np.einsum("ij,ij->i", a, b) / np.where(lengths > 0, lengths, 1.0)).sum(dtype=np.float64))


def accuracy_drop(
    ridge: Ridge,
    X: Latents,
    Y: Latents,
    probes: Probes,
    labels: Ints,
    names: Sequence[str],
    rows: Rows = None,
    *,
    block_rows: int | None = None,
) -> Floats:
    """Points of accuracy (0 to 100) that Y's fixed probes lose on mapped rows, for each of `probes.names`; negative where they gain."""
    known = labels[row_numbers(X, rows)][:, [list(names).index(name) for name in probes.names]]
    right = np.zeros((2, len(probes.names)))
    for positions, (x, y) in paired_blocks([X, Y], rows, block_rows):
        truth = known[positions]
        for index, latents in enumerate((y, ridge(x))):
            scores = latents @ probes.weights.T + probes.biases
            right[index] += (((scores > 0) == (truth == 1)) & (truth >= 0)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(100.0 * (right[0] - right[1]) / (known >= 0).sum(axis=0))
