"""Probes agree with scikit-learn, find what was planted, and say what they leave out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import decomposition
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from noisezoo.analysis import pca as pca_module
from noisezoo.analysis.logistic import fit_logistic
from noisezoo.analysis.metrics import compare, evaluate, roc_auc
from noisezoo.analysis.pca import fit_pca
from noisezoo.analysis.probes import fit_class_means, fit_probes, permuted, usable
from noisezoo.errors import NoiseZooError


def flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).astype(np.float64)


@pytest.mark.parametrize("route", ["covariance", "gram", "krylov", "device"])
def test_pca_is_scikit_learns_by_every_route(planted, route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X = planted.spaces["noise"][:150] if route == "gram" else planted.spaces["noise"]
    monkeypatch.setattr(pca_module, "DENSE", {"covariance": 2048, "gram": 160, "krylov": 10, "device": 10}[route])
    found = fit_pca(X, 12, block_rows=333, device="cpu" if route == "device" else None)
    reference = decomposition.PCA(12, svd_solver="full").fit(flat(X))
    cosines = np.abs(np.einsum("ij,ij->i", found.components, reference.components_))
    assert cosines.min() > 0.999
    np.testing.assert_allclose(found.variance * len(X) / (len(X) - 1), reference.explained_variance_, rtol=1e-3)
    assert found.explained == pytest.approx(reference.explained_variance_ratio_.sum(), rel=1e-3)
    np.testing.assert_allclose(np.abs(found.scores(X, block_rows=10)), np.abs(reference.transform(flat(X))), atol=0.1)


def test_a_device_that_is_not_there_is_told(planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pca_module, "DENSE", 10)
    with pytest.raises(NoiseZooError, match="There is no device 'cuda:77' here"):
        fit_pca(planted.spaces["noise"], 12, device="cuda:77")


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-7, 0.0], ids=["well", "badly", "hardly", "dependent"])
def test_a_basis_is_orthonormal_however_its_columns_lie(spread: float) -> None:
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((400, 20)).astype(np.float32)
    columns[:, 10:] = columns[:, :10] + np.float32(spread) * columns[:, 10:]
    basis = pca_module._orthonormal(columns)
    np.testing.assert_allclose(basis.T @ basis, np.eye(20), atol=2e-5)
    np.testing.assert_allclose(basis @ (basis.T @ columns), columns, atol=1e-4)


def test_krylov_holds_nearly_all_that_a_flat_spectrum_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1500, 1000)) * np.linspace(1, 0.5, 1000)
    exact = fit_pca(X, 60)
    monkeypatch.setattr(pca_module, "DENSE", 10)
    quick = fit_pca(X, 60)
    power = decomposition.PCA(60, svd_solver="randomized", random_state=0).fit(X)
    assert quick.explained > 0.96 * exact.explained
    assert quick.explained > 0.99 * power.explained_variance_ratio_.sum()


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_logistic_reaches_scikit_learns_optimum(planted, C: float) -> None:
    features = StandardScaler().fit_transform(flat(planted.spaces["encoder"])).astype(np.float32)
    weights, intercepts = fit_logistic(features, planted.labels, C=C)
    for a, column in enumerate(planted.labels.T):
        known = column >= 0
        reference = LogisticRegression(C=C, tol=1e-8, max_iter=5000).fit(
            features[known].astype(np.float64), column[known]
        )
        np.testing.assert_allclose(weights[a], reference.coef_[0], atol=2e-3 * np.abs(reference.coef_).max())
        assert intercepts[a] == pytest.approx(reference.intercept_[0], abs=2e-3 * np.abs(reference.coef_).max())


def test_logistic_stays_finite_on_separable_and_rare_classes() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((400, 30)).astype(np.float32)
    labels = np.stack([features[:, 0] > 0, features[:, 1] > 2.6, np.arange(400) == 7], axis=1).astype(np.int8)
    weights, intercepts = fit_logistic(features, labels, C=1.0)
    assert np.isfinite(weights).all()
    for a in range(3):
        reference = LogisticRegression(tol=1e-8, max_iter=5000).fit(features.astype(np.float64), labels[:, a])
        np.testing.assert_allclose(weights[a], reference.coef_[0], atol=5e-3 * np.abs(reference.coef_).max())
        assert intercepts[a] == pytest.approx(reference.intercept_[0], rel=5e-3)


@pytest.mark.parametrize(
    ("space", "components"), [("noise", 40), ("encoder", 40), pytest.param("wide", 12, marks=pytest.mark.slow)]
)
def test_probes_score_as_scikit_learns_pipeline(planted, space: str, components: int) -> None:
    X, labels = planted.spaces[space], planted.labels
    probes = fit_probes(X, labels, planted.names, planted.train, components=components)
    found = probes.evaluate(X, labels, planted.names, planted.test, resamples=0)
    pca = decomposition.PCA(components, svd_solver="arpack").fit(flat(X)[planted.train])
    for a, column in enumerate(labels.T):
        train, test = planted.train[column[planted.train] >= 0], planted.test[column[planted.test] >= 0]
        rest = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8, max_iter=5000))
        rest.fit(pca.transform(flat(X)[train]), column[train])
        scores = rest.decision_function(pca.transform(flat(X)[test]))
        assert found.auc.each[a] == pytest.approx(roc_auc_score(column[test], scores), abs=0.002)
        assert found.accuracy.each[a] == pytest.approx(np.mean((scores > 0) == column[test]), abs=0.002)
        assert found.balanced.each[a] == pytest.approx(balanced_accuracy_score(column[test], scores > 0), abs=0.002)
        assert found.rows[a] == len(test)


def test_planted_directions_are_found(planted) -> None:
    X = planted.spaces["noise"]
    probes = fit_probes(X, planted.labels, planted.names, planted.train, components=12)
    # Noise is isotropic: the normal of "z·u > t" lies along the map's pseudo-inverse of u.
    expected = planted.directions @ np.linalg.pinv(planted.maps["noise"])
    cosines = (
        np.einsum("ij,ij->i", probes.weights, expected)
        / np.linalg.norm(probes.weights, axis=1)
        / np.linalg.norm(expected, axis=1)
    )
    assert cosines.min() > 0.95


def test_class_means_are_means(planted) -> None:
    X, labels = planted.spaces["encoder"], planted.labels
    probes = fit_class_means(X, labels, planted.names, planted.train, block_rows=100)
    rows = flat(X)[planted.train]
    for a in range(5):
        up, down = (rows[labels[planted.train, a] == value].mean(axis=0) for value in (1, 0))
        np.testing.assert_allclose(probes.weights[a], up - down, atol=1e-4)
        assert probes.biases[a] == pytest.approx(-(up - down) @ (up + down) / 2, abs=1e-3)
    found = probes.evaluate(X, labels, planted.names, planted.test, resamples=0)
    lda = LinearDiscriminantAnalysis(priors=[0.5, 0.5]).fit(
        rows[labels[planted.train, 0] >= 0], labels[planted.train, 0][labels[planted.train, 0] >= 0]
    )
    assert found.auc.each[0] > 0.7
    assert (
        found.accuracy.each[0]
        <= lda.score(
            flat(X)[planted.test][labels[planted.test, 0] >= 0], labels[planted.test, 0][labels[planted.test, 0] >= 0]
        )
        + 0.05
    )


def test_probes_do_not_depend_on_blocks(planted) -> None:
    X = planted.spaces["noise"]
    fits = [
        fit_probes(X, planted.labels, planted.names, planted.train, components=20, block_rows=length)
        for length in (11, 700)
    ]
    np.testing.assert_allclose(fits[0].weights, fits[1].weights, atol=1e-3 * np.abs(fits[0].weights).max())
    np.testing.assert_allclose(fits[0].scores(X, block_rows=13), fits[0].scores(X), atol=1e-4)


def test_attributes_that_cannot_be_learnt_are_skipped_with_a_reason(planted) -> None:
    labels = np.column_stack([planted.labels, np.ones(6000), -np.ones(6000), np.arange(6000) % 3]).astype(np.int8)
    names = (*planted.names, "Always", "Never_known", "Three")
    probes = fit_probes(planted.spaces["encoder"], labels, names, planted.train, components=10)
    assert probes.names == planted.names
    assert probes.skipped["Always"] == "every known label in these rows is 1"
    assert probes.skipped["Never_known"] == "no label is known in these rows"
    assert "not 0 and 1" in probes.skipped["Three"]
    assert probes.evaluate(planted.spaces["encoder"], labels, names, planted.test, resamples=0).names == planted.names


def test_no_attribute_at_all_leaves_no_probe(planted) -> None:
    probes = fit_probes(planted.spaces["encoder"], np.ones((6000, 1), np.int8), ["Always"])
    assert probes.names == ()
    assert list(probes.skipped) == ["Always"]
    assert probes.scores(planted.spaces["encoder"], np.arange(4)).shape == (4, 0)


def test_few_rows_and_constant_columns_lower_the_number_of_components(planted) -> None:
    X = np.concatenate([np.zeros((6000, 20)), np.full((6000, 1), 5.0), flat(planted.spaces["encoder"])], axis=1)
    few = fit_probes(X, planted.labels, planted.names, np.arange(30), components=500)
    assert few.components == 29
    every = fit_probes(X, planted.labels, planted.names, planted.train, components=500)
    assert every.components == 48
    assert np.isfinite(every.weights).all()
    assert every.evaluate(X, planted.labels, planted.names, planted.test, resamples=0).auc.mean > 0.9
    assert fit_pca(np.ones((10, 4)), 2).components.shape == (0, 4)


def test_nan_rows_are_refused_and_can_be_masked(planted) -> None:
    X = planted.spaces["encoder"].copy()
    X[5] = np.nan
    with pytest.raises(NoiseZooError, match="row 5"):
        fit_probes(X, planted.labels, planted.names)
    valid = np.isfinite(X).all(axis=1)
    assert fit_probes(X, planted.labels, planted.names, valid, components=5).components == 5


def test_names_must_fit_the_labels() -> None:
    with pytest.raises(NoiseZooError, match="2 names"):
        usable(np.zeros((4, 3), np.int8), ["a", "b"])


def test_auc_counts_ties_as_halves_and_leaves_out_unknown_labels() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (300, 3)).astype(float)
    labels = rng.integers(-1, 2, (300, 3)).astype(np.int8)
    labels[:, 2] = 1
    found = roc_auc(scores, labels)
    for a in range(2):
        known = labels[:, a] >= 0
        assert found[a] == pytest.approx(roc_auc_score(labels[known, a], scores[known, a]), abs=1e-12)
    assert np.isnan(found[2])


def test_bootstrap_intervals_cover_and_have_the_right_width() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (2000, 4)).astype(np.int8)
    scores = (2 * labels - 1) + 1.5 * rng.standard_normal((2000, 4))
    found = evaluate(("a", "b", "c", "d"), scores, labels, resamples=400)
    error = np.sqrt(found.accuracy.each * (1 - found.accuracy.each) / 2000)
    np.testing.assert_allclose(found.accuracy.high - found.accuracy.low, 2 * 1.96 * error, rtol=0.25)
    for measure in (found.accuracy, found.balanced, found.auc):
        assert (measure.low < measure.each).all()
        assert (measure.each < measure.high).all()
        assert measure.mean_high - measure.mean_low < 0.8 * (measure.high - measure.low).min()
    np.testing.assert_allclose(found.baseline, np.maximum(found.positive_rate, 1 - found.positive_rate))


def test_permuted_labels_leave_nothing_to_read(planted) -> None:
    X, labels = planted.spaces["encoder"], permuted(planted.labels)
    probes = fit_probes(X, labels, planted.names, planted.train, components=40)
    found = probes.evaluate(X, labels, planted.names, planted.test, resamples=100)
    assert found.auc.mean == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(np.sort(labels, axis=0), np.sort(planted.labels, axis=0))


def test_spaces_are_compared_on_the_attributes_they_share(planted) -> None:
    first, second = (
        fit_probes(
            planted.spaces[space],
            planted.labels[:, columns],
            [planted.names[i] for i in columns],
            planted.train,
            components=12,
        ).evaluate(planted.spaces[space], planted.labels, planted.names, planted.test, resamples=0)
        for space, columns in (("noise", [0, 1, 2, 3]), ("encoder", [4, 3, 2, 1]))
    )
    found = compare(first, second)
    assert found.names == ("Male", "Young", "Hat")
    np.testing.assert_array_equal(found.second, second.accuracy.each[[3, 2, 1]])
    assert found.pearson == pytest.approx(np.corrcoef(found.first, found.second)[0, 1])
    assert np.isnan(
        compare(first, evaluate(("Male",), np.ones((4, 1)), np.ones((4, 1), np.int8), resamples=0)).spearman
    )
