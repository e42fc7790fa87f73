"""What a build will do, before it does it: units, rows, network calls, bytes; and how long that takes, after timing a few batches.

Network calls count rows, not batches: one image through the network once is one call, so that they tell the work whatever the batch. A row of a
diffusion space takes its inverter's calls, twice as many where guidance asks the network twice, and regenerating a sampled row as many again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from noisezoo import layout
from pipeline import inversion
from pipeline.decode import decode
from pipeline.spaces.base import Generates, Space

ENTRY_BYTES = 1000
"""A ledger entry, about."""
INDEX_BYTES = 16
"""Of a chunk, in its shard's index; the index ends in a checksum of 4."""


@dataclass(frozen=True)
class Timing:
    """What a few batches took on this machine."""

    device: str
    batch: int
    rows_per_second: float
    """Of computing alone."""
    decoded_per_second: float
    """Images that one decoding thread prepares."""
    seconds_per_sample: float
    """Of regenerating a row for its fidelity, where the space does."""
    load_seconds: float


@dataclass(frozen=True)
class SpacePlan:
    """What is left to do for one space."""

    units: int
    rows: int
    calls_per_row: int
    calls: int
    bytes: int
    timing: Timing | None = None
    hours: float | None = None
    """On one device of the kind that was timed."""


def calls_per_row(space: Space) -> int:
    """Network calls that a row takes."""
    if space.facts.parameters == 0:
        return 0
    inverter = getattr(space, "inverter", None)
    if not inverter:
        return 1
    prompt = getattr(space, "prompt", None)
    return inversion.calls(**inverter) * (2 if prompt is not None and prompt.guidance is not None else 1)


def plan(
    space: Space, rows: Sequence[int], shard_rows: int, fidelity_rows: int, decode_threads: int, timing: Timing | None
) -> SpacePlan:
    """The work on units of these numbers of rows."""
    samples = sum(min(fidelity_rows, n) for n in rows) if isinstance(space, Generates) else 0
    each = calls_per_row(space)
    return SpacePlan(
        units=len(rows),
        rows=sum(rows),
        calls_per_row=each,
        calls=each * (sum(rows) + (samples if getattr(space, "inverter", None) else 0)),
        bytes=sum(unit_bytes(space, n, shard_rows, fidelity_rows) for n in rows),
        timing=timing,
        hours=None if timing is None else hours(timing, sum(rows), samples, decode_threads),
    )


def unit_bytes(space: Space, rows: int, shard_rows: int, fidelity_rows: int) -> int:
    """Bytes of one unit: every array's shard and the ledger entry. A ragged last shard is as long as its rows."""
    total = rows + ENTRY_BYTES
    size = np.dtype(space.dtype).itemsize
    for shape in (space.shape, *space.extra_arrays().values()):
        chunk = layout.chunk_rows(tuple(shape), space.dtype, shard_rows)
        # Chunks are written whole; the index has a place for each that a full shard holds.
        total += math.ceil(rows / chunk) * chunk * math.prod(shape) * size + INDEX_BYTES * (shard_rows // chunk) + 4
    if fidelity_rows and isinstance(space, Generates):
        total += shard_rows * len(layout.FIDELITY_MEASURES) * 4
    return total + (shard_rows - rows)


def hours(timing: Timing, rows: int, samples: int, decode_threads: int) -> float:
    """Decoding runs beside computing, so that the slower of the two counts; regenerating comes on top."""
    rate = min(timing.rows_per_second, timing.decoded_per_second * decode_threads)
    return (timing.load_seconds + rows / rate + samples * timing.seconds_per_sample) / 3600


def measure(space: Space, images: Sequence[bytes], device: torch.device, batch: int, seconds: float) -> Timing:
    """Load a space and time it on real images for about so many seconds; the first batch, which compiles, does not count.

    Where a whole batch would take much longer than that, a smaller one is timed: it is slow because the device is, and the batch matters little then.
    """
    begun = time.perf_counter()
    space.load(device, getattr(torch, space.precision))
    loaded = time.perf_counter() - begun
    begun = time.perf_counter()
    prepared = [space.prepare(decode(data)) for data in images]
    decoded = len(images) / (time.perf_counter() - begun)

    def call(rows: int) -> Any:
        out = space(torch.stack([prepared[i % len(prepared)] for i in range(rows)]), torch.arange(rows))
        return (out["latent"] if isinstance(out, dict) else out).float().cpu()

    with torch.inference_mode():
        call(1)
        one = _seconds(lambda: call(1), 0.0)
        while batch > 1 and one * batch > 4 * seconds:
            batch //= 2
        latent = call(batch)
        rate = batch / _seconds(lambda: call(batch), seconds)
        sampled = 0.0
        if isinstance(space, Generates):
            some = latent[: min(4, batch)].to(device)
            if one * batch < seconds:
                space.generate(some).cpu()  # it may compile too
            sampled = _seconds(lambda: space.generate(some).cpu(), seconds / 4) / len(some)
    space.unload()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return Timing(name, batch, rate, decoded, sampled, loaded)


def _seconds(act: Callable[[], Any], at_least: float) -> float:
    """The mean time of `act`, over as many times as that takes."""
    begun, times = time.perf_counter(), 0
    while not times or time.perf_counter() - begun < at_least:
        act()
        times += 1
    return (time.perf_counter() - begun) / times
