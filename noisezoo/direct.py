"""Rows of plain shards as byte ranges, without a decoder between the file and the array.

Format 1 stores latents uncompressed, so a row is a run of bytes whose place the shard's index tells. Reading those runs is as fast as
the disk or the network, and takes from a remote zoo the rows that were asked for and no more. Arrays that are stored otherwise are Zarr's to read.

A shard ends with its index, (offset, length) of each inner chunk as two little-endian uint64, and the index's CRC32C (Zarr v3, `sharding_indexed`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec

from noisezoo import layout
from noisezoo.errors import NoiseZooError
from noisezoo.ranges import Range, read_into, tails
from noisezoo.store import Store

MISSING = np.iinfo(np.uint64).max
CRC_BYTES = 4


@dataclass(frozen=True)
class PlainArray:
    """An array over rows, sharded, its chunks stored as they are in memory."""

    store: Store
    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    shard_rows: int
    chunk_rows: int
    fill: object
    _indices: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Ascending rows, each once. `(n, *shape)`"""
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if not out.size:
            return out
        shards = rows // self.shard_rows
        offsets = self._offsets(rows, shards)
        # A run ends where the next row is in another file, or not where this one ends.
        ends = (np.diff(shards) != 0) | (np.diff(offsets) != self.row_bytes)
        firsts = np.flatnonzero(np.concatenate([[True], ends]))
        lasts = np.concatenate([firsts[1:], [len(rows)]])
        flat = out.reshape(len(rows), -1).view(np.uint8)
        wanted: list[Range] = []
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            if offsets[first] < 0:
                out[first:last] = self.fill
                continue
            name = layout.chunk_key(self.path, int(shards[first]), len(self.shape))
            wanted.append(Range(name, int(offsets[first]), flat[first:last].reshape(-1).data))
        read_into(self.store, wanted)
        return out

    def _offsets(self, rows: np.ndarray, shards: np.ndarray) -> np.ndarray:
        """Where each row begins in its shard's file; -1 where it was never written."""
        which = np.unique(shards).tolist()
        self._read_indices(which)
        offsets = np.full(len(rows), -1, np.int64)
        for shard in which:
            index = self._indices.get(shard)
            if index is None:
                continue
            here = slice(*np.searchsorted(shards, [shard, shard + 1]))
            within = rows[here] - shard * self.shard_rows
            chunk = index[within // self.chunk_rows, 0]
            inside = (within % self.chunk_rows) * self.row_bytes
            offsets[here] = np.where(chunk == MISSING, -1, chunk.astype(np.int64) + inside)
        return offsets

    def _read_indices(self, shards: Sequence[int]) -> None:
        wanted = [shard for shard in shards if shard not in self._indices]
        chunks = self.shard_rows // self.chunk_rows
        names = [layout.chunk_key(self.path, shard, len(self.shape)) for shard in wanted]
        found = tails(self.store, names, 16 * chunks + CRC_BYTES)
        for shard, name, tail in zip(wanted, names, found, strict=True):
            if tail is None:  # nobody has written it yet
                continue
            data, crc = tail[:-CRC_BYTES], int.from_bytes(tail[-CRC_BYTES:], "little")
            if len(data) != 16 * chunks or google_crc32c.value(data) != crc:
                raise NoiseZooError(
                    f"{name} is cut short or damaged: type `noisezoo verify {self.store.url}`, then fetch or build it again."
                )
            self._indices[shard] = np.frombuffer(data, "<u8").reshape(chunks, 2)


def plain(array: zarr.Array, store: Store, path: str) -> PlainArray | None:
    """The array as byte ranges; None where its codecs do not allow it."""
    codecs = array.metadata.codecs  # type: ignore[union-attr]
    shards, chunks = array.shards, array.chunks
    if shards is None or len(codecs) != 1 or not isinstance(codecs[0], ShardingCodec):
        return None
    sharding = codecs[0]
    is_plain = (
        len(sharding.codecs) == 1
        and isinstance(sharding.codecs[0], BytesCodec)
        and (array.dtype.itemsize == 1 or str(getattr(sharding.codecs[0].endian, "value", "")) == "little")
        and [type(codec) for codec in sharding.index_codecs] == [BytesCodec, Crc32cCodec]
        and getattr(sharding.index_location, "value", sharding.index_location) == "end"
        and chunks[1:] == array.shape[1:]
    )
    if not is_plain:
        return None
    return PlainArray(store, path, array.shape, array.dtype, shards[0], chunks[0], array.fill_value)
