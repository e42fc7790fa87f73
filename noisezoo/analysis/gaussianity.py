"""Are a space's one-dimensional shadows normal? The paper's protocol, and the questions it left open.

Protocol: for each of 5,000 directions, uniform on the unit sphere, draw 250 rows afresh, project them, and let three tests at 5 % accept or reject. A Gaussian
space is accepted 95 % of the time. 250 values cannot reveal a small departure, so `acceptance_by_size` repeats the tests with more rows on each direction.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import ndtri
from scipy.stats import beta

from noisezoo.analysis.devices import picked_products_on
from noisezoo.analysis.normality import Share, accepted, ordered_scores, share
from noisezoo.analysis.streams import Floats, Ints, Latents, Rows, numbered_blocks, pool, row_numbers, width
from noisezoo.errors import NoiseZooError

PROJECTIONS, SAMPLE, SEED = 5000, 250, 42
DIRECTION_BYTES = 512 * 2**20
GROUP = 64  # directions that one thread draws from one seed, or multiplies, at a time


@dataclass(frozen=True)
class Acceptance:
    """Shares of projections accepted by each test ('ad', 'dp', 'sw'), each on `sample` rows; a test that is not defined at this size is None."""

    sample: int
    ad: Share
    dp: Share
    sw: Share | None


def gaussianity(
    X: Latents,
    rows: Rows = None,
    *,
    projections: int = PROJECTIONS,
    sample: int = SAMPLE,
    seed: int = SEED,
    device: str | None = None,
) -> Acceptance:
    """The paper's protocol: `projections` random directions, `sample` rows drawn afresh for each, three tests at 5 %.

    `device`: one of torch's for the products, which even on "cpu" takes half of NumPy's time at them.
    """
    return _acceptance(fresh_projections(X, rows, projections=projections, sample=sample, seed=seed, device=device))


def _acceptance(samples: Floats) -> Acceptance:
    ad, dp, sw = accepted(samples)
    return Acceptance(samples.shape[1], share(ad), share(dp), None if sw is None else share(sw))


def fresh_projections(
    X: Latents,
    rows: Rows = None,
    *,
    projections: int,
    sample: int,
    seed: int = SEED,
    block_rows: int | None = None,
    device: str | None = None,
) -> Floats:
    """`sample` rows projected on each of `projections` directions uᵢ/‖uᵢ‖, uᵢ ~ N(0, I), the rows drawn afresh without replacement: `(projections, sample)`."""
    return fresh_subspaces(
        X, rows, subspaces=projections, dims=1, sample=sample, seed=seed, block_rows=block_rows, device=device
    )[..., 0]


def fresh_subspaces(
    X: Latents,
    rows: Rows = None,
    *,
    subspaces: int,
    dims: int,
    sample: int,
    seed: int = SEED,
    block_rows: int | None = None,
    device: str | None = None,
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
        products: PickedProducts = (
            picked_products_on(directions, device) if device else partial(picked_products, directions)
        )
        for positions, block in numbered_blocks(X, numbers, block_rows):
            inside = (mine >= positions.start) & (mine < positions.stop)
            edges = np.concatenate([[0], inside.sum(axis=1).cumsum()])
            here[inside] = products(block, edges, mine[inside] - positions.start)
    return out


PickedProducts = Callable[[Floats, Ints, Ints], Floats]
"""From a block of rows `(n, d)`, edges `(m + 1,)` and picked rows `(p,)`: each picked row times the directions that picked it, `(p, dims)`."""


def picked_products(directions: Floats, block: Floats, edges: Ints, picked: Ints) -> Floats:
    """Rows `picked[edges[i]:edges[i + 1]]` of the block `(n, d)` times directions i of `(m, dims, d)`, for each i: `(p, dims)`."""
    m, dims, d = directions.shape
    out = np.empty((len(picked), dims), np.float32)

    def multiply(start: int) -> None:
        cuts = edges[start : start + GROUP + 1]
        room = np.empty((int(np.diff(cuts).max()), d), np.float32)
        for i, (a, b) in enumerate(itertools.pairwise(cuts.tolist()), start):
            # Rows gathered in one call and multiplied in the next, so that two threads seldom wait for the interpreter.
            rows = np.take(block, picked[a:b], axis=0, out=room[: b - a], mode="clip")
            np.dot(rows, directions[i].T, out=out[a:b])

    list(pool().map(multiply, range(0, m, GROUP)))
    return out


def _draws(total: int, projections: int, sample: int, seed: int) -> Ints:
    """Sorted positions `(projections, sample)`, each line without repeats."""
    rng = np.random.default_rng([seed, 0])
    return np.stack([np.sort(rng.choice(total, sample, replace=False, shuffle=False)) for _ in range(projections)])


def _directions(d: int, count: int, dims: int, seed: int) -> Iterator[tuple[slice, Floats]]:
    """Unit directions in parts that fit in memory, the same whatever the parts: yields (slice of count, `(n, dims, d)` float32)."""

    def fill(group: Floats, number: int) -> None:
        np.random.default_rng([seed, 1, number]).standard_normal(out=group, dtype=np.float32)
        group /= np.sqrt(np.einsum("ijk,ijk->ij", group, group))[..., None]

    step = max(1, DIRECTION_BYTES // (4 * d * dims * GROUP)) * GROUP
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        directions = np.empty((part.stop - start, dims, d), np.float32)
        groups = range(0, len(directions), GROUP)
        list(pool().map(fill, [directions[at : at + GROUP] for at in groups], [(start + at) // GROUP for at in groups]))
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
