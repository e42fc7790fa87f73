"""Do linear maps carry one space to another? Ridge regression from each space to the others, and what fixed classifiers lose on the mapped rows.

From one space to all its targets there is one fit, of the targets side by side: the sums over the source's rows, which cost most, are made once.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from noisezoo.analysis import Latents, Probes, Ridge, choose_alpha, fit_ridge, measure_transfer
from noisezoo.analysis.streams import Floats, Ints
from noisezoo.errors import NoiseZooError
from noisezoo.study.data import Data, Joined
from noisezoo.study.parts import Found, Job
from noisezoo.study.probing import number

MAP_VALUES = 1 << 26
"""Largest map, in values: 16,384 × 4,096."""
CHOSEN_MOST = 1024
"""Widest source for which α is also chosen by cross-validation, which takes five fits and their measures."""


def targets(data: Data, source: str) -> list[str]:
    """Where a space is carried to: a control to encoders, others to every space that is none, as far as the maps stay small."""
    kinds = ("encoder",) if data.kind(source) == "control" else ("encoder", "noise")
    found: list[str] = []
    values = 0
    for name in data.of_kind(*kinds):
        values += data.width(source) * data.width(name)
        if name != source and values <= MAP_VALUES:
            found.append(name)
    return found


def jobs(data: Data) -> list[Job]:
    """One for each space that is carried anywhere."""
    found = []
    for name in data.spaces:
        if to := targets(data, name):
            facts = {
                "spaces": {n: data.digest(n) for n in [name, *to]},
                "rows": data.rows_digest,
                "alpha": data.settings.alpha,
            }
            found.append(Job("transfer", name, facts, partial(measure, data, name, to)))
    return found


def measure(data: Data, source: str, to: list[str]) -> Found:
    """Maps from one space to the others, judged on rows they have not seen. Targets that have the same rows are fitted together."""
    groups: dict[bytes, list[str]] = {}
    for name in to:
        if not data.varies(name):
            continue  # its own analyses say why
        groups.setdefault(data.usable(name).tobytes(), []).append(name)
    found: list[Found] = []
    reasons: list[str] = []
    for group in groups.values():
        try:
            found += _carry(data, source, group)
        except NoiseZooError as e:
            reasons.append(str(e))
    return {"transfer": found, **({"skipped": " ".join(reasons)} if reasons else {})}


def _carry(data: Data, source: str, to: list[str]) -> list[Found]:
    train, test = data.divide(data.rows(source, *to))
    X, Y = data.latents(source), Joined([data.latents(name) for name in to])
    alpha = data.settings.alpha
    if alpha is None:
        alpha = choose_alpha(X, Y, train)[0]
    whole = fit_ridge(X, Y, train, alpha=alpha)
    found = []
    for name, target, low, high in zip(to, Y.parts, Y.edges[:-1], Y.edges[1:], strict=True):
        ridge = Ridge(whole.weights[low:high], whole.bias[low:high], whole.alpha, whole.penalty)
        entry: dict[str, Any] = {"source": source, "target": name, "alpha": alpha, "rows": [len(train), len(test)]}
        entry |= {key: number(value) for key, value in vars(measure_transfer(ridge, X, target, test)).items()}
        try:
            probes = data.probes(name)[0]
        except NoiseZooError:
            entry["accuracy_drop_points"] = None
        else:
            entry |= loss(data, X, target, ridge, probes, test)
            if data.settings.alpha is not None and data.width(source) <= CHOSEN_MOST:
                entry["chosen"] = chosen(data, X, target, probes, train, test)
        found.append(entry)
    return found


def chosen(data: Data, X: Latents, Y: Latents, probes: Probes, train: Ints, test: Ints) -> Found:
    """The same map with α chosen by cross-validation on the training rows."""
    alpha = choose_alpha(X, Y, train)[0]
    ridge = fit_ridge(X, Y, train, alpha=alpha)
    lost = loss(data, X, Y, ridge, probes, test)
    measured = measure_transfer(ridge, X, Y, test)
    return {
        "alpha": alpha,
        "cosine": number(measured.cosine),
        "r2": number(measured.r2),
        "accuracy_drop_points": lost["accuracy_drop_points"],
    }


def loss(data: Data, X: Latents, Y: Latents, ridge: Ridge, probes: Probes, rows: Ints) -> Found:
    """Points of accuracy that the target's fixed classifiers lose on mapped rows, its interval over rows, and the loss when every row is mapped to the mean."""
    mapped = Probes(
        probes.names, probes.weights @ ridge.weights, probes.biases + probes.weights @ ridge.bias, probes.skipped
    )
    truth = data.labels[rows][:, [data.names.index(name) for name in probes.names]]
    own, carried = right(probes.scores(Y, rows), truth), right(mapped.scores(X, rows), truth)
    constant = right(np.broadcast_to(probes.biases + probes.weights @ _mean(Y, rows), truth.shape), truth)
    by_row = 100 * (np.nanmean(own, axis=1) - np.nanmean(carried, axis=1))
    by_row = by_row[np.isfinite(by_row)]
    reach = 1.96 * float(by_row.std()) / np.sqrt(max(len(by_row), 1))
    each = 100 * (np.nanmean(own, axis=0) - np.nanmean(carried, axis=0))
    drop = float(by_row.mean()) if len(by_row) else float("nan")
    return {
        "accuracy": number(np.nanmean(carried)),
        "accuracy_of_target": number(np.nanmean(own)),
        "accuracy_drop_points": number(drop),
        "accuracy_drop_interval": [number(drop - reach), number(drop + reach)],
        "accuracy_drop_of_mean_points": number(100 * (np.nanmean(own) - np.nanmean(constant))),
        "each": {name: number(value) for name, value in zip(probes.names, each, strict=True)},
    }


def right(scores: Floats, truth: Ints) -> Floats:
    """1 where a score has the side of its label, 0 where not, NaN where the label is unknown."""
    return np.where(truth < 0, np.nan, ((scores > 0) == (truth == 1)).astype(np.float64))


def _mean(Y: Latents, rows: Ints) -> Floats:
    from noisezoo.analysis import moments

    return moments(Y, rows).mean
