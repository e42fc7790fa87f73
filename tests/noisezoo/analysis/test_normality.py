"""The three tests decide what SciPy decides."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from noisezoo.analysis.normality import SHAPIRO_LIMIT, accepted, anderson_darling, ordered_scores, shapiro_wilk, share
from noisezoo.errors import NoiseZooError


def scipy_verdicts(sample: np.ndarray) -> tuple[bool, bool, bool]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ad = stats.anderson(sample, "norm")
        return (
            bool(ad.statistic <= ad.critical_values[2]),
            bool(stats.normaltest(sample).pvalue > 0.05),
            bool(stats.shapiro(sample).pvalue > 0.05),
        )


def mixed_samples(m: int, n: int, seed: int = 0) -> np.ndarray:
    """Normal, heavy-tailed, skewed and bimodal samples of many scales: both verdicts occur often, and some p-values lie near 5 %."""
    rng = np.random.default_rng(seed)
    kinds = [
        rng.standard_normal((m, n)),
        rng.standard_t(8, (m, n)),
        rng.gamma(40, size=(m, n)),
        rng.standard_normal((m, n)) + 1.3 * rng.choice([-1, 1], (m, n)),
    ]
    values = np.stack(kinds)[np.arange(m) % 4, np.arange(m)]
    return (values * rng.lognormal(size=(m, 1)) + rng.normal(size=(m, 1))).astype(np.float32)


@pytest.mark.slow
def test_same_verdicts_as_scipy_on_five_thousand_projections() -> None:
    samples = mixed_samples(5000, 250)
    expected = np.array([scipy_verdicts(sample) for sample in samples.astype(np.float64)]).T
    found = accepted(samples)
    for test, column in zip(found, expected, strict=True):
        assert 0.2 < column.mean() < 0.9
        np.testing.assert_array_equal(test, column)


@pytest.mark.parametrize("n", [12, 13, 50, 251, 1000, 5000])
def test_same_statistics_as_scipy_at_any_size(n: int) -> None:
    for sample in mixed_samples(12, n, seed=n).astype(np.float64):
        scores = ordered_scores(sample)
        reference = stats.shapiro(sample)
        w, p = shapiro_wilk(scores)
        assert w == pytest.approx(reference.statistic, abs=1e-7)
        assert p == pytest.approx(reference.pvalue, abs=1e-6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            a2 = stats.anderson(sample, "norm")
        assert anderson_darling(scores)[0] == pytest.approx(a2.statistic, abs=1e-9)
        assert anderson_darling(scores)[1] == a2.critical_values[2]
        assert tuple(bool(verdict[0]) for verdict in accepted(sample[None])) == scipy_verdicts(sample)


def test_shapiro_is_left_out_where_it_is_not_defined() -> None:
    samples = np.random.default_rng(0).standard_normal((2, SHAPIRO_LIMIT + 1))
    assert accepted(samples).sw is None
    with pytest.raises(NoiseZooError, match="5000"):
        shapiro_wilk(ordered_scores(samples))


def test_a_constant_sample_is_never_accepted() -> None:
    samples = np.full((3, 50), 0.1, np.float32)
    assert not any(verdict.any() for verdict in accepted(samples))


@pytest.mark.parametrize(("count", "total"), [(0, 20), (20, 20), (7, 20), (4750, 5000)])
def test_wilson_interval_is_scipys(count: int, total: int) -> None:
    found = share(np.arange(total) < count)
    expected = stats.binomtest(count, total).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.share == count / total
