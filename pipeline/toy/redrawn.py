"""The same toy faces with another truth: what an edit would be that moves one attribute's z and nothing else, which no edit of noise can better."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from noisezoo.zoo import Zoo
from pipeline.toy import faces, truth

Redraw = Callable[[NDArray[np.float64]], NDArray[np.uint8]]
SEED = 0
_KEY = re.compile(r"face-(\d+)\.png")


def redrawn(zoo: Zoo, rows: Sequence[int] | NDArray[np.integer]) -> Redraw | None:
    """A function that draws the faces of these rows `(n, 64, 64, 3)` with their z moved by `(q,)`; None where the rows are no toy faces of `SEED`."""
    keys = [_KEY.fullmatch(str(key)) for key in zoo.row_fact("key")[np.asarray(rows)]]
    if zoo.source["name"] != "toy" or not all(keys) or "truth" not in zoo.row_facts:
        return None
    drawn = np.array([int(key[1]) for key in keys if key])
    z, nuisance = truth.latents(SEED, drawn), truth.nuisances(SEED, drawn)
    if not np.array_equal(z.astype(np.float32), zoo.row_fact("truth")[np.asarray(rows)].astype(np.float32)):
        return None
    return lambda by: faces.draw(z + by, nuisance)


def ways(attribute: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How z moves by one standard deviation of an attribute: with all that goes along with it in the population (its column of the covariance), and alone."""
    place = truth.ATTRIBUTES.index(attribute)
    return np.asarray(truth.COVARIANCE[place], np.float64), np.eye(len(truth.ATTRIBUTES))[place]
