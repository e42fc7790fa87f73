"""Norms, isotropy, spectra and the multivariate tests: right on what is known, and blind to how rows are cut."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from noisezoo.analysis.multivariate import energy_test, henze_zirkler, subspace_acceptance, whitened
from noisezoo.analysis.structure import isotropy, norms, spectrum
from noisezoo.errors import NoiseZooError


@pytest.fixture(scope="module")
def white() -> np.ndarray:
    return (2 * np.random.default_rng(0).standard_normal((2000, 4, 16, 16)) + 0.5).astype(np.float16)


@pytest.fixture(scope="module")
def smooth(white: np.ndarray) -> np.ndarray:
    """Noise with more power in low frequencies and channels that go together."""
    values = white.astype(np.float32)
    values = values + np.roll(values, 1, axis=2) + np.roll(values, 1, axis=3)
    values[:, 1] = 0.6 * values[:, 0] + 0.8 * values[:, 1]
    return values


def test_norms_of_noise_follow_chi(white: np.ndarray) -> None:
    found = norms(white)
    assert found.distance < 1.63 / np.sqrt(2000)  # 1 % point of Kolmogorov-Smirnov
    assert found.mean == pytest.approx(found.expected_mean, abs=0.1)
    assert found.expected_mean == pytest.approx(stats.chi(1024).mean())
    assert found.expected_sd == pytest.approx(stats.chi(1024).std())
    assert found.scale == pytest.approx(2, abs=0.01)
    assert found.offset == pytest.approx(0.25, abs=0.02)
    np.testing.assert_allclose(norms(white, block_rows=77).values, found.values, rtol=1e-5)


def test_norms_show_rows_of_uneven_strength(white: np.ndarray) -> None:
    uneven = white.astype(np.float32) * np.random.default_rng(1).lognormal(0, 0.3, (2000, 1, 1, 1))
    assert norms(uneven).distance > 0.2


def test_isotropy_is_zero_for_noise_and_right_for_a_known_covariance(white: np.ndarray) -> None:
    found = isotropy(white)
    assert abs(found.z) < 3.5
    assert found.dimension == pytest.approx(1024, rel=0.02)
    scales = np.linspace(0.2, 3, 1024)
    shaped = np.random.default_rng(3).standard_normal((2000, 1024)) * scales + 4
    uneven = isotropy(shaped)
    assert uneven.departure == pytest.approx(1024 * (scales**4).sum() / (scales**2).sum() ** 2 - 1, rel=0.05)
    assert uneven.p < 1e-6
    assert isotropy(shaped, block_rows=99).departure == pytest.approx(uneven.departure, rel=1e-6)
    assert uneven.variance_spread == pytest.approx((scales**2).std() / (scales**2).mean(), rel=0.05)


def test_spectrum_of_noise_is_flat_and_of_smooth_noise_is_not(white: np.ndarray, smooth: np.ndarray) -> None:
    flat = spectrum(white)
    np.testing.assert_allclose(flat.power, 4, rtol=0.2)
    np.testing.assert_allclose(flat.channels, 4 * np.eye(4), atol=0.05)
    falling = spectrum(smooth, block_rows=33)
    assert falling.radial[0, 1] > 4 * falling.radial[0, -1]
    assert np.corrcoef(smooth[:, 0].ravel(), smooth[:, 1].ravel())[0, 1] == pytest.approx(
        falling.channels[0, 1] / np.sqrt(falling.channels[0, 0] * falling.channels[1, 1]), abs=0.02
    )
    kernel = np.zeros((16, 16))
    kernel[0, 0] = kernel[1, 0] = kernel[0, 1] = 1
    np.testing.assert_allclose(falling.power[0], 4 * np.abs(np.fft.fft2(kernel)) ** 2, rtol=0.3, atol=0.05)
    assert falling.power[2].mean() == pytest.approx(smooth[:, 2].var(axis=0).mean(), rel=1e-3)  # Parseval


def test_spectrum_of_an_embedding_is_refused() -> None:
    with pytest.raises(NoiseZooError, match="shape"):
        spectrum(np.zeros((5, 8)))


def test_henze_zirkler_is_its_formula() -> None:
    points = np.random.default_rng(0).standard_t(5, (40, 3))
    scores = whitened(points)
    np.testing.assert_allclose(scores.T @ scores / 40, np.eye(3), atol=1e-10)
    inverse = np.linalg.inv(np.cov(points, rowvar=False, bias=True))
    b2 = 0.5 * ((2 * 3 + 1) * 40 / 4) ** (2 / 7)
    total = 0.0
    for x in points:
        total += sum(np.exp(-b2 / 2 * (x - y) @ inverse @ (x - y)) for y in points) / 40
        c = x - points.mean(axis=0)
        total -= 2 * (1 + b2) ** -1.5 * np.exp(-b2 / (2 * (1 + b2)) * c @ inverse @ c)
    assert henze_zirkler(points)[0] == pytest.approx(total + 40 * (1 + 2 * b2) ** -1.5)


def test_subspaces_of_a_gaussian_are_accepted_and_of_a_mixture_not(white: np.ndarray) -> None:
    good = subspace_acceptance(white, dims=4, subspaces=300)
    assert 0.91 < good.share < 0.985
    rng = np.random.default_rng(0)
    mixture = rng.standard_normal((3000, 6)) + 2 * rng.choice([-1, 1], (3000, 6))
    assert subspace_acceptance(mixture, dims=4, subspaces=100).share < 0.3


def test_energy_keeps_its_level_and_sees_heavy_tails() -> None:
    rng = np.random.default_rng(0)
    calm = [
        energy_test(rng.standard_normal((60, 5)) @ rng.standard_normal((5, 5)), simulations=39, seed=i).p
        for i in range(60)
    ]
    assert 0.3 < np.mean(calm) < 0.7
    heavy = rng.standard_normal((300, 5)) * rng.chisquare(4, (300, 1)) ** -0.5
    found = energy_test(heavy, simulations=99)
    assert found.p == pytest.approx(0.01)
    assert found.statistic > 2 * found.expected


def test_too_few_rows_for_a_joint_shape_are_refused() -> None:
    for points in (np.random.default_rng(0).standard_normal((5, 8)), np.ones((50, 3))):
        with pytest.raises(NoiseZooError, match="span"):
            energy_test(points)
    with pytest.raises(NoiseZooError, match="equal"):
        norms(np.ones((10, 3)))
    with pytest.raises(NoiseZooError, match="at least 4"):
        isotropy(np.eye(3))
