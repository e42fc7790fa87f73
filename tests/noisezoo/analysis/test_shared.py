"""The shared space is the dense one, is found where it was planted, and is not found where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.stats import spearmanr
from sklearn.cross_decomposition import CCA

from noisezoo.analysis.neighbours import neighbour_agreement
from noisezoo.analysis.probes import accuracy_by_size, fit_probes
from noisezoo.analysis.shared import agreement, fit_shared
from noisezoo.analysis.truth import angles, canonical_correlations, covariation, pulled_back
from noisezoo.errors import NoiseZooError


def flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).astype(np.float64)


def views_of(planted, *names: str) -> dict[str, np.ndarray]:
    return {name: planted.spaces[name] for name in names}


@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_it_is_the_dense_solution(planted, ridge: float) -> None:
    spaces = views_of(planted, "noise", "encoder")
    rows = np.arange(0, 6000, 6)
    found = fit_shared(spaces, 8, rows, ridge=ridge, block_rows=171)
    total = np.zeros((1000, 1000))
    inverses = {}
    for name, X in spaces.items():
        x = flat(X)[rows] - flat(X)[rows].mean(axis=0)
        inverses[name] = np.linalg.solve(x.T @ x + ridge * (x**2).sum() / x.shape[1] * np.eye(x.shape[1]), x.T)
        total += x @ inverses[name]
    values, vectors = np.linalg.eigh(total)
    values, vectors = values[::-1][:8], vectors[:, ::-1][:, :8] * np.sqrt(1000)
    np.testing.assert_allclose(found.strength, values, atol=1e-4)
    G = found.coordinates(spaces, rows)
    signs = np.sign((G * vectors).sum(axis=0))
    np.testing.assert_allclose(G, vectors * signs, atol=1e-4 * np.abs(vectors).max())
    for name in spaces:
        expected = (inverses[name] @ vectors * signs).T
        np.testing.assert_allclose(found.maps[name], expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(G.T @ G / 1000, np.eye(8), atol=1e-4)


def test_the_planted_latent_is_found_by_all_and_by_each(planted) -> None:
    spaces = views_of(planted, "noise", "encoder", "wide")
    found = fit_shared(spaces, 16, planted.train, reduce=200)
    assert (found.strength[:12] > 2.8).all()
    assert (found.strength[12:] < 1.6).all()
    together = found.coordinates(spaces, planted.test)[:, :12]
    assert np.cos(subspace_angles(together, planted.z[planted.test])).min() > 0.98
    held_out = agreement(found.views(spaces, planted.test))
    assert (held_out[:12] > 0.95).all()
    assert (np.abs(held_out[12:]) < 0.1).all()


def test_it_does_not_depend_on_blocks_or_on_how_many_are_asked_for(planted) -> None:
    spaces = views_of(planted, "noise", "encoder")
    one, two = fit_shared(spaces, 4, block_rows=100), fit_shared(spaces, 12, block_rows=5000)
    np.testing.assert_allclose(one.strength, two.strength[:4], rtol=1e-5)
    a, b = one.coordinates(spaces, np.arange(50)), two.coordinates(spaces, np.arange(50))[:, :4]
    np.testing.assert_allclose(np.abs(a), np.abs(b), atol=0.01)


def test_unrelated_spaces_share_nothing_on_held_out_rows() -> None:
    rng = np.random.default_rng(0)
    spaces = {"a": rng.standard_normal((4000, 30)), "b": rng.standard_normal((4000, 30))}
    found = fit_shared(spaces, 10, np.arange(3000))
    assert np.abs(agreement(found.views(spaces, np.arange(3000, 4000)))).max() < 0.12


def test_agreement_is_the_mean_pairwise_correlation() -> None:
    rng = np.random.default_rng(0)
    views = {name: rng.standard_normal((100, 3)) for name in "abc"}
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    for k in range(3):
        expected = np.mean([np.corrcoef(views[i][:, k], views[j][:, k])[0, 1] for i, j in pairs])
        assert agreement(views)[k] == pytest.approx(expected)


def test_accuracy_grows_with_the_number_of_shared_coordinates(planted) -> None:
    spaces = views_of(planted, "noise", "encoder")
    found = fit_shared(spaces, 12, planted.train)
    train, test = found.coordinates(spaces, planted.train), found.coordinates(spaces, planted.test)
    labels = planted.labels
    curve = accuracy_by_size(
        train, test, labels[planted.train], labels[planted.test], planted.names, (2, 12, 64), resamples=50
    )
    assert list(curve) == [2, 12]
    assert curve[12].accuracy.mean > curve[2].accuracy.mean + 0.05
    own = fit_probes(planted.spaces["encoder"], labels, planted.names, planted.train, components=12)
    assert (
        curve[12].accuracy.mean
        > own.evaluate(planted.spaces["encoder"], labels, planted.names, planted.test, resamples=0).accuracy.mean - 0.01
    )


def test_neighbour_agreement_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, 40, 5))
    B += A
    found = neighbour_agreement(A, B, near=5, permutations=5)
    unit = [
        (points - points.mean(axis=0)) / np.linalg.norm(points - points.mean(axis=0), axis=1, keepdims=True)
        for points in (A, B)
    ]
    likeness = [points @ points.T for points in unit]
    others = ~np.eye(40, dtype=bool)
    spearman = [spearmanr(likeness[0][i, others[i]], likeness[1][i, others[i]])[0] for i in range(40)]
    assert found.spearman == pytest.approx(np.mean(spearman), abs=1e-5)
    for table in likeness:
        np.fill_diagonal(table, -2)
    nearest = [np.argsort(-table, axis=1)[:, :5] for table in likeness]
    assert found.overlap == pytest.approx(np.mean([len(set(a) & set(b)) / 5 for a, b in zip(*nearest, strict=True)]))


def test_neighbours_agree_between_views_of_one_latent_and_not_by_chance(planted) -> None:
    A, B = flat(planted.spaces["noise"]), flat(planted.spaces["encoder"])
    found = neighbour_agreement(A, B, rows_most=500)
    assert found.spearman > 0.4 > 0.1 > found.spearman_by_chance
    assert found.overlap > 0.15 > 0.06 > found.overlap_by_chance
    apart = neighbour_agreement(A, np.random.default_rng(0).standard_normal((6000, 9)), rows_most=300)
    assert apart.spearman < apart.spearman_by_chance + 0.01
    with pytest.raises(NoiseZooError, match="same rows"):
        neighbour_agreement(A, B[:100])


def test_canonical_correlations_with_the_truth(planted) -> None:
    found = canonical_correlations(planted.spaces["noise"], planted.z, planted.train, planted.test)
    assert found.shape == (12,)
    assert found.min() > 0.97
    half = planted.z[:, :6] @ np.random.default_rng(0).standard_normal((6, 20))
    halved = canonical_correlations(half, planted.z, planted.train, planted.test)
    assert halved[:6].min() > 0.98
    assert np.abs(halved[6:]).max() < 0.1


def test_canonical_correlations_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((3000, 3))
    X = z @ rng.standard_normal((3, 8)) + 2 * rng.standard_normal((3000, 8))
    reference = CCA(3, max_iter=5000, tol=1e-9).fit(X, z)
    a, b = reference.transform(X, z)
    expected = np.sort([np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(3)])[::-1]
    np.testing.assert_allclose(canonical_correlations(X, z, None, None, ridge=1e-8), expected, atol=1e-4)


def test_probe_normals_point_along_the_truth_and_covary_as_it_does(planted) -> None:
    X = planted.spaces["wide"]
    probes = fit_probes(X, planted.labels, planted.names, planted.train, components=12)
    scores = probes.scores(X, planted.test)
    z = planted.z[planted.test]
    assert angles(pulled_back(scores, z), planted.directions).max() < np.degrees(np.arccos(0.95))
    found = covariation(scores, z @ planted.directions.T)
    assert found.likeness > 0.95
    assert found.largest_gap < 0.2
    np.testing.assert_allclose(angles(np.eye(3), np.eye(3)[[1, 0, 2]] * -1), [90, 90, 180])
