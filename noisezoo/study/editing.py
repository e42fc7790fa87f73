"""Directions to edit along, and what edits do: the half that needs no model.

Whoever has the models leads moved latents back to images and those into an encoder's space; `effects` says from the scores there how far each attribute moved.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from noisezoo.analysis import Probes, Strength, fit_strength, orthogonalise, unit
from noisezoo.analysis.streams import Floats, Ints, blocks
from noisezoo.errors import NoiseZooError, nearest
from noisezoo.study.data import Data
from noisezoo.study.parts import Found, Job
from noisezoo.study.probing import number

STRENGTH_ROWS = 5000
"""Rows from which the strength in standard deviations is learned, at most."""
PAIRS_SHOWN = 12


@dataclass(frozen=True)
class Direction:
    """A unit vector `(d,)` of a space and the distribution of rows along it, which turns standard deviations into lengths."""

    vector: Floats
    strength: Strength

    def move(self, latents: Floats, by: float) -> Floats:
        """Latents `(n, *shape)` moved by `by` of the direction's own standard deviations each, in their shape."""
        flat = latents.reshape(len(latents), -1).astype(np.float32)
        step = self.strength.step(flat @ self.vector, by)
        return np.asarray(flat + step[:, None] * self.vector, np.float32).reshape(latents.shape)


@dataclass(frozen=True)
class Edit:
    """One attribute's directions: its normal w = μ₁ − μ₀ as it is, and made orthogonal to the normals of `keep`."""

    space: str
    attribute: str
    keep: tuple[str, ...]
    plain: Direction
    kept: Direction


def plan(data: Data, space: str, attribute: str, keep: Sequence[str] | None = None, by: str = "power") -> Edit:
    """The edit of an attribute that leaves `keep` alone (all others by default), its strength measured `by` power or quantile.

    Of those to keep the normals of both probes are taken out, class means' and logistic: two estimates whose errors differ.
    """
    means = data.means(space)
    keep = [name for name in means.names if name != attribute] if keep is None else list(keep)
    for name in (attribute, *keep):
        if name not in means.names:
            why = means.skipped.get(name)
            raise NoiseZooError(
                f"'{name}' has no probe in {space}: {why}."
                if why
                else f"This zoo has no attribute '{name}': {nearest(name, means.names)}"
            )
    if attribute in keep:
        raise NoiseZooError(f"'{attribute}' cannot be changed and kept at once; leave it out of --keep.")
    normal = _normals(means, [attribute])[0]
    away = normal
    if keep:
        both = means, data.probes(space)[0]
        away = orthogonalise(normal, np.concatenate([_normals(probes, keep) for probes in both]))
    vectors = np.stack([unit(normal), unit(away)]).astype(np.float32)
    train, _ = data.divide(data.rows(space))
    rows = np.sort(np.random.default_rng(0).permutation(train)[:STRENGTH_ROWS])
    along = np.concatenate([block @ vectors.T for block in blocks(data.latents(space), rows)])
    plain, kept = (Direction(v, fit_strength(along[:, i], by)) for i, v in enumerate(vectors))
    return Edit(space, attribute, tuple(keep), plain, kept)


def _normals(probes: Probes, names: Sequence[str]) -> Floats:
    return probes.weights[[probes.names.index(name) for name in names]]


def effects(
    names: Sequence[str], attribute: str, keep: Sequence[str], down: Floats, up: Floats, spread: Floats
) -> tuple[float, float, dict[str, float]]:
    """From scores `(n, a)` after moving down and up by the same strength: how far the attribute moved, how far those of `keep` did on average, and each.

    Shifts are half of the mean difference, in standard deviations `spread` `(a,)` of each score over unedited rows: what one move from where an image stands does.
    """
    shifts = (up - down).mean(axis=0) / 2 / spread
    each = dict(zip(names, shifts.tolist(), strict=True))
    kept = [abs(each[name]) for name in keep if name in each]
    return each[attribute], float(np.mean(kept)) if kept else 0.0, each


def jobs(data: Data) -> list[Job]:
    """One for each space of noise: how the normals of its attributes lie to each other. What edits do to images takes the models."""
    if not data.names:
        return []
    facts = {"rows": data.rows_digest}
    return [
        Job("edits", f"normals-{name}", {"space": data.digest(name), **facts}, partial(normals, data, name))
        for name in data.of_kind("noise", "encoder")
    ]


def normals(data: Data, name: str) -> Found:
    """Cosines between the attributes' normals, the pairs furthest from a right angle first; and each space's mean."""
    probes = data.means(name)
    directions = unit(probes.weights.astype(np.float64))
    cosines = directions @ directions.T
    pairs = sorted(
        (
            (float(cosines[i, j]), probes.names[i], probes.names[j])
            for i, j in itertools.combinations(range(len(probes.names)), 2)
        ),
        key=lambda pair: -abs(pair[0]),
    )
    chosen: Ints = np.triu_indices(len(cosines), 1)  # type: ignore[assignment]
    mean = number(np.abs(cosines[chosen]).mean()) if pairs else None
    return {
        "normals": {
            "space": name,
            "mean_cosine": mean,
            "pairs": [{"first": a, "second": b, "cosine": c} for c, a, b in pairs[:PAIRS_SHOWN]],
        }
    }
