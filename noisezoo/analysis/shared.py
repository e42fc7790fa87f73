"""The subspace that several spaces share: regularised MAXVAR generalised canonical correlation analysis (Kettenring 1971).

Find shared coordinates G `(n, k)` of unit variance, uncorrelated, and maps Aᵢ with XᵢAᵢ ≈ G that minimise Σᵢ ‖G − XᵢAᵢ‖² + nrᵢ‖Aᵢ‖². With
Cᵢⱼ = XᵢᵀXⱼ/n of centred rows, Tᵢ = (Cᵢᵢ + rᵢI)^(−1/2) and R the matrix of blocks TᵢCᵢⱼTⱼ, the leading eigenvectors w of R with eigenvalues λ (from 0 to the
number of spaces; 1 is what unrelated spaces give) yield Aᵢ = Tᵢwᵢ√λ and G = Σᵢ XᵢAᵢ/λ. Only the covariance of all spaces is held, summed over one pass; a space
wider than `REDUCE` is first reduced to its `REDUCE` leading principal components.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from noisezoo.analysis.pca import fit_pca
from noisezoo.analysis.streams import Floats, Latents, Rows, moments, paired_blocks, row_numbers, width

REDUCE = 1024
RIDGE = 0.01
_ROWS = 2048


@dataclass(frozen=True)
class Shared:
    """`maps[name]` `(k, d)` and `means[name]` `(d,)` in each raw space, `strength` `(k,)` the eigenvalues λ, decreasing."""

    maps: dict[str, Floats]
    means: dict[str, Floats]
    strength: Floats

    def views(
        self, spaces: Mapping[str, Latents], rows: Rows = None, block_rows: int | None = None
    ) -> dict[str, Floats]:
        """Each given space's own estimate XᵢAᵢ of the shared coordinates, `(rows, k)`; any of the fitted spaces will do."""
        names = list(spaces)
        n = len(row_numbers(spaces[names[0]], rows))
        out = {name: np.empty((n, len(self.strength)), np.float32) for name in names}
        for positions, parts in paired_blocks(list(spaces.values()), rows, block_rows):
            for name, block in zip(names, parts, strict=True):
                out[name][positions] = (block - self.means[name].astype(np.float32)) @ self.maps[name].T
        return out

    def coordinates(self, spaces: Mapping[str, Latents], rows: Rows = None, block_rows: int | None = None) -> Floats:
        """G = Σᵢ XᵢAᵢ/λ from all fitted spaces, `(rows, k)`."""
        found = self.views({name: spaces[name] for name in self.maps}, rows, block_rows)
        total = np.sum(list(found.values()), axis=0, dtype=np.float64)
        return np.asarray(total / self.strength, np.float32)


def fit_shared(
    spaces: Mapping[str, Latents],
    components: int,
    rows: Rows = None,
    *,
    ridge: float = RIDGE,
    reduce: int = REDUCE,
    seed: int = 42,
    block_rows: int | None = None,
    device: str | None = None,
) -> Shared:
    """The `components` most shared coordinates of two or more spaces; rᵢ is `ridge` times the mean variance of space i. Leading ones do not depend on how many are asked for."""
    means: dict[str, Floats] = {}
    bases: dict[str, Floats | None] = {}
    for name, X in spaces.items():
        if width(X) > reduce:
            pca = fit_pca(X, reduce, rows, seed=seed, block_rows=block_rows, device=device)
            means[name], bases[name] = pca.mean, pca.components
        else:
            means[name], bases[name] = moments(X, rows, block_rows).mean, None
    covariance, edges = _covariance(spaces, means, bases, rows, block_rows)
    whitening = [_whitening(covariance[a:b, a:b], ridge) for a, b in itertools.pairwise(edges)]
    for i, (a, b) in enumerate(itertools.pairwise(edges)):
        covariance[a:b] = whitening[i] @ covariance[a:b]
        covariance[:, a:b] = covariance[:, a:b] @ whitening[i]
    size = len(covariance)
    k = min(components, *np.diff(edges).tolist())
    values, vectors = eigh((covariance + covariance.T) / 2, subset_by_index=(size - k, size - 1), overwrite_a=True)
    values, vectors = values[::-1], vectors[:, ::-1]
    maps = {}
    for i, name in enumerate(spaces):
        inner = (whitening[i] @ vectors[edges[i] : edges[i + 1]] * np.sqrt(values)).T
        basis = bases[name]
        maps[name] = np.ascontiguousarray(inner if basis is None else inner @ basis, dtype=np.float32)
    return Shared(maps, means, values.copy())


def _covariance(
    spaces: Mapping[str, Latents],
    means: Mapping[str, Floats],
    bases: Mapping[str, Floats | None],
    rows: Rows,
    block_rows: int | None,
) -> tuple[Floats, list[int]]:
    """Covariance of all (reduced) spaces side by side, in float64, and where each begins and ends."""
    sizes = [width(X) if (basis := bases[name]) is None else len(basis) for name, X in spaces.items()]
    edges = [0, *np.cumsum(sizes).tolist()]
    total, count = np.zeros((edges[-1], edges[-1])), 0
    for _, parts in paired_blocks(list(spaces.values()), rows, block_rows):
        centred = [block - means[name].astype(np.float32) for name, block in zip(spaces, parts, strict=True)]
        reduced = [
            part if (basis := bases[name]) is None else part @ basis.T
            for name, part in zip(spaces, centred, strict=True)
        ]
        # In float64: neighbouring eigenvalues may be so near that products in float32 would mix their vectors by a thousandth.
        for at in range(0, len(reduced[0]), _ROWS):
            joint = np.hstack([part[at : at + _ROWS] for part in reduced], dtype=np.float64)
            total += joint.T @ joint
        count += len(reduced[0])
    return total / count, edges


def _whitening(covariance: Floats, ridge: float) -> Floats:
    """(C + rI)^(−1/2), r = ridge · tr C / d."""
    values, vectors = np.linalg.eigh(covariance)
    penalty = ridge * max(float(values.mean()), np.finfo(np.float64).tiny)
    return np.asarray((vectors / np.sqrt(np.maximum(values, 0.0) + penalty)) @ vectors.T)


def agreement(views: Mapping[str, Floats]) -> Floats:
    """For each component the mean over pairs of spaces of the correlation between their estimates of it, `(k,)`: on held-out rows, what is truly shared."""
    stack = np.stack([np.asarray(view, np.float64) for view in views.values()])
    stack = stack - stack.mean(axis=1, keepdims=True)
    lengths = np.sqrt((stack**2).sum(axis=1))
    scaled = stack / np.where(lengths > 0, lengths, 1.0)[:, None]
    pairs = len(stack) * (len(stack) - 1) / 2
    # Σ_{i<j} rᵢⱼ = (‖Σᵢ uᵢ‖² − Σᵢ ‖uᵢ‖²)/2 for unit vectors uᵢ.
    together = (scaled.sum(axis=0) ** 2).sum(axis=0)
    return np.asarray((together - (scaled**2).sum(axis=(0, 1))) / 2 / pairs)
