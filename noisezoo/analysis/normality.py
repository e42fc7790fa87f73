"""Three tests of normality on many samples at once, and the interval of a share.

`accepted` takes samples `(m, n)` and decides for each what SciPy's `anderson`, `normaltest` and `shapiro` decide one by one. A sample whose values are all equal
has no shape to test: its statistics are NaN and it is never accepted. At level 5 % a test accepts a truly normal sample 95 times in 100.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.polynomial.polynomial import polyval
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import normaltest

from noisezoo.analysis.streams import Bools, Floats
from noisezoo.errors import NoiseZooError

LEVEL = 0.05
SHAPIRO_LIMIT = 5000
_CHUNK_VALUES = 1 << 21


def ordered_scores(samples: Floats) -> Floats:
    """Each sample sorted and standardised (mean 0, standard deviation 1 with n − 1) in float64; NaN where all its values are equal."""
    values = np.sort(np.asarray(samples, np.float64), axis=-1)
    same = values[..., :1] == values[..., -1:]
    spread = values.std(axis=-1, ddof=1, keepdims=True)
    return (values - values.mean(axis=-1, keepdims=True)) / np.where(same, np.nan, spread)


def anderson_darling(scores: Floats) -> tuple[Floats, float]:
    """Anderson-Darling statistic A² of `ordered_scores`, mean and variance being estimated, and its critical value at 5 %.

    A² = −n − Σᵢ (2i−1)/n · [ln Φ(wᵢ) + ln(1 − Φ(wₙ₊₁₋ᵢ))] with w the scores; critical value 0.752 / (1 + 0.75/n + 2.25/n²) after Stephens (1974) and
    D'Agostino (1986), rounded to three places as SciPy does.
    """
    n = scores.shape[-1]
    weights = (2.0 * np.arange(1, n + 1) - 1.0) / n
    terms = log_ndtr(scores) + log_ndtr(-scores[..., ::-1])
    return -n - terms @ weights, float(np.round(0.752 / (1.0 + 0.75 / n + 2.25 / n**2), 3))


def dagostino_pearson(scores: Floats) -> Floats:
    """p-value of D'Agostino and Pearson's K² = Z(skewness)² + Z(kurtosis)², which is χ² with two degrees of freedom."""
    return np.asarray(normaltest(scores, axis=-1).pvalue)


def shapiro_wilk(scores: Floats) -> tuple[Floats, Floats]:
    """Shapiro-Wilk W of `ordered_scores` and its p-value by Royston's algorithm AS R94 (1995), for 12 to 5,000 values.

    W = (Σ aᵢ x₍ᵢ₎)² / Σ (xᵢ − x̄)²; a follows the expected normal order statistics mᵢ = Φ⁻¹((i − 3/8)/(n + 1/4)), its two outermost weights corrected by polynomials
    in n^(−1/2). ln(1 − W) is then nearly normal, with mean and log standard deviation polynomials in ln n. Royston fitted them up to n = 5,000 and no further, so
    longer samples are refused.
    """
    n = scores.shape[-1]
    if not 12 <= n <= SHAPIRO_LIMIT:
        raise NoiseZooError(
            f"Shapiro-Wilk's p-value is known for 12 to {SHAPIRO_LIMIT} values, not {n}; choose a sample size in that range."
        )
    along, total = scores @ _shapiro_weights(n), np.sqrt((scores**2).sum(axis=-1))
    rest = (total - along) * (total + along) / total**2  # 1 − W as a product keeps its digits when W is near one
    size = np.log(n)
    centre = polyval(size, [-1.5861, -0.31082, -0.083751, 0.0038915])
    scale = np.exp(polyval(size, [-0.4803, -0.082676, 0.0030302]))
    return 1.0 - rest, ndtr(-(np.log(rest) - centre) / scale)


def _shapiro_weights(n: int) -> Floats:
    """Unit weights for the ordered sample, antisymmetric, `(n,)`."""
    half = -ndtri((np.arange(1, n // 2 + 1) - 0.375) / (n + 0.25))
    norm, step = 2.0 * half @ half, n**-0.5
    first = polyval(step, [0.0, 0.221157, -0.147981, -2.07119, 4.434685, -2.706056]) + half[0] / np.sqrt(norm)
    second = polyval(step, [0.0, 0.042981, -0.293762, -1.752461, 5.682633, -3.582633]) + half[1] / np.sqrt(norm)
    inner = np.sqrt((norm - 2 * half[0] ** 2 - 2 * half[1] ** 2) / (1 - 2 * first**2 - 2 * second**2))
    upper = np.concatenate([[first, second], half[2:] / inner])
    weights = np.concatenate([-upper, np.zeros(n % 2), upper[::-1]])
    return weights / np.linalg.norm(weights)


class Verdicts(NamedTuple):
    """Which samples `(m,)` each test accepts: Anderson-Darling, D'Agostino-Pearson, Shapiro-Wilk (None where it is not defined)."""

    ad: Bools
    dp: Bools
    sw: Bools | None


def accepted(samples: Floats) -> Verdicts:
    """Which samples `(m, n)` each test accepts as normal at 5 %; Shapiro-Wilk is None for n above 5,000."""
    m, n = samples.shape
    ad, dp, sw = np.zeros(m, np.bool_), np.zeros(m, np.bool_), np.zeros(m, np.bool_)
    step = max(1, _CHUNK_VALUES // n)
    for part in (slice(start, start + step) for start in range(0, m, step)):
        scores = ordered_scores(samples[part])
        statistic, critical = anderson_darling(scores)
        ad[part] = statistic <= critical
        dp[part] = dagostino_pearson(scores) > LEVEL
        if n <= SHAPIRO_LIMIT:
            sw[part] = shapiro_wilk(scores)[1] > LEVEL
    return Verdicts(ad, dp, sw if n <= SHAPIRO_LIMIT else None)


@dataclass(frozen=True)
class Share:
    """A share `count / total` and its Wilson interval at 95 %."""

    count: int
    total: int
    share: float
    low: float
    high: float


def share(hits: Bools) -> Share:
    """The share of True and Wilson's (1927) interval: (p̂ + z²/2n ± z·√(p̂(1−p̂)/n + z²/4n²)) / (1 + z²/n), which stays inside 0 and 1."""
    total, count = int(hits.size), int(np.count_nonzero(hits))
    z, p = float(ndtri(0.975)), count / total
    centre = p + z * z / (2 * total)
    reach = z * float(np.sqrt(p * (1 - p) / total + z * z / (4 * total * total)))
    low, high = (centre - reach) / (1 + z * z / total), (centre + reach) / (1 + z * z / total)
    return Share(count, total, p, max(0.0, low), min(1.0, high))
