"""Ridge maps agree with dense ones, whichever equations are solved."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as ReferenceModel
from sklearn.metrics import r2_score

from noisezoo.analysis.probes import fit_probes
from noisezoo.analysis.transfer import accuracy_drop, choose_alpha, fit_ridge, fit_ridges, measure_transfer
from noisezoo.errors import NoiseZooError


def flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).astype(np.float64)


@pytest.mark.parametrize(("source", "target"), [("noise", "encoder"), ("encoder", "noise"), ("noise", "noise")])
@pytest.mark.parametrize("rows", [np.arange(0, 6000, 2), np.arange(30)], ids=["many rows", "few rows"])
@pytest.mark.parametrize("alpha", [0.01, 1.0])
def test_ridge_is_the_dense_one(planted, source: str, target: str, rows: np.ndarray, alpha: float) -> None:
    X, Y = planted.spaces[source], planted.spaces[target]
    found = fit_ridge(X, Y, rows, alpha=alpha, block_rows=401)
    x, y = flat(X)[rows], flat(Y)[rows]
    penalty = alpha * ((x - x.mean(axis=0)) ** 2).sum() / x.shape[1]
    assert found.penalty == pytest.approx(penalty, rel=1e-5)
    reference = ReferenceModel(alpha=penalty).fit(x, y)
    np.testing.assert_allclose(found.weights, reference.coef_, atol=1e-4 * np.abs(reference.coef_).max())
    np.testing.assert_allclose(found(x.astype(np.float32)), reference.predict(x), atol=1e-4 * np.abs(y).max())


def test_rows_that_memory_does_not_hold_are_read_again(planted, monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y, rows = planted.spaces["noise"], planted.spaces["encoder"], np.arange(0, 90, 2)
    whole = fit_ridge(X, Y, rows)
    monkeypatch.setattr("noisezoo.analysis.streams.HELD_BYTES", 100)
    np.testing.assert_allclose(fit_ridge(X, Y, rows, block_rows=16).weights, whole.weights, atol=1e-6)


def test_several_penalties_share_their_sums(planted, monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = planted.spaces["noise"], planted.spaces["encoder"]
    both = fit_ridges(X, Y, planted.train, alphas=(0.1, 10.0))
    monkeypatch.setattr("noisezoo.analysis.transfer._TILE", 50)
    for ridge in both:
        single = fit_ridge(X, Y, planted.train, alpha=ridge.alpha, block_rows=97)
        np.testing.assert_allclose(single.weights, ridge.weights, atol=1e-5)


def test_measures_are_what_they_say(planted) -> None:
    X, Y = planted.spaces["noise"], planted.spaces["encoder"]
    ridge = fit_ridge(X, Y, planted.train)
    found = measure_transfer(ridge, X, Y, planted.test, block_rows=50)
    y = flat(Y)[planted.test]
    mapped = ridge(flat(X)[planted.test].astype(np.float32)).astype(np.float64)
    cosines = (mapped * y).sum(axis=1) / np.linalg.norm(mapped, axis=1) / np.linalg.norm(y, axis=1)
    assert found.mse == pytest.approx(((mapped - y) ** 2).mean(), rel=1e-4)
    assert found.cosine == pytest.approx(cosines.mean(), rel=1e-4)
    assert found.r2 == pytest.approx(r2_score(y.ravel(), mapped.ravel()), abs=0.3)
    assert found.r2 == pytest.approx(1 - ((mapped - y) ** 2).sum() / ((y - y.mean(axis=0)) ** 2).sum(), rel=1e-4)
    assert found.cosine_of_mean < found.centred_cosine < 1
    assert found.r2 > 0.8


def test_mapped_rows_keep_what_probes_read(planted) -> None:
    X, Y = planted.spaces["noise"], planted.spaces["encoder"]
    probes = fit_probes(Y, planted.labels, planted.names, planted.train, components=20)
    ridge = fit_ridge(X, Y, planted.train)
    lost = accuracy_drop(ridge, X, Y, probes, planted.labels, planted.names, planted.test)
    assert lost.max() < 1
    own = probes.evaluate(Y, planted.labels, planted.names, planted.test, resamples=0).accuracy.each
    mapped = ridge(flat(X).astype(np.float32))
    other = probes.evaluate(mapped, planted.labels, planted.names, planted.test, resamples=0).accuracy.each
    np.testing.assert_allclose(lost, 100 * (own - other), atol=1e-9)


def test_alpha_is_chosen_on_rows_left_out() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 100))
    Y = X @ rng.standard_normal((100, 5)) / 10 + rng.standard_normal((200, 5))
    alpha, scores = choose_alpha(X, Y, alphas=(1e-4, 1.0, 1e5))
    assert alpha == 1.0
    assert scores.argmax() == 1


def test_rows_all_alike_map_to_the_mean() -> None:
    Y = np.random.default_rng(0).standard_normal((20, 3))
    ridge = fit_ridge(np.ones((20, 4)), Y)
    np.testing.assert_allclose(ridge(np.ones((1, 4), np.float32))[0], Y.mean(axis=0), atol=1e-6)


def test_mistakes_are_told(planted) -> None:
    with pytest.raises(NoiseZooError, match="above 0"):
        fit_ridge(planted.spaces["encoder"], planted.spaces["encoder"], alpha=0.0)
    with pytest.raises(NoiseZooError, match="correspond"):
        fit_ridge(planted.spaces["noise"], planted.spaces["encoder"][:5000], np.arange(1000))
