"""Where a space departs from white noise: its norms, its covariance, its frequencies and its channels.

Normal projections do not make a space N(0, I): the covariance may be anything. Here it is compared with σ²I, and for latents that are pictures `(c, h, w)` split
into spatial frequencies and channels, where inverted noise shows its remains of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import fft2
from scipy.special import gammaln, ndtr
from scipy.stats import chi, kstest

from noisezoo.analysis.streams import Floats, Latents, Rows, blocks, moments, numbered_blocks, row_numbers, width
from noisezoo.errors import NoiseZooError


@dataclass(frozen=True)
class Norms:
    """Lengths ‖x − μ‖/σ `(rows,)`, σ² the mean variance of a coordinate, beside the chi distribution with d degrees of freedom that N(μ, σ²I) gives.

    `offset` is ‖μ‖/(σ√d): 0 for noise, about 1 or more where the mean is as long as what varies.
    """

    values: Floats
    mean: float
    sd: float
    expected_mean: float
    expected_sd: float
    distance: float
    scale: float
    offset: float


def norms(X: Latents, rows: Rows = None, block_rows: int | None = None) -> Norms:
    """Norms of the rows against chi: `distance` is the Kolmogorov-Smirnov distance between the two distributions."""
    facts, d = moments(X, rows, block_rows), width(X)
    scale = float(np.sqrt(facts.variance.mean()))
    if scale == 0:
        raise NoiseZooError("All chosen rows are equal, so their norms have no distribution; choose other rows.")
    values = np.empty(facts.rows)
    for positions, block in numbered_blocks(X, rows, block_rows):
        centred = block - facts.mean.astype(np.float32)
        values[positions] = np.sqrt(np.einsum("ij,ij->i", centred, centred)) / scale
    expected = float(np.sqrt(2) * np.exp(gammaln((d + 1) / 2) - gammaln(d / 2)))
    distance = float(kstest(values, chi(d).cdf).statistic)
    offset = float(np.linalg.norm(facts.mean) / (scale * np.sqrt(d)))
    return Norms(
        values,
        float(values.mean()),
        float(values.std()),
        expected,
        float(np.sqrt(d - expected**2)),
        distance,
        scale,
        offset,
    )


@dataclass(frozen=True)
class Isotropy:
    """How far a covariance Σ is from σ²I: `departure` is d·tr Σ²/(tr Σ)² − 1 (0 if isotropic), estimated without bias even from far fewer rows than dimensions.

    `dimension` (tr Σ)²/tr Σ² counts the directions that carry the variance; `z` and `p` test departure = 0; `variance_spread` is the standard deviation over
    coordinates of their variances relative to the mean one.
    """

    departure: float
    dimension: float
    z: float
    p: float
    pairs: int
    variance_spread: float


def isotropy(
    X: Latents, rows: Rows = None, *, rows_most: int = 4000, seed: int = 42, block_rows: int | None = None
) -> Isotropy:
    """Sphericity in high dimensions after Chen, Zhang and Zhong (2010).

    Rows are paired at random, y = (x − x')/√2 having covariance Σ and no mean; tr Σ is estimated by the mean of ‖y‖², tr Σ² by the mean of (yᵢ·yⱼ)² over i ≠ j. For m
    pairs from a Gaussian with Σ = σ²I, m·departure/2 is nearly standard normal.
    """
    numbers = row_numbers(X, rows)
    if len(numbers) < 4:
        raise NoiseZooError(f"Isotropy needs at least 4 rows, not {len(numbers)}; choose more rows.")
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(numbers))[: min(rows_most, len(numbers)) // 2 * 2]
    order = np.argsort(chosen)
    held = np.empty((len(chosen), width(X)), np.float32)
    for positions, block in numbered_blocks(X, numbers[chosen[order]], block_rows):
        held[order[positions]] = block
    pairs = (held[::2] - held[1::2]) / np.float32(np.sqrt(2))
    m, d = pairs.shape
    products = (pairs @ pairs.T).astype(np.float64)
    own = np.diag(products).copy()
    trace, square = own.mean(), ((products**2).sum() - (own**2).sum()) / (m * (m - 1))
    if trace == 0:
        raise NoiseZooError("All chosen rows are equal, so their covariance has no shape; choose other rows.")
    departure = float(d * square / trace**2 - 1)
    z = m * departure / 2
    variance = moments(X, numbers, block_rows).variance
    return Isotropy(
        departure, float(d / max(1 + departure, 1.0)), z, float(ndtr(-z)), m, float(variance.std() / variance.mean())
    )


@dataclass(frozen=True)
class Spectrum:
    """`power` `(c, h, w)`: variance of each spatial frequency, zero frequency at [0, 0]; flat for white noise and then equal to the variance of a value.

    `radial` `(c, r)` is its mean over rings of `frequency` `(r,)` cycles per picture. `channels` `(c, c)` is the covariance between channels at one place.
    """

    power: Floats
    frequency: Floats
    radial: Floats
    channels: Floats


def spectrum(X: Latents, rows: Rows = None, block_rows: int | None = None) -> Spectrum:
    """Mean of |FFT₂(x − μ)|²/(h·w) over rows for each channel, and the covariance between channels; for latents of shape `(rows, c, h, w)`."""
    if len(X.shape) != 4:
        raise NoiseZooError(
            f"Frequencies need latents of shape (rows, c, h, w), not {tuple(X.shape)}; leave this space out."
        )
    _, c, h, w = X.shape
    facts = moments(X, rows, block_rows)
    power, between = np.zeros((c, h, w)), np.zeros((c, c))
    for block in blocks(X, rows, block_rows):
        centred = (block - facts.mean.astype(np.float32)).reshape(-1, c, h, w)
        waves = fft2(centred)
        power += (waves.real**2 + waves.imag**2).sum(axis=0, dtype=np.float64)
        flat = centred.transpose(1, 0, 2, 3).reshape(c, -1)
        between += flat @ flat.T
    power /= facts.rows * h * w
    radius = np.hypot(np.fft.fftfreq(h, 1 / h)[:, None], np.fft.fftfreq(w, 1 / w))
    ring = np.rint(radius).astype(int).ravel()
    count = np.bincount(ring)
    radial = np.stack([np.bincount(ring, plane.ravel()) / count for plane in power])
    return Spectrum(power, np.arange(len(count), dtype=np.float64), radial, between / (facts.rows * h * w))
