"""Moving along a probe's normal, by a known amount, without moving what should stay.

An edit is z + α·w with w a unit normal. `orthogonalise` takes out of w what would move other attributes; `Strength` turns α into standard deviations of the
attribute's own distribution; `boundary` is the α that just reaches the probe's hyperplane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import yeojohnson, yeojohnson_normmax

from noisezoo.analysis.streams import Floats
from noisezoo.errors import NoiseZooError


def unit(vectors: Floats) -> Floats:
    """Each row divided by its length, `(..., d)`."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def orthogonalise(direction: Floats, against: Floats) -> Floats:
    """w̃ = w − P w, P the projection on the span of the rows of `against` `(m, d)`; for one row v this is w − (v·w / v·v) v.

    Several directions are taken out together, by their span and not one after the other, so that w̃ is at right angles to each even where they overlap.
    """
    w, others = np.asarray(direction, np.float64), np.atleast_2d(np.asarray(against, np.float64))
    _, values, basis = np.linalg.svd(unit(others), full_matrices=False)
    basis = basis[values > 1e-10 * values[0]]
    left = w - basis.T @ (basis @ w)
    left -= basis.T @ (basis @ left)
    if np.linalg.norm(left) < 1e-8 * np.linalg.norm(w):
        raise NoiseZooError("The direction lies within the span of those to keep; keep fewer attributes.")
    return left


def boundary(scores: Floats, weights: Floats) -> Floats:
    """α = −(w·x + b)/‖w‖², for which x + αw lies on the hyperplane; `scores` are the w·x + b."""
    return np.asarray(-np.asarray(scores, np.float64) / np.sum(np.asarray(weights, np.float64) ** 2))


@dataclass(frozen=True)
class Strength:
    """The distribution of projections along a direction, made normal by Yeo and Johnson's (2000) power transform.

    u(t) = (ψ_λ(t) − m)/s, where ψ_λ(t) = ((t+1)^λ − 1)/λ for t ≥ 0 and −((1−t)^(2−λ) − 1)/(2−λ) for t < 0 (logarithms at λ = 0 and λ = 2), t being the
    projection measured in its own standard deviations around its own mean, which keeps λ moderate whatever the space's scale.
    """

    centre: float
    scale: float
    power: float
    mean: float
    sd: float

    def to_sd(self, projections: Floats) -> Floats:
        """Where projections stand, in standard deviations."""
        inner = (np.asarray(projections, np.float64) - self.centre) / self.scale
        return np.asarray((yeojohnson(inner.ravel(), self.power).reshape(inner.shape) - self.mean) / self.sd)

    def from_sd(self, places: Floats) -> Floats:
        """The projections that stand at `places`."""
        return self.centre + self.scale * _inverse_yeo_johnson(
            np.asarray(places, np.float64) * self.sd + self.mean, self.power
        )

    def step(self, projections: Floats, by: float | Floats) -> Floats:
        """α for a unit direction: how far to move each row so that it gains `by` standard deviations."""
        return self.from_sd(self.to_sd(projections) + by) - np.asarray(projections, np.float64)


def fit_strength(projections: Floats) -> Strength:
    """Fit the transform to the projections `(n,)` of many rows on a unit direction, λ by maximum likelihood."""
    values = np.asarray(projections, np.float64)
    centre, scale = float(values.mean()), float(values.std())
    if values.size < 3 or scale == 0:
        raise NoiseZooError(
            "Strength in standard deviations needs at least three rows whose projections differ; choose more rows."
        )
    inner = (values - centre) / scale
    power = float(yeojohnson_normmax(inner))
    shaped = yeojohnson(inner, power)
    return Strength(centre, scale, power, float(shaped.mean()), float(shaped.std()))


def _inverse_yeo_johnson(values: Floats, power: float) -> Floats:
    """ψ⁻¹; where ψ is bounded, values beyond its bound are held just inside it."""
    least = 1e-12
    up, down = np.maximum(values, 0.0), np.maximum(-values, 0.0)
    rise = np.expm1(up) if abs(power) < 1e-12 else np.maximum(1.0 + power * up, least) ** (1.0 / power) - 1.0
    fall = (
        np.expm1(down)
        if abs(power - 2.0) < 1e-12
        else np.maximum(1.0 + (2.0 - power) * down, least) ** (1.0 / (2.0 - power)) - 1.0
    )
    return np.asarray(rise - fall)


def shift(before: Floats, after: Floats, spread: Floats) -> Floats:
    """How far an edit moves each attribute: the mean over rows of the change of its probe's score `(n, a)`, in standard deviations `spread` `(a,)` of that score."""
    return np.asarray((after - before).mean(axis=0) / spread)
