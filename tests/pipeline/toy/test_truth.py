"""The truth: a covariance that is one, draws that follow it, labels that are exactly what the page says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.toy.truth import ATTRIBUTES, COVARIANCE, NUISANCES, RATES, REACH, THRESHOLDS, labels, latents, nuisances

N = 20_000


@pytest.fixture(scope="module")
def z() -> np.ndarray:
    return latents(7, range(N))


def test_covariance_is_a_correlation_matrix() -> None:
    assert np.array_equal(COVARIANCE, COVARIANCE.T)
    assert np.all(np.diag(COVARIANCE) == 1.0)
    assert np.linalg.eigvalsh(COVARIANCE).min() > 0.05


def test_latents_have_the_covariance(z: np.ndarray) -> None:
    """Within five standard errors of an empirical covariance, sqrt((1 + rho^2) / n)."""
    error = np.abs(z.T @ z / N - COVARIANCE)
    assert np.all(error < 5.0 * np.sqrt((1.0 + COVARIANCE**2) / N))
    assert np.all(np.abs(z.mean(axis=0)) < 5.0 / np.sqrt(N))


def test_rates_are_those_of_the_table(z: np.ndarray) -> None:
    rates = np.array([RATES[name] for name in ATTRIBUTES])
    assert np.all(np.abs(labels(z).mean(axis=0) - rates) < 5.0 * np.sqrt(rates * (1.0 - rates) / N))


def test_labels_are_what_lies_above_the_thresholds(z: np.ndarray) -> None:
    assert labels(z).dtype == np.int8
    assert np.array_equal(labels(z), (z > THRESHOLDS).astype(np.int8))
    assert not labels(THRESHOLDS[None]).any()
    assert labels(np.nextafter(THRESHOLDS, np.inf)[None]).all()


def test_nuisances_are_independent_of_the_latents_and_of_each_other(z: np.ndarray) -> None:
    n = nuisances(7, range(N))
    assert n.shape == (N, len(NUISANCES))
    assert np.all(np.abs(n).max(axis=0) <= REACH)
    assert np.all(np.abs(n).max(axis=0) > 0.99 * REACH)
    correlation = np.corrcoef(np.concatenate([n, z], axis=1).T)[: len(NUISANCES)]
    np.fill_diagonal(correlation[:, : len(NUISANCES)], 0.0)
    assert np.abs(correlation).max() < 5.0 / np.sqrt(N)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**63), rows=st.lists(st.integers(0, 2**40), min_size=1, max_size=5))
def test_a_row_is_the_same_in_every_batch(seed: int, rows: list[int]) -> None:
    for draw in (latents, nuisances):
        together = draw(seed, rows)
        assert np.array_equal(together, np.concatenate([draw(seed, [row]) for row in rows]))


def test_seeds_and_rows_differ() -> None:
    assert not np.any(latents(0, [0]) == latents(0, [1]))
    assert not np.any(latents(0, [0]) == latents(1, [0]))
