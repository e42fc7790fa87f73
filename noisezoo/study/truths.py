"""Where the source knows the latent that each image was drawn from: how much of it is in each space, and do probes point the true way?"""

from __future__ import annotations

from functools import partial

import numpy as np

from noisezoo.analysis import (
    angles,
    canonical_correlations,
    covariation,
    fit_ridge,
    measure_transfer,
    pulled_back,
    roc_auc,
)
from noisezoo.analysis.streams import Floats, Ints, Latents
from noisezoo.analysis.transfer import ALPHAS
from noisezoo.errors import NoiseZooError
from noisezoo.study.carrying import loss
from noisezoo.study.data import SEED, Data
from noisezoo.study.gaussian import attempt
from noisezoo.study.parts import Found, Job
from noisezoo.study.probing import number
from noisezoo.study.sharing import Views

SHARED_MOST = 64


def jobs(data: Data) -> list[Job]:
    """One for each space and each shared space; none where there is no truth."""
    if data.truth is None:
        return []
    rows = {"rows": data.rows_digest}
    views = Views(data)
    found = []
    for name in data.spaces:
        facts = {"spaces": {name: data.digest(name)}, **rows}
        found.append(Job("truth", name, facts, partial(measure_space, data, name)))
    for name, members in data.sets.items():
        facts = {"spaces": {m: data.digest(m) for m in members}, **rows}
        found.append(Job("truth", f"shared-{name}", facts, partial(measure_set, data, views, name)))
    return found


def measure_space(data: Data, name: str) -> Found:
    """Canonical correlations of one space with the truth, and its probes beside the true directions."""
    rows = data.rows(name)
    train, test = data.divide(rows)
    found = correlations(data.latents(name), _truth(data), train, test)
    found["probes"] = attempt(lambda: directions(data, name, test))
    if data.kind(name) == "encoder":
        found["carried"] = attempt(lambda: carried(data, name, train, test))
    return found


def carried(data: Data, name: str, train: Ints, test: Ints) -> Found:
    """What a linear map from the truth itself to an encoder loses: no map from a linear view of the truth, noisy or not, can be expected to lose less."""
    z, Y, probes = _truth(data).astype(np.float32), data.latents(name), data.probes(name)[0]
    ridge = fit_ridge(z, Y, train, alpha=ALPHAS[0])
    measured = measure_transfer(ridge, z, Y, test)
    lost = loss(data, z, Y, ridge, probes, test)
    return {
        "cosine": number(measured.cosine),
        "r2": number(measured.r2),
        "accuracy_drop_points": lost["accuracy_drop_points"],
        "accuracy_drop_interval": lost["accuracy_drop_interval"],
    }


def measure_set(data: Data, views: Views, name: str) -> Found:
    """Canonical correlations of a set's shared coordinates with the truth."""
    train, test = views.division(*views.members(name))
    both = np.vstack([views.of_set(name, train), views.of_set(name, test)])[:, :SHARED_MOST]
    z = _truth(data)[np.concatenate([train, test])]
    places = np.arange(len(both))
    return correlations(both, z, places[: len(train)], places[len(train) :])


def correlations(X: Latents, z: Floats, train: Ints, test: Ints) -> Found:
    """Held-out canonical correlations, and the highest that the truth of other rows reaches."""
    found = canonical_correlations(X, z, train, test)
    other = z.copy()
    rng = np.random.default_rng(SEED)
    for part in (train, test):
        other[part] = z[rng.permutation(part)]
    chance = canonical_correlations(X, other, train, test)
    return {
        "canonical_correlations": [number(v) for v in found],
        "mean": number(found.mean()),
        "chance": number(chance.max()),
    }


def directions(data: Data, name: str, test: Ints) -> Found:
    """Angles between probes brought back to the truth's own white coordinates and the true directions, and whether probes co-vary as attributes truly do.

    With z ~ N(0, Σ) the angle is taken between Lᵀa and Lᵀe for Σ = LLᵀ: its cosine is the correlation of what the probe reads in z with the true score.
    """
    z = _truth(data)
    columns = matching(data, z)
    probes = data.probes(name)[0]
    chosen = [columns[a] for a in probes.names]
    scores = probes.scores(data.latents(name), test)
    white = np.linalg.cholesky(np.cov(z, rowvar=False))
    found = angles(pulled_back(scores, z[test]) @ white, np.eye(z.shape[1])[chosen] @ white)
    together = covariation(scores, z[test][:, chosen])
    return {
        "angles": {a: number(v) for a, v in zip(probes.names, found, strict=True)},
        "mean_angle": number(found.mean()),
        "covariance_likeness": number(together.likeness),
        "covariance_largest_gap": number(together.largest_gap),
    }


def matching(data: Data, z: Floats) -> dict[str, int]:
    """Which column of the truth decides each attribute: the one that ranks all its rows rightly."""
    data.need_labels()
    found = {}
    for i, name in enumerate(data.names):
        auc = roc_auc(z, np.repeat(data.labels[:, i : i + 1], z.shape[1], axis=1))
        best = int(np.nanargmax(auc)) if np.isfinite(auc).any() else 0
        if not auc[best] > 0.999:
            raise NoiseZooError(f"No column of the truth decides '{name}', so that it has no true direction.")
        found[name] = best
    return found


def _truth(data: Data) -> Floats:
    assert data.truth is not None
    return data.truth
