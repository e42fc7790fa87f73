"""Reading latents in blocks: the only place where an analysis touches its input.

`X` is anything with a shape `(rows, ...)` that can be sliced by a range of rows — a NumPy array, a memory map, a Zarr array — and `rows` says which of its
rows take part: nothing (all), a boolean mask, or increasing row numbers. Every analysis walks over `blocks(X, rows)`, holds one block at a time, and adds up
in float64, so that its result does not depend on how the rows were cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from noisezoo.errors import NoiseZooError

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]
Rows = Ints | Bools | None

BLOCK_BYTES = 96 * 2**20
HELD_BYTES = 768 * 2**20
_HALF_LIMIT = np.float32(65536.0)


class Latents(Protocol):
    """What an analysis needs of its input."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, key: Any, /) -> Any: ...


def width(X: Latents) -> int:
    """Number of values in one row, all latent dimensions flattened."""
    return math.prod(X.shape[1:])


def row_numbers(X: Latents, rows: Rows = None) -> Ints:
    """The row numbers that `rows` stands for, increasing; refuses what is empty, out of range or out of order."""
    total = X.shape[0]
    if rows is None:
        numbers = np.arange(total)
    else:
        given = np.asarray(rows)
        if given.dtype == np.bool_:
            if given.shape != (total,):
                raise NoiseZooError(
                    f"The row mask has shape {given.shape} but the space has {total} rows; pass one boolean for each row."
                )
            numbers = np.flatnonzero(given)
        else:
            numbers = given.astype(np.int64, casting="same_kind") if given.size else np.empty(0, np.int64)
    if numbers.size == 0:
        raise NoiseZooError("No rows are left to analyse; choose other rows, or check the space's 'valid' array.")
    if numbers[0] < 0 or numbers[-1] >= total:
        raise NoiseZooError(
            f"Rows {numbers[0]} to {numbers[-1]} were asked for, but the space has rows 0 to {total - 1}; choose rows inside that range."
        )
    if np.any(np.diff(numbers) <= 0):
        raise NoiseZooError("Row numbers must increase without repeats; pass np.unique(rows).")
    return numbers


