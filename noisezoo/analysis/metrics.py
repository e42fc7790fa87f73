"""How well scores tell two classes apart, for many attributes at once, with bootstrap intervals.

Scores `(n, a)` and labels `(n, a)` in {0, 1, −1}; unknown labels (−1) are left out attribute by attribute. A measure that needs both classes is NaN where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from noisezoo.analysis.streams import Bools, Floats, Ints

RESAMPLES = 500
_DRAW_VALUES = 1 << 23


@dataclass(frozen=True)
class Measure:
    """One measure: per attribute `(a,)` with its 95 % interval, and the mean over attributes with its own."""

    each: Floats
    low: Floats
    high: Floats
    mean: float
    mean_low: float
    mean_high: float


@dataclass(frozen=True)
class Evaluation:
    """Accuracy, balanced accuracy and ROC AUC of a set of probes, and the accuracy of always answering the commoner class."""

    names: tuple[str, ...]
    rows: Ints
    positive_rate: Floats
    baseline: Floats
    accuracy: Measure
    balanced: Measure
    auc: Measure


def evaluate(
    names: tuple[str, ...], scores: Floats, labels: Ints, *, resamples: int = RESAMPLES, seed: int = 42
) -> Evaluation:
    """Measure scores (positive = class 1) against labels; intervals by resampling rows, the same resamples for every attribute."""
    known, positive = labels >= 0, labels == 1
    weights = np.ones((1, len(labels)), np.float32)
    points = _measures(scores, known, positive, weights)
    rng, n = np.random.default_rng(seed), len(labels)
    drawn: list[tuple[Floats, ...]] = []
    step = max(1, _DRAW_VALUES // n)
    for start in range(0, resamples, step):
        picks = rng.integers(0, n, (min(step, resamples - start), n))
        counts = np.stack([np.bincount(pick, minlength=n) for pick in picks]).astype(np.float32)
        drawn.append(_measures(scores, known, positive, counts))
    clouds = [np.concatenate(parts) for parts in zip(*drawn, strict=True)] if drawn else [np.empty((0, len(names)))] * 3
    rate = np.where(known.any(axis=0), (positive & known).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)
    accuracy, balanced, auc = (_measure(point[0], cloud) for point, cloud in zip(points, clouds, strict=True))
    return Evaluation(names, known.sum(axis=0), rate, np.maximum(rate, 1 - rate), accuracy, balanced, auc)


def _measure(each: Floats, cloud: Floats) -> Measure:
    if not np.isfinite(each).any():
        nothing = np.full_like(each, np.nan)
        return Measure(each, nothing, nothing, np.nan, np.nan, np.nan)
    measured = np.isfinite(each)
    low, high = np.full_like(each, np.nan), np.full_like(each, np.nan)
    mean_low = mean_high = np.nan
    if len(cloud):
        low[measured], high[measured] = np.nanquantile(cloud[:, measured], [0.025, 0.975], axis=0)
        mean_low, mean_high = np.quantile(np.nanmean(cloud[:, measured], axis=1), [0.025, 0.975])
    return Measure(each, low, high, float(each[measured].mean()), float(mean_low), float(mean_high))


def _measures(scores: Floats, known: Bools, positive: Bools, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Weighted accuracy, balanced accuracy and AUC, each `(resamples, a)`, for row weights `(resamples, n)`."""
    right = (scores > 0) == positive
    ups, downs = (known & positive).astype(np.float32), (known & ~positive).astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        up, down, hit, miss = ((weights @ part).astype(np.float64) for part in (ups, downs, ups * right, downs * right))
        accuracy, balanced = (hit + miss) / (up + down), (hit / up + miss / down) / 2
        auc = np.stack([_auc(scores[:, a], ups[:, a], downs[:, a], weights) for a in range(scores.shape[1])], axis=1)
    return accuracy, balanced, auc


def _auc(score: Floats, up: Floats, down: Floats, weights: Floats) -> Floats:
    """P(score of a positive > score of a negative) + ½ P(equal), under row weights: `(resamples,)`."""
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sorted_weights = weights[:, order].astype(np.float64)
    ups = np.add.reduceat(sorted_weights * up[order], starts, axis=1)
    downs = np.add.reduceat(sorted_weights * down[order], starts, axis=1)
    below = np.cumsum(downs, axis=1) - downs / 2
    return np.asarray((ups * below).sum(axis=1) / (ups.sum(axis=1) * downs.sum(axis=1)))


def roc_auc(scores: Floats, labels: Ints) -> Floats:
    """ROC AUC of each attribute `(a,)`, NaN where only one class is known."""
    known, positive = labels >= 0, labels == 1
    return _measures(scores, known, positive, np.ones((1, len(labels)), np.float32))[2][0]


@dataclass(frozen=True)
class Comparison:
    """The attributes that two evaluations have in common, the accuracies of both, and the correlations between them over attributes."""

    names: tuple[str, ...]
    first: Floats
    second: Floats
    pearson: float
    spearman: float


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """Is what is easy to read in one space easy in the other? Accuracies attribute by attribute, and their correlation (NaN below three attributes)."""
    names = tuple(name for name in first.names if name in second.names)
    a, b = (
        evaluation.accuracy.each[[evaluation.names.index(name) for name in names]] for evaluation in (first, second)
    )
    if len(names) < 3 or a.std() == 0 or b.std() == 0:
        return Comparison(names, a, b, float("nan"), float("nan"))
    return Comparison(names, a, b, float(np.corrcoef(a, b)[0, 1]), float(np.corrcoef(rankdata(a), rankdata(b))[0, 1]))
