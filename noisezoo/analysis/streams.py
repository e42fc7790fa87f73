"""Reading latents in blocks: the only place where an analysis touches its input.

`X` is anything with a shape `(rows, ...)` that can be sliced by a range of rows — a NumPy array, a memory map, a Zarr array — and `rows` says which of its
rows take part: nothing (all), a boolean mask, or increasing row numbers. Every analysis walks over `blocks(X, rows)`, holds one block at a time, and adds up
in float64, so that its result does not depend on how the rows were cut.

Fresh memory is dear (each page has to be found, cleared and mapped), so all blocks of a walk lie in one buffer, one after the other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from noisezoo.errors import NoiseZooError

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]
Rows = Ints | Bools | None

BLOCK_BYTES = 64 * 2**20
PIECE_BYTES = 16 * 2**20  # one read of what is stored: small enough for the allocator to keep the memory for the next
HELD_BYTES = 1280 * 2**20
_CACHE_VALUES = 1 << 18  # what one thread works on at a time: 1 MB as float32


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
    """Rows in a block of about `BLOCK_BYTES` as float32: a power of two, as shards and chunks mostly are."""
    return _power_of_two(BLOCK_BYTES // (4 * max(1, width(X))))


def _power_of_two(most: int) -> int:
    return 1 << max(0, most.bit_length() - 1)


def blocks(X: Latents, rows: Rows = None, block_rows: int | None = None) -> Iterator[Floats]:
    """Yield the chosen rows in order as float32 arrays `(n, d)`, latent dimensions flattened; rows that are not finite are refused.

    A block is not to be written to, and is good until the next is asked for: whoever keeps it keeps a copy.
    """
    for _, block in numbered_blocks(X, rows, block_rows):
        yield block


def numbered_blocks(X: Latents, rows: Rows = None, block_rows: int | None = None) -> Iterator[tuple[slice, Floats]]:
    """As `blocks`, each with the slice of positions (in `row_numbers(X, rows)`) that it holds."""
    numbers = row_numbers(X, rows)
    length = block_rows or block_length(X)
    if isinstance(X, Held) and rows is None:
        for start in range(0, len(numbers), length):
            yield slice(start, min(start + length, len(numbers))), X.values[start : start + length]
        return
    first = int(numbers[0]) // length * length
    edges = np.arange(first, int(numbers[-1]) + length + 1, length)
    cuts = np.searchsorted(numbers, edges)
    room = np.empty((int(np.diff(cuts).max()), width(X)), np.float32)
    for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        if start == stop:
            continue
        block = room[: stop - start]
        _read(X, numbers[start:stop], block)
        yield slice(start, stop), block


def _read(X: Latents, chosen: Ints, block: Floats) -> None:
    """Fill `block` with the chosen rows, a piece at a time; refuse them if they are not finite."""
    for piece, raw in _pieces(X, chosen):
        if not widen(raw.reshape(len(raw), -1), block[piece]):
            _refuse_nonfinite(block[piece], chosen[piece])


def _pieces(X: Latents, chosen: Ints) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """The chosen rows as they are stored, with the slice of `chosen` that each piece holds."""
    step = _power_of_two(PIECE_BYTES // max(1, np.dtype(X.dtype).itemsize * width(X)))
    first, last = int(chosen[0]), int(chosen[-1]) + 1
    for low in range(first - first % step, last, step):
        a, b = np.searchsorted(chosen, [low, low + step]).tolist()
        if a == b:
            continue
        start, stop = int(chosen[a]), int(chosen[b - 1]) + 1
        raw = np.asarray(X[start:stop])
        yield slice(a, b), raw if stop - start == b - a else raw[chosen[a:b] - start]


@dataclass(frozen=True)
class Held:
    """Rows in memory that need nothing more done to them: float32 `(n, d)`, finite."""

    values: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> Any:
        return self.values.dtype

    def __getitem__(self, key: Any, /) -> Any:
        return self.values[key]


def held(X: Latents, rows: Rows = None) -> tuple[Latents, Rows]:
    """X and rows for a method of many passes: the chosen rows in memory within `HELD_BYTES`, widened once for all passes, or as they are stored; else X and rows unchanged."""
    numbers = row_numbers(X, rows)
    if isinstance(X, Held) and rows is None:
        return X, None
    if 4 * len(numbers) * width(X) <= HELD_BYTES:
        values = np.empty((len(numbers), width(X)), np.float32)
        _read(X, numbers, values)
        return Held(values), None
    if isinstance(X, np.ndarray) or len(numbers) * np.dtype(X.dtype).itemsize * width(X) > HELD_BYTES:
        return X, numbers
    kept = np.empty((len(numbers), *X.shape[1:]), X.dtype)
    for piece, raw in _pieces(X, numbers):
        kept[piece] = raw
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


@cache
def pool() -> ThreadPoolExecutor:
    """Threads for what NumPy does on one core."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="noisezoo-analysis")


def widen(raw: npt.NDArray[Any], out: Floats) -> bool:
    """Write an array of any real type into a float32 one of the same shape, exactly for float16; whether all its values are finite.

    NumPy widens half floats one by one; shifting their bits into a float32 and scaling by 2¹¹² does whole vectors. A half NaN or infinity, whose exponent bits are
    all ones, comes out wrong so and is put right afterwards.
    """
    if raw.dtype != np.float16:
        np.copyto(out, raw, casting="unsafe")
        return all([bool(np.isfinite(out[at : at + 64]).all()) for at in range(0, len(out), 64)])
    source, value = np.ascontiguousarray(raw).reshape(-1).view(np.uint16), out.reshape(-1)
    parts = [slice(start, start + _CACHE_VALUES) for start in range(0, source.size, _CACHE_VALUES)]
    run = map if len(parts) == 1 else pool().map
    return all(list(run(_widen, [source[part] for part in parts], [value[part] for part in parts])))


def _widen(source: npt.NDArray[np.uint16], value: Floats) -> bool:
    bits = value.view(np.int32)
    bits[...] = source.view(np.int16)
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, np.int32(-0x70002000), out=bits)
    np.multiply(value, np.float32(2.0**112), out=value)
    finite = int(np.left_shift(source, 1).max()) < 0xF800
    if not finite:
        value[...] = source.view(np.float16)
    return finite


def _refuse_nonfinite(block: Floats, numbers: Ints) -> None:
    bad = numbers[~np.isfinite(block).all(axis=1)]
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
    """Streamed mean and (biased) variance of each coordinate; parts are merged by Chan's formula, which does not cancel."""
    d = width(X)
    count, mean, spread = 0, np.zeros(d), np.zeros(d)
    step = max(1, 4 * _CACHE_VALUES // max(1, d))
    for block in blocks(X, rows, block_rows):
        parts = [block[at : at + step] for at in range(0, len(block), step)]
        for size, middle, inside in pool().map(_moments, parts):
            joint, away = count + size, middle - mean
            spread += inside + away**2 * (count * size / joint)
            mean += away * (size / joint)
            count = joint
    return Moments(count, mean, spread / count)


def _moments(part: Floats) -> tuple[int, Floats, Floats]:
    """Rows, mean `(d,)` and sum of squares around it."""
    rough = part.mean(axis=0)
    centred = part - rough
    rest = centred.mean(axis=0, dtype=np.float64)  # what rounding left in `rough`
    inside = np.einsum("ij,ij->j", centred, centred).astype(np.float64) - len(part) * rest**2
    return len(part), rough + rest, inside