def block_length(X: Latents) -> int:
    """Rows in a block of about `BLOCK_BYTES` as float32."""
    return max(1, BLOCK_BYTES // (4 * max(1, width(X))))


def blocks(X: Latents, rows: Rows = None, block_rows: int | None = None) -> Iterator[Floats]:
    """Yield the chosen rows in order as float32 arrays `(n, d)`, latent dimensions flattened; rows that are not finite are refused."""
    for _, block in numbered_blocks(X, rows, block_rows):
        yield block


def numbered_blocks(X: Latents, rows: Rows = None, block_rows: int | None = None) -> Iterator[tuple[slice, Floats]]:
    """As `blocks`, each with the slice of positions (in `row_numbers(X, rows)`) that it holds."""
    numbers = row_numbers(X, rows)
    length = block_rows or block_length(X)
    first = int(numbers[0]) // length * length
    edges = np.arange(first, int(numbers[-1]) + length + 1, length)
    cuts = np.searchsorted(numbers, edges)
    for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        if start == stop:
            continue
        chosen = numbers[start:stop]
        low, high = int(chosen[0]), int(chosen[-1]) + 1
        raw = np.asarray(X[low:high])
        if high - low != stop - start:
            raw = raw[chosen - low]
        block = as_float32(raw).reshape(stop - start, -1)
        _refuse_nonfinite(block, chosen)
        yield slice(start, stop), block


def held(X: Latents, rows: Rows = None) -> tuple[Latents, Rows]:
    """X and rows for a method of many passes: the chosen rows in memory, as stored, where they are within `HELD_BYTES`; else X and rows unchanged."""
    numbers = row_numbers(X, rows)
    if isinstance(X, np.ndarray) or len(numbers) * np.dtype(X.dtype).itemsize * width(X) > HELD_BYTES:
        return X, numbers
    first, last = int(numbers[0]), int(numbers[-1]) + 1
    kept = np.empty((len(numbers), *X.shape[1:]), X.dtype)
    for start in range(first, last, block_length(X)):
        stop = min(start + block_length(X), last)
        a, b = np.searchsorted(numbers, [start, stop])
        if a < b:
            kept[a:b] = np.asarray(X[start:stop])[numbers[a:b] - start]
    return kept, None


def paired_blocks(
    spaces: Sequence[Latents], rows: Rows = None, block_rows: int | None = None
) -> Iterator[tuple[slice, list[Floats]]]:
    """The same rows of several spaces side by side, cut to suit the widest."""
    totals = {X.shape[0] for X in spaces}
    if len(totals) != 1:
        raise NoiseZooError(f"The spaces have {sorted(totals)} rows; pass spaces of one zoo, whose rows correspond.")
    numbers = row_numbers(spaces[0], rows)
    length = block_rows or min(block_length(X) for X in spaces)
    for parts in zip(*(numbered_blocks(X, numbers, length) for X in spaces), strict=True):
        yield parts[0][0], [block for _, block in parts]


def as_float32(raw: npt.NDArray[Any]) -> Floats:
    """A float32 copy of an array, exact for float16.

    NumPy widens half floats one by one; shifting their bits into a float32 and scaling by 2¹¹² does whole vectors and is some 2.5 times as fast. Bits of a half
    NaN or infinity come out as a magnitude of 65,536 or more, which no finite half reaches, and are put right afterwards.
    """
    if raw.dtype != np.float16:
        return np.ascontiguousarray(raw, dtype=np.float32)
    source = np.ascontiguousarray(raw).reshape(-1).view(np.int16)
    out = np.empty(source.size, np.float32)
    bits = out.view(np.int32)
    keep, scale = np.int32(-0x70002000), np.float32(2.0**112)
    for start in range(0, source.size, 1 << 16):
        part, value = bits[start : start + (1 << 16)], out[start : start + (1 << 16)]
        part[...] = source[start : start + (1 << 16)]
        np.left_shift(part, 13, out=part)
        np.bitwise_and(part, keep, out=part)
        np.multiply(value, scale, out=value)
        if value.max() >= _HALF_LIMIT or value.min() <= -_HALF_LIMIT:
            value[...] = source[start : start + (1 << 16)].view(np.float16)
    return out.reshape(raw.shape)


def _refuse_nonfinite(block: Floats, numbers: Ints) -> None:
    total = (
        float(block.sum(dtype=np.float64))
        if block.size < 4096
        else float((block @ np.ones(block.shape[1], np.float32)).sum(dtype=np.float64))
    )
    if math.isfinite(total):
        return
    bad = numbers[~np.isfinite(block).all(axis=1)]
    if bad.size:
        raise NoiseZooError(
            f"{bad.size} of the rows {numbers[0]} to {numbers[-1]} hold NaN or infinity (first: row {bad[0]}); leave them out with rows=valid, "
            "a mask of the rows that are finite."
        )


def finite_rows(X: Latents, block_rows: int | None = None) -> Bools:
    """A mask `(rows,)` that is True where every value of a row is finite: what to pass as `rows` when a zoo's own `valid` is not at hand."""
    length = block_rows or block_length(X)
    mask = np.zeros(X.shape[0], np.bool_)
    for start in range(0, X.shape[0], length):
        raw = np.asarray(X[start : start + length])
        mask[start : start + length] = np.isfinite(raw).reshape(raw.shape[0], -1).all(axis=1)
    return mask


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each coordinate, `(d,)` in float64, over `rows` rows."""

    rows: int
    mean: Floats
    variance: Floats


def moments(X: Latents, rows: Rows = None, block_rows: int | None = None) -> Moments:
    """Streamed mean and (biased) variance of each coordinate; blocks are merged by Chan's formula, which does not cancel."""
    count, mean, spread = 0, np.zeros(width(X)), np.zeros(width(X))
    for block in blocks(X, rows, block_rows):
        ones = np.ones(len(block), np.float32)
        rough = (ones @ block) / np.float32(len(block))
        centred = block - rough
        rest = (ones @ centred).astype(np.float64) / len(block)  # what rounding left in `rough`
        inside = np.einsum("ij,ij->j", centred, centred).astype(np.float64) - len(block) * rest**2
        step, joint = rough + rest - mean, count + len(block)
        spread += inside + step**2 * (count * len(block) / joint)
        mean += step * (len(block) / joint)
        count = joint
    return Moments(count, mean, spread / count)
