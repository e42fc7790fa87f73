"""Directions are at right angles to what they must keep, and strengths are standard deviations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.preprocessing import PowerTransformer

from noisezoo.analysis.directions import boundary, fit_strength, orthogonalise, shift, unit
from noisezoo.analysis.probes import fit_probes
from noisezoo.errors import NoiseZooError


def test_against_one_direction_it_is_the_papers_formula() -> None:
    w1, w2 = np.random.default_rng(0).standard_normal((2, 50))
    np.testing.assert_allclose(orthogonalise(w1, w2), w1 - np.outer(w2, w2) @ w1 / (w2 @ w2), atol=1e-12)


@given(st.integers(1, 6), st.integers(0, 3), st.integers(0, 1000))
def test_it_is_at_right_angles_to_every_other_even_when_they_repeat(count: int, repeats: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    others = rng.standard_normal((count, 20)) * rng.lognormal(0, 3, (count, 1))
    others = np.concatenate([others, others[rng.integers(0, count, repeats)] * -2])
    w = rng.standard_normal(20)
    left = orthogonalise(w, others)
    assert np.abs(unit(others) @ left).max() < 1e-8
    np.testing.assert_allclose(orthogonalise(left, others), left, atol=1e-10)
    # What was removed lies in the span of the others.
    assert np.linalg.matrix_rank(np.vstack([unit(others), unit(w - left)]), tol=1e-8) == np.linalg.matrix_rank(
        unit(others), tol=1e-8
    )


def test_nothing_left_is_told() -> None:
    with pytest.raises(NoiseZooError, match="keep fewer"):
        orthogonalise(np.array([1.0, 1.0, 0.0]), np.eye(3)[:2])


def test_the_boundary_is_reached() -> None:
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((30, 8)), rng.standard_normal(8), 0.7
    alpha = boundary(x @ w + b, w)
    np.testing.assert_allclose((x + alpha[:, None] * w) @ w + b, 0, atol=1e-12)


SHAPES = ("normal", "skewed", "far", "heavy", "two modes")


def drawn(shape: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    return {
        "normal": 3 * rng.standard_normal(4000) + 1,
        "skewed": rng.gamma(2, 5, 4000),
        "far": 0.01 * rng.gamma(3, size=4000) - 400,
        "heavy": rng.standard_t(4, 4000),
        "two modes": rng.choice([-5, 5], 4000) + rng.standard_normal(4000),
    }[shape]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("by", ["power", "quantile"])
def test_strength_is_in_standard_deviations_and_can_be_undone(shape: str, by: str) -> None:
    values = drawn(shape)
    found = fit_strength(values, by)
    places = found.to_sd(values)
    assert places.mean() == pytest.approx(0, abs=1e-9)
    assert places.std() == pytest.approx(1, abs=1e-2 if by == "quantile" else 1e-9)
    np.testing.assert_allclose(found.from_sd(places), values, rtol=1e-8, atol=1e-8 * values.std())
    moved = values[:100] + found.step(values[:100], 1.5)
    np.testing.assert_allclose(found.to_sd(moved) - places[:100], 1.5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_strength_by_quantile_is_normal_whatever_the_shape(shape: str) -> None:
    values = drawn(shape)
    places = fit_strength(values, "quantile").to_sd(values)
    assert kstest(places, "norm").statistic < 1e-3
    assert (kstest(fit_strength(values).to_sd(values), "norm").statistic > 0.1) == (shape == "two modes")


def test_strength_by_quantile_goes_on_beyond_the_rows_and_bears_ties() -> None:
    values = np.round(np.random.default_rng(0).standard_normal(500), 1)
    found = fit_strength(values, "quantile")
    far = np.array([-50.0, 50.0])
    assert (np.diff(found.to_sd(np.sort(np.r_[far, values, values + 0.03]))) >= 0).all()
    np.testing.assert_allclose(found.from_sd(found.to_sd(far)), far)
    np.testing.assert_allclose(found.step(far, 2.0), 2 * values.std())


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_strength_by_power_is_scikit_learns(shape: str) -> None:
    values = drawn(shape)
    places = fit_strength(values).to_sd(values)
    standard = (values - values.mean()) / values.std()
    reference = PowerTransformer("yeo-johnson").fit_transform(standard[:, None])[:, 0]
    np.testing.assert_allclose(places, reference, atol=1e-3)


def test_strength_needs_rows_that_differ() -> None:
    for by in ("power", "quantile"):
        with pytest.raises(NoiseZooError, match="differ"):
            fit_strength(np.ones(10), by)
    with pytest.raises(NoiseZooError, match="quantile"):
        fit_strength(np.arange(10), "quantiles")


def test_keeping_others_moves_the_target_and_lets_them_be(planted) -> None:
    X = planted.spaces["encoder"].astype(np.float64)
    probes = fit_probes(X, planted.labels, planted.names, planted.train, components=12)
    before = probes.scores(X, planted.test)
    spread = probes.scores(X, planted.train).std(axis=0)
    effects = []
    for direction in (probes.weights[0], orthogonalise(probes.weights[0], probes.weights[1:])):
        w = unit(direction)
        alpha = fit_strength(X[planted.train] @ w).step(X[planted.test] @ w, 2.0)
        effects.append(shift(before, probes.scores(X[planted.test] + alpha[:, None] * w), spread))
    assert effects[0][0] > 1
    assert effects[1][0] > 0.5
    assert np.abs(effects[1][1:]).max() < 1e-3 < np.abs(effects[0][1:]).max()
