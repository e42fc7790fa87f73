"""Is a space normal in many dimensions at once, and not only along lines?

Every projection of a cloud can look normal while the cloud does not (independent components of a mixture do this). Two tests that see the joint shape: Henze and
Zirkler's on random subspaces, as the paper's protocol does on random lines, and Székely and Rizzo's energy test on given coordinates, such as the leading
principal components. Both are invariant to shifts and linear maps: they test shape, not covariance, which `structure.isotropy` measures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln, hyp1f1, ndtr

from noisezoo.analysis.gaussianity import SAMPLE, SEED, fresh_subspaces
from noisezoo.analysis.normality import LEVEL, Share, share
from noisezoo.analysis.streams import Floats, Latents, Rows
from noisezoo.errors import NoiseZooError

DIMS, SUBSPACES, SIMULATIONS = 8, 500, 200


def henze_zirkler(points: Floats) -> tuple[float, float]:
    """Statistic and p-value of Henze and Zirkler's (1990) test for one cloud `(n, d)`.

    With D the squared Mahalanobis distances (covariance with 1/n) and β = ((2d+1)n/4)^(1/(d+4))/√2:
    HZ = 1/n ΣΣ exp(−β²Dᵢⱼ/2) − 2(1+β²)^(−d/2) Σ exp(−β²Dᵢ/(2+2β²)) + n(1+2β²)^(−d/2); under normality nearly log-normal with the mean and variance below.
    """
    n, d = points.shape
    scores = whitened(points)
    b2 = ((2 * d + 1) * n / 4) ** (2 / (d + 4)) / 2
    squares = (scores**2).sum(axis=1)
    between = np.maximum(squares[:, None] + squares - 2 * scores @ scores.T, 0)
    statistic = np.exp(-b2 / 2 * between).sum() / n
    statistic += -2 * (1 + b2) ** (-d / 2) * np.exp(-b2 / (2 + 2 * b2) * squares).sum() + n * (1 + 2 * b2) ** (-d / 2)

    a, w, pair = 1 + 2 * b2, (1 + b2) * (1 + 3 * b2), d * (d + 2)
    mean = 1 - a ** (-d / 2) * (1 + d * b2 / a + pair * b2**2 / (2 * a**2))
    variance = 2 * (1 + 4 * b2) ** (-d / 2) + 2 * a**-d * (1 + 2 * d * b2**2 / a**2 + 3 * pair * b2**4 / (4 * a**4))
    variance -= 4 * w ** (-d / 2) * (1 + 3 * d * b2**2 / (2 * w) + pair * b2**4 / (2 * w**2))
    log_variance = np.log1p(variance / mean**2)
    return float(statistic), float(ndtr(-(np.log(statistic) - np.log(mean) + log_variance / 2) / np.sqrt(log_variance)))


def subspace_acceptance(
    X: Latents,
    rows: Rows = None,
    *,
    dims: int = DIMS,
    subspaces: int = SUBSPACES,
    sample: int = SAMPLE,
    seed: int = SEED,
) -> Share:
    """Share of random `dims`-dimensional subspaces, `sample` fresh rows in each, that Henze and Zirkler's test accepts at 5 %."""
    clouds = fresh_subspaces(X, rows, subspaces=subspaces, dims=dims, sample=sample, seed=seed)
    return share(np.array([henze_zirkler(cloud)[1] > LEVEL for cloud in clouds]))


@dataclass(frozen=True)
class Energy:
    """Energy statistic, the mean of it under normality, and the p-value from `simulations` simulated normal clouds of the same size."""

    statistic: float
    expected: float
    p: float
    simulations: int


def energy_test(points: Floats, *, simulations: int = SIMULATIONS, seed: int = SEED) -> Energy:
    """Székely and Rizzo's (2005) test of multivariate normality for a cloud `(n, d)`, n above d.

    E = n(2/n Σᵢ E‖yᵢ − Z‖ − E‖Z − Z'‖ − 1/n² ΣΣ‖yᵢ − yⱼ‖) for whitened yᵢ and normal Z, Z'. The null is simulated with the same whitening, so the level holds at
    any n and d.
    """
    rng = np.random.default_rng(seed)
    statistic = _energy(whitened(points))
    null = np.array([_energy(whitened(rng.standard_normal(points.shape))) for _ in range(simulations)])
    return Energy(
        statistic, float(null.mean()), float((1 + np.sum(null >= statistic)) / (1 + simulations)), simulations
    )


def _energy(scores: Floats) -> float:
    n, d = scores.shape
    squares = (scores**2).sum(axis=1)
    between = np.sqrt(np.maximum(squares[:, None] + squares - 2 * scores @ scores.T, 0))
    length = np.exp(gammaln((d + 1) / 2) - gammaln(d / 2))
    # E‖a − Z‖ = √2 Γ((d+1)/2)/Γ(d/2) · ₁F₁(−½; d/2; −‖a‖²/2)
    to_normal = np.sqrt(2) * length * hyp1f1(-0.5, d / 2, -squares / 2)
    return float(2 * to_normal.sum() - 2 * length * n - between.sum() / n)


def whitened(points: Floats) -> Floats:
    """Points with mean 0 and covariance I (divided by n), by the Cholesky factor of their covariance."""
    n, d = points.shape
    centred = np.asarray(points, np.float64) - points.mean(axis=0, dtype=np.float64)
    try:
        if n <= d:
            raise np.linalg.LinAlgError
        factor = np.linalg.cholesky(centred.T @ centred / n)
    except np.linalg.LinAlgError:
        raise NoiseZooError(
            f"{n} rows do not span {d} dimensions, so their joint shape cannot be tested; take fewer dimensions or more rows."
        ) from None
    return np.asarray(solve_triangular(factor, centred.T, lower=True, overwrite_b=True).T)
