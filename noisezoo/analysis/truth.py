"""Against the truth, where a source knows the latent that its images were drawn from (the toy faces).

How much of the true z is in a space (canonical correlations), whether a probe's normal points along the attribute's true direction (angles), and whether probes
co-vary as the attributes truly do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisezoo.analysis.shared import REDUCE, RIDGE, agreement, fit_shared
from noisezoo.analysis.streams import Floats, Latents, Rows


def canonical_correlations(
    X: Latents,
    z: Floats,
    train: Rows,
    held_out: Rows,
    *,
    ridge: float = RIDGE,
    reduce: int = REDUCE,
    block_rows: int | None = None,
) -> Floats:
    """Correlations between canonical pairs of a space and the true z `(all rows, q)`, fitted on `train`, measured on `held_out`: `(min(d, q),)`, decreasing.

    Held-out rows keep a wide space from finding what is not there. Two-set MAXVAR GCCA is classical CCA, so the fit is `fit_shared`'s.
    """
    pair: dict[str, Latents] = {"space": X, "truth": z}
    shared = fit_shared(pair, z.shape[1], train, ridge=ridge, reduce=reduce, block_rows=block_rows)
    return np.sort(agreement(shared.views(pair, held_out, block_rows)))[::-1]


def pulled_back(scores: Floats, z: Floats) -> Floats:
    """What probes read in terms of the truth: the coefficients of each score `(n, a)` regressed on z `(n, q)` by least squares, `(a, q)`.

    For x = Mz + noise and a probe w·x + b this is Mᵀw, the probe's normal brought back to the true latent space.
    """
    centred = z - z.mean(axis=0)
    return np.asarray(np.linalg.lstsq(centred, scores - scores.mean(axis=0), rcond=None)[0].T)


def angles(found: Floats, true: Floats) -> Floats:
    """Angle in degrees between corresponding rows of two `(a, q)` arrays of directions."""
    dots = np.einsum("ij,ij->i", found, true) / (np.linalg.norm(found, axis=1) * np.linalg.norm(true, axis=1))
    return np.degrees(np.arccos(np.clip(dots, -1.0, 1.0)))


@dataclass(frozen=True)
class Covariation:
    """Correlation matrices `(a, a)` of the attributes, true and as probes see them; `likeness` is the correlation between their entries off the diagonal."""

    true: Floats
    found: Floats
    likeness: float
    largest_gap: float


def covariation(scores: Floats, true_scores: Floats) -> Covariation:
    """Compare how probe scores `(n, a)` and true attribute scores `(n, a)` of the same rows co-vary."""
    found = np.atleast_2d(np.corrcoef(scores, rowvar=False))
    true = np.atleast_2d(np.corrcoef(true_scores, rowvar=False))
    above = np.triu_indices(len(found), 1)
    gap = np.abs(found - true)[above]
    likeness = float(np.corrcoef(found[above], true[above])[0, 1]) if gap.size > 1 else float("nan")
    return Covariation(true, found, likeness, float(gap.max()) if gap.size else 0.0)
