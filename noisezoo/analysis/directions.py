"""Moving along a probe's normal, by a known amount, without moving what should stay.

An edit is z + α·w with w a unit normal. `orthogonalise` takes out of w what would move other attributes; `Strength` turns α into standard deviations of the
attribute's own distribution; `boundary` is the α that just reaches the probe's hyperplane.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import yeojohnson, yeojohnson_normmax

from noisezoo.analysis.streams import Floats
from noisezoo.errors import NoiseZooError, nearest

STRENGTHS = ("power", "quantile")


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


class Strength(ABC):
    """Turns projections on a unit direction `(n,)` into standard deviations of their own distribution, and back."""

    @abstractmethod
    def to_sd(self, projections: Floats) -> Floats:
        """Where projections stand, in standard deviations."""

    @abstractmethod
    def from_sd(self, places: Floats) -> Floats:
        """The projections that stand at `places`."""

    def step(self, projections: Floats, by: float | Floats) -> Floats:
        """α for a unit direction: how far to move each row so that it gains `by` standard deviations."""
        return self.from_sd(self.to_sd(projections) + by) - np.asarray(projections, np.float64)


@dataclass(frozen=True)
class PowerStrength(Strength):
    """The distribution made normal by Yeo and Johnson's (2000) power transform.

    u(t) = (ψ_λ(t) − m)/s, where ψ_λ(t) = ((t+1)^λ − 1)/λ for t ≥ 0 and −((1−t)^(2−λ) − 1)/(2−λ) for t < 0 (logarithms at λ = 0 and λ = 2), t being the
    projection measured in its own standard deviations around its own mean, which keeps λ moderate whatever the space's scale.
    """

    centre: float
    scale: float
    power: float
    mean: float
    sd: float

    def to_sd(self, projections: Floats) -> Floats:
        """u(t)."""
        inner = (np.asarray(projections, np.float64) - self.centre) / self.scale
        return np.asarray((yeojohnson(inner.ravel(), self.power).reshape(inner.shape) - self.mean) / self.sd)

    def from_sd(self, places: Floats) -> Floats:
        """u⁻¹."""
        return self.centre + self.scale * _inverse_yeo_johnson(
            np.asarray(places, np.float64) * self.sd + self.mean, self.power
        )


@dataclass(frozen=True)
class QuantileStrength(Strength):
    """The distribution made normal by ranks, whatever its shape: the i-th smallest of n rows stands at Φ⁻¹((i − 3/8)/(n + 1/4)).

    Between rows in straight lines `knots` → `places`; beyond the first and the last of them, where no row says anything, on by the standard deviation of all.
    """

    knots: Floats
    places: Floats
    sd: float

    def to_sd(self, projections: Floats) -> Floats:
        """u(t)."""
        return _along(np.asarray(projections, np.float64), self.knots, self.places, 1 / self.sd)

    def from_sd(self, places: Floats) -> Floats:
        """u⁻¹."""
        return _along(np.asarray(places, np.float64), self.places, self.knots, self.sd)


def _along(values: Floats, x: Floats, y: Floats, slope: float) -> Floats:
    """Straight lines through (x, y), both increasing, going on with `slope` on both sides."""
    inside = np.interp(values, x, y)
    return np.asarray(inside + slope * (np.minimum(values - x[0], 0) + np.maximum(values - x[-1], 0)))


def fit_strength(projections: Floats, by: str = "power") -> Strength:
    """Learn the distribution from the projections `(n,)` of many rows on a unit direction: by `power`, its λ of greatest likelihood, or by `quantile`."""
    values = np.asarray(projections, np.float64).ravel()
    if by not in STRENGTHS:
        raise NoiseZooError(f"A strength is not measured by '{by}': {nearest(by, STRENGTHS)}")
    centre, scale = float(values.mean()), float(values.std())
    if values.size < 3 or scale == 0:
        raise NoiseZooError(
            "Strength in standard deviations needs at least three rows whose projections differ; choose more rows."
        )
    if by == "quantile":
        knots, which, count = np.unique(values, return_inverse=True, return_counts=True)
        normal = ndtri((np.arange(1, values.size + 1) - 0.375) / (values.size + 0.25))
        return QuantileStrength(knots, np.bincount(np.sort(which), normal) / count, scale)
    inner = (values - centre) / scale
    power = float(yeojohnson_normmax(inner))
    shaped = yeojohnson(inner, power)
    return PowerStrength(centre, scale, power, float(shaped.mean()), float(shaped.std()))


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
