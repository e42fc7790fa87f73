"""Are a space's one-dimensional shadows normal? The paper's protocol, and the questions it left open.

Protocol: for each of 5,000 directions, uniform on the unit sphere, draw 250 rows afresh, project them, and let three tests at 5 % accept or reject. A Gaussian
space is accepted 95 % of the time. 250 values cannot reveal a small departure, so `acceptance_by_size` repeats the tests with more rows on each direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import beta

from noisezoo.analysis.normality import Share, accepted, ordered_scores, share
from noisezoo.analysis.streams import Floats, Ints, Latents, Rows, numbered_blocks, row_numbers, width
from noisezoo.errors import NoiseZooError

PROJECTIONS, SAMPLE, SEED = 5000, 250, 42
DIRECTION_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Acceptance:
    """Shares of projections accepted by each test ('ad', 'dp', 'sw'), each on `sample` rows; a test that is not defined at this size is None."""

    sample: int
    ad: Share
    dp: Share
    sw: Share | None


def gaussianity(
    X: Latents, rows: Rows = None, *, projections: int = PROJECTIONS, sample: int = SAMPLE, seed: int = SEED
) -> Acceptance:
    """The paper's protocol: `projections` random directions, `sample` rows drawn afresh for each, three tests at 5 %."""
    return _acceptance(fresh_projections(X, rows, projections=projections, sample=sample, seed=seed))


def _acceptance(samples: Floats) -> Acceptance:
    ad, dp, sw = accepted(samples)
    return Acceptance(samples.shape[1], share(ad), share(dp), None if sw is None else share(sw))


def fresh_projections(
    X: Latents, rows: Rows = None, *, projections: int, sample: int, seed: int = SEED, block_rows: int | None = None
) -> Floats:
    """`sample` rows projected on each of `projections` directions uᵢ/‖uᵢ‖, uᵢ ~ N(0, I), the rows drawn afresh without replacement: `(projections, sample)`."""
    return fresh_subspaces(X, rows, subspaces=projections, dims=1, sample=sample, seed=seed, block_rows=block_rows)[
        ..., 0
    ]


def fresh_subspaces(
    X: Latents,
    rows: Rows = None,
    *,
    subspaces: int,
    dims: int,
    sample: int,
    seed: int = SEED,
    block_rows: int | None = None,
) -> Floats:
    """As `fresh_projections` with `dims` directions for each draw of rows: `(subspaces, sample, dims)`.

    Only the pairs that were drawn are computed: subspaces·dims·sample·d multiplications where projecting every row would take subspaces·dims·rows·d. Each block
    of rows is widened once and meets all directions that drew from it.
    """
    numbers = row_numbers(X, rows)
    if not 12 <= sample <= len(numbers):
        raise NoiseZooError(
            f"A sample of {sample} cannot be drawn for the tests from {len(numbers)} rows; choose a size from 12 to {len(numbers)}."
        )
    draws = _draws(len(numbers), subspaces, sample, seed)
    out = np.empty((subspaces, sample, dims), np.float32)
    for part, directions in _directions(width(X), subspaces, dims, seed):
        mine, here = draws[part], out[part]
        for positions, block in numbered_blocks(X, numbers, block_rows):
            starts = np.sum(mine < positions.start, axis=1)
            stops = np.sum(mine < positions.stop, axis=1)
            for i in np.flatnonzero(stops > starts).tolist():
                hit = slice(starts[i], stops[i])
                here[i, hit] = block[mine[i, hit] - positions.start] @ directions[i].T
    return out


def _draws(total: int, projections: int, sample: int, seed: int) -> Ints:
    """Sorted positions `(projections, sample)`, each line without repeats."""
    rng = np.random.default_rng([seed, 0])
    return np.stack([np.sort(rng.choice(total, sample, replace=False, shuffle=False)) for _ in range(projections)])


def _directions(d: int, groups: int, dims: int, seed: int) -> Iterator[tuple[slice, Floats]]:
    """Unit directions in parts that fit in memory, the same whatever the parts: yields (slice of groups, `(n, dims, d)` float32)."""
    rng = np.random.default_rng([seed, 1])
    step = max(1, DIRECTION_BYTES // (4 * d * dims))
    for start in range(0, groups, step):
        part = slice(start, min(start + step, groups))
        directions = rng.standard_normal((part.stop - start, dims, d), np.float32)
        directions /= np.sqrt(np.einsum("ijk,ijk->ij", directions, directions))[..., None]
        yield part, directions


def project_all(
    X: Latents, rows: Rows = None, *, projections: int, seed: int = SEED, block_rows: int | None = None
) -> Floats:
    """Every row on every direction: `(projections, rows)`."""
    numbers = row_numbers(X, rows)
    out = np.empty((projections, len(numbers)), np.float32)
    for part, directions in _directions(width(X), projections, 1, seed):
        for positions, block in numbered_blocks(X, numbers, block_rows):
            out[part, positions] = directions[:, 0] @ block.T
    return out


def acceptance_by_size(
    X: Latents,
    rows: Rows = None,
    *,
    sizes: tuple[int | None, ...] = (250, 1000, 5000, None),
    projections: int = 500,
    seed: int = SEED,
) -> list[Acceptance]:
    """Acceptance on the same directions with more and more rows on each; None stands for all rows, and sizes above the rows there are are left out.

    Without this, acceptance near 95 % at 250 rows may only say that 250 rows are few. Shapiro-Wilk stops at 5,000 rows, where its p-value ceases to be known.
    """
    every = project_all(X, rows, projections=projections, seed=seed)
    total = every.shape[1]
    wanted = sorted({total if size is None else size for size in sizes if size is None or size <= total})
    rng = np.random.default_rng([seed, 2])
    found = []
    for size in wanted:
        if size == total:
            found.append(_acceptance(every))
            continue
        drawn = np.stack([line[rng.choice(total, size, replace=False, shuffle=False)] for line in every])
        found.append(_acceptance(drawn))
    return found


@dataclass(frozen=True)
class Quantiles:
    """A Q-Q plot: normal quantiles, the mean over projections of the standardised ordered sample, and where single projections lie (95 %)."""

    normal: Floats
    mean: Floats
    low: Floats
    high: Floats
    expected_low: Floats
    expected_high: Floats


def quantiles(samples: Floats) -> Quantiles:
    """Q-Q data of projected samples `(m, n)`: abscissae Φ⁻¹((i − 3/8)/(n + 1/4)); the expected band is that of normal order statistics, Φ⁻¹ of Beta(i, n + 1 − i)."""
    scores = ordered_scores(samples)
    n = scores.shape[1]
    place = np.arange(1, n + 1)
    low, high = np.nanquantile(scores, [0.025, 0.975], axis=0)
    band = [ndtri(beta.ppf(level, place, n + 1 - place)) for level in (0.025, 0.975)]
    return Quantiles(ndtri((place - 0.375) / (n + 0.25)), np.nanmean(scores, axis=0), low, high, *band)
