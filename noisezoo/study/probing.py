"""Are attributes directions? Probes of both methods in every space, chance beside them, and how alike two spaces find the attributes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import rankdata

from noisezoo.analysis import Evaluation, Probes, fit_class_means
from noisezoo.study.data import Data
from noisezoo.study.parts import Found, Job

CHANCE_RESAMPLES = 100


def jobs(data: Data) -> list[Job]:
    """One for each space."""
    settings = {"rows": data.rows_digest}
    return [
        Job("probes", name, {"space": data.digest(name), **settings}, partial(measure, data, name))
        for name in data.spaces
    ]


def measure(data: Data, name: str) -> Found:
    """Logistic probes, class means and chance of one space."""
    fitted, chance = data.probes(name)
    X, (train, test) = data.latents(name), data.divide(data.rows(name))
    judged = fitted.evaluate(X, data.labels, data.names, test)
    by_chance = chance.evaluate(X, data.labels, data.names, test, resamples=CHANCE_RESAMPLES)
    means = fit_class_means(X, data.labels, data.names, train).evaluate(X, data.labels, data.names, test)
    return {
        **_means(judged),
        "train_rows": len(train),
        "test_rows": len(test),
        "components": fitted.components,
        "explained": fitted.explained,
        "class_means": _means(means),
        "permuted": _means(by_chance),
        "each": _each(fitted, judged, means),
        "skipped": fitted.skipped,
    }


def _means(judged: Evaluation) -> Found:
    """Means over attributes, with intervals; not a number becomes null."""
    found: dict[str, Any] = {"baseline": number(np.nanmean(judged.baseline))}
    for key, measure in (("auc", judged.auc), ("accuracy", judged.accuracy), ("balanced_accuracy", judged.balanced)):
        found[key] = number(measure.mean)
        found[f"{key}_interval"] = [number(measure.mean_low), number(measure.mean_high)]
    return found


def _each(fitted: Probes, judged: Evaluation, means: Evaluation) -> dict[str, Found]:
    found = {}
    for i, name in enumerate(fitted.names):
        found[name] = {
            "auc": number(judged.auc.each[i]),
            "auc_interval": [number(judged.auc.low[i]), number(judged.auc.high[i])],
            "accuracy": number(judged.accuracy.each[i]),
            "accuracy_interval": [number(judged.accuracy.low[i]), number(judged.accuracy.high[i])],
            "balanced_accuracy": number(judged.balanced.each[i]),
            "baseline": number(judged.baseline[i]),
            "class_means_auc": number(means.auc.each[means.names.index(name)]),
        }
    return found


def comparisons(spaces: Mapping[str, Found]) -> list[Found]:
    """For each two spaces the correlation, over attributes, of what their probes reach; three attributes at least."""
    found = []
    probed = {name: s["probe"]["each"] for name, s in spaces.items() if s.get("probe", {}).get("each")}
    for a, b in itertools.combinations(probed, 2):
        entry: Found = {"first": a, "second": b}
        for measure in ("accuracy", "auc"):
            both = [
                (probed[a][name][measure], probed[b][name][measure])
                for name in probed[a]
                if name in probed[b] and probed[a][name][measure] is not None and probed[b][name][measure] is not None
            ]
            x, y = np.array(both).T if both else (np.empty(0), np.empty(0))
            defined = len(both) >= 3 and x.std() > 0 and y.std() > 0
            entry[f"{measure}_pearson"] = float(np.corrcoef(x, y)[0, 1]) if defined else None
            entry[f"{measure}_spearman"] = float(np.corrcoef(rankdata(x), rankdata(y))[0, 1]) if defined else None
        found.append(entry)
    return found


def number(value: Any) -> float | None:
    """A float that JSON can hold."""
    return float(value) if np.isfinite(value) else None
