"""A PNG that is the same bytes on every machine: pixels stored, not compressed, because two zlibs may compress one picture in two ways."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def stored_png(pixels: np.ndarray) -> bytes:
    """`(h, w, 3)` uint8 as a PNG file whose one IDAT holds stored deflate blocks (RFC 1951, 3.2.4)."""
    h, w, _ = pixels.shape
    lines = np.concatenate(
        [np.zeros((h, 1), np.uint8), pixels.reshape(h, w * 3)], axis=1
    ).tobytes()  # a filter byte before each line, 0 = none
    blocks = [lines[at : at + 65535] for at in range(0, len(lines), 65535)]
    body = b"".join(
        struct.pack("<BHH", i == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for i, block in enumerate(blocks)
    )
    data = b"\x78\x01" + body + struct.pack(">I", zlib.adler32(lines))
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
        + _chunk(b"IDAT", data)
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
