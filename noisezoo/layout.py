"""Format 1: the names and paths inside a zoo, and the arithmetic of rows, shards and chunks.

Nothing here reads or writes. All other modules take their names from this one.

A zoo of `rows` rows is cut into shards of `shard_rows` consecutive rows, the last one ragged; every array over rows, in every space, is cut the same way, so that one shard number
means the same rows everywhere. Inside a shard the latent is cut again into chunks, the smallest piece that a reader fetches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from noisezoo.errors import NoiseZooError

FORMAT = 1
PUBLISHED = "zoo.zarr"
"""The store's name inside a published folder or dataset."""
ATTRIBUTE = "noisezoo"
"""Key in the root's attributes under which the zoo's own facts stand."""

ROWS = "rows"
LABELS = "labels"
SPACES = "spaces"
LEDGER = "ledger"
LEASES = "leases"
"""Who works on which unit, while a build runs; no part of the format, no reader looks there, nothing of it is published."""
FAILURES = "failures"
"""What could not be computed, and why; as leases, no part of the format."""
LATENT = "latent"
VALID = "valid"
FIDELITY = "fidelity"
FIDELITY_MEASURES = ("psnr_image", "ssim_image", "psnr_autoencoder", "ssim_autoencoder")

CHUNK_BYTES = 256 * 1024


def shard_count(rows: int, shard_rows: int) -> int:
    """How many shards hold `rows` rows: ⌈rows / shard_rows⌉."""
    return -(-rows // shard_rows)


def span(shard: int, rows: int, shard_rows: int) -> range:
    """The rows of one shard."""
    if not 0 <= shard < shard_count(rows, shard_rows):
        raise IndexError(f"shard {shard} is outside 0…{shard_count(rows, shard_rows) - 1}")
    return range(shard * shard_rows, min(rows, (shard + 1) * shard_rows))


def shards_of(rows: Iterable[int], shard_rows: int) -> list[int]:
    """The shards that hold these rows, ascending, each once."""
    return sorted({int(r) // shard_rows for r in rows})


def chunk_rows(shape: tuple[int, ...], dtype: str, shard_rows: int) -> int:
    """Rows in one inner chunk: the largest power of two that divides the shard and keeps the chunk within `CHUNK_BYTES`, at least one."""
    row_bytes = max(1, math.prod(shape) * np.dtype(dtype).itemsize)
    chunk = 1
    while shard_rows % (chunk * 2) == 0 and chunk * 2 * row_bytes <= CHUNK_BYTES:
        chunk *= 2
    return chunk


def space_path(space: str) -> str:
    return f"{SPACES}/{space}"


def array_path(space: str, array: str = LATENT) -> str:
    return f"{SPACES}/{space}/{array}"


def chunk_key(path: str, shard: int, ndim: int) -> str:
    """The file of one shard of an array: shards run along the first axis alone."""
    return f"{path}/c/{shard}" + "/0" * (ndim - 1)


def ledger_path(space: str, shard: int | None = None) -> str:
    return f"{LEDGER}/{space}" + ("" if shard is None else f"/{shard:06d}.json")


def lease_path(space: str, shard: int | None = None) -> str:
    return f"{LEASES}/{space}" + ("" if shard is None else f"/{shard:06d}.json")


def failure_path(space: str, shard: int | None = None) -> str:
    return f"{FAILURES}/{space}" + ("" if shard is None else f"/{shard:06d}.json")


def check_name(name: str) -> str:
    """A space's name is a path, a column and a word on the command line: refuse what cannot be all three."""
    if not name.isidentifier() or name.startswith("_") or len(name) > 64:
        raise NoiseZooError(
            f"'{name}' cannot name a space: use letters, digits and underscores, a letter first, such as 'sd15_heun'."
        )
    return name


def check_format(attributes: object, where: str) -> dict[str, Any]:
    """The zoo's facts out of the root's attributes; a sentence for what is no zoo, or is newer than this library."""
    facts = attributes.get(ATTRIBUTE) if isinstance(attributes, dict) else None
    if not isinstance(facts, dict) or "format" not in facts:
        raise NoiseZooError(
            f"{where} is a Zarr group but not a zoo: give the folder that `noisezoo build` wrote, zoo.zarr."
        )
    if facts["format"] != FORMAT:
        raise NoiseZooError(
            f"{where} has format {facts['format']} and this noisezoo reads format {FORMAT}: type `pip install --upgrade noisezoo`."
        )
    return facts
