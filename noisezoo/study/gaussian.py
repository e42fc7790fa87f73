"""Is each space Gaussian? The paper's protocol, the same with more rows, in eight dimensions at once, and what makes a Gaussian white."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import chi

from noisezoo.analysis import (
    Share,
    acceptance_by_size,
    fresh_projections,
    isotropy,
    norms,
    quantiles,
    spectrum,
    subspace_acceptance,
)
from noisezoo.analysis.gaussianity import Acceptance, gaussianity
from noisezoo.analysis.multivariate import DIMS
from noisezoo.analysis.streams import Floats, Ints, Latents
from noisezoo.errors import NoiseZooError
from noisezoo.study.data import Data
from noisezoo.study.parts import Found, Job

CURVE_DIRECTIONS = 200
"""Directions of the Q-Q plot, and of acceptance against sample size."""
POINTS = 41
BINS = 32


def jobs(data: Data) -> list[Job]:
    """One for each space."""
    settings = {"projections": data.settings.projections, "rows_per_test": data.settings.rows_per_test}
    return [
        Job("gaussianity", name, {"space": data.digest(name), **settings}, partial(measure, data, name))
        for name in data.spaces
    ]


def measure(data: Data, name: str) -> Found:
    """Everything that is said of one space's distribution."""
    X, rows = data.latents(name), data.rows(name)
    sample = min(data.settings.rows_per_test, len(rows))
    device = data.settings.device
    accepted = gaussianity(X, rows, projections=data.settings.projections, sample=sample, device=device)
    return {
        **_plain(accepted),
        "projections": data.settings.projections,
        "rows": len(rows),
        "by_size": [_plain(a) for a in acceptance_by_size(X, rows, projections=CURVE_DIRECTIONS)],
        "subspaces": attempt(lambda: {"dims": DIMS, **_share("accepted", subspace_acceptance(X, rows, sample=sample))}),
        "isotropy": attempt(lambda: {**vars(isotropy(X, rows))}),
        "norms": attempt(lambda: _norms(X, rows, data.width(name))),
        "quantiles": attempt(lambda: _quantiles(X, rows, sample)),
        "spectrum": attempt(lambda: _spectrum(X, rows)) if len(data.shape(name)) == 3 else None,
    }


def attempt(analysis: Callable[[], Found]) -> Found:
    """A result, or why there is none."""
    try:
        return analysis()
    except NoiseZooError as e:
        return {"skipped": str(e)}


def _share(name: str, share: Share) -> Found:
    return {name: share.share, f"{name}_interval": [share.low, share.high]}


def _plain(found: Acceptance) -> Found:
    """Shares with their intervals; null where a test is not defined at this size."""
    plain: dict[str, Any] = {"sample": found.sample, **_share("ad", found.ad), **_share("dp", found.dp)}
    return {**plain, **(_share("sw", found.sw) if found.sw else {"sw": None, "sw_interval": None})}


def _norms(X: Latents, rows: Ints, d: int) -> Found:
    """Lengths of rows, and their histogram beside that of the chi distribution."""
    found = norms(X, rows)
    law = chi(d)
    low = min(float(found.values.min()), found.expected_mean - 4 * found.expected_sd)
    high = max(float(found.values.max()), found.expected_mean + 4 * found.expected_sd)
    edges = np.linspace(max(low, 0.0), high, BINS + 1)
    counts = np.histogram(found.values, edges)[0]
    facts = {key: value for key, value in vars(found).items() if key != "values"}
    expected = np.diff(law.cdf(edges))
    return {
        **facts,
        "edges": _round(edges),
        "share": _round(counts / len(found.values)),
        "expected_share": _round(expected),
    }


def _quantiles(X: Latents, rows: Ints, sample: int) -> Found:
    """Q-Q data, thinned."""
    found = quantiles(fresh_projections(X, rows, projections=CURVE_DIRECTIONS, sample=sample))
    chosen = np.unique(np.linspace(0, sample - 1, POINTS).round().astype(int))
    return {key: _round(np.asarray(value)[chosen]) for key, value in vars(found).items()}


def _spectrum(X: Latents, rows: Ints) -> Found:
    """Radial mean of the power of each channel relative to the mean power, and the correlation between channels."""
    found = spectrum(X, rows)
    mean = found.power.mean()
    if mean == 0:
        raise NoiseZooError("All chosen rows are equal, so they have no spectrum; choose other rows.")
    spread = np.sqrt(np.diag(found.channels))
    spread = np.where(spread > 0, spread, 1.0)
    return {
        "frequency": _round(found.frequency),
        "radial": [_round(line / mean) for line in found.radial],
        "channels": [_round(line) for line in found.channels / np.outer(spread, spread)],
        "low_over_high": float(found.radial[:, 1].mean() / max(float(found.radial[:, -1].mean()), 1e-12)),
    }


def _round(values: Floats) -> list[float]:
    """Five digits are plenty for a curve."""
    return [float(f"{value:.5g}") for value in np.asarray(values).ravel()]
