"""What an image file must be to become a row: told from its bytes, without decoding its pixels.

The file's head must be one of six formats that Pillow reads, its size sane, and its tail in place; that finds what
downloads and disks do to files (cut, emptied, replaced by an error page) in some 40 µs an image. What only decoding
finds is left to the worker, which has to decode anyway and marks the row invalid in its space.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib

from PIL import Image

SMALLEST_SIDE = 8
LONGEST_SIDE = 32_768
MOST_PIXELS = 100_000_000
MOST_STRETCHED = 50
"""Long side over short side; beyond it a centre crop shows a strip of nothing."""

_EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "GIF": "gif", "TIFF": "tif"}
_HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


class NotAnImageError(Exception):
    """Why these bytes cannot be a row, as a phrase."""


def check(data: bytes) -> str:
    """The file name extension that fits these bytes, or `NotAnImageError` with a reason."""
    kind = _kind(data)
    tail = {"JPEG": _jpeg_tail, "PNG": _png_tail, "GIF": _gif_tail, "BMP": _bmp_tail, "WEBP": _webp_tail}.get(kind)
    try:
        if tail is not None:
            tail(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, about large images and odd tags: sizes are judged below
            image = Image.open(io.BytesIO(data), formats=(kind,))
            width, height = image.size
            moving = kind not in ("JPEG", "BMP") and getattr(image, "is_animated", False)
    except NotAnImageError:
        raise
    except Image.DecompressionBombError as e:
        raise NotAnImageError("a decompression bomb: its header claims more pixels than any photograph has") from e
    except Exception as e:  # Pillow's parsers raise anything from SyntaxError to struct.error on a hostile head
        raise NotAnImageError(f"a damaged {kind} head") from e
    if (
        min(width, height) < SMALLEST_SIDE
        or max(width, height) > LONGEST_SIDE
        or max(width, height) > MOST_STRETCHED * min(width, height)
    ):
        raise NotAnImageError(f"absurd dimensions, {width}×{height}")
    if width * height > MOST_PIXELS:
        raise NotAnImageError(f"a decompression bomb: {width}×{height} pixels")
    if moving:
        raise NotAnImageError("an animation or several pages")
    return _EXTENSIONS[kind]


def _kind(data: bytes) -> str:
    """The format that the first bytes announce."""
    head = data[:512]
    if not data:
        raise NotAnImageError("empty")
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"BM"):
        return "BMP"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "TIFF"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in _HEIF:
            raise NotAnImageError("HEIC, which is not taken: convert it to JPEG or PNG")
        raise NotAnImageError(
            "AVIF, which is not taken: convert it to JPEG or PNG"
            if brand in (b"avif", b"avis")
            else "a video, not an image"
        )
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in data[:4096].lower()):
        raise NotAnImageError("SVG, which is not taken: it is a drawing program, not pixels")
    if text.startswith((b"<!doctype html", b"<html")):
        raise NotAnImageError("an HTML page, not an image")
    if not any(head):
        raise NotAnImageError("nothing but zeros")
    raise NotAnImageError("not an image")


def _jpeg_tail(data: bytes) -> None:
    # Inside the coded data every 0xFF is followed by a stuffing byte, so an end marker after the last start of scan can only be the end. Bytes after it (some cameras) do no harm.
    scan = data.rfind(b"\xff\xda")
    if scan < 0 or data.find(b"\xff\xd9", scan) < 0:
        raise NotAnImageError("truncated: a JPEG without its end marker")


def _png_tail(data: bytes) -> None:
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise NotAnImageError("damaged: a PNG chunk fails its checksum")
        if kind == b"acTL":
            raise NotAnImageError("an animation (APNG)")
        if kind == b"IEND":
            return
        at = end
    raise NotAnImageError("truncated: a PNG without its end chunk")


def _gif_tail(data: bytes) -> None:
    if data.rstrip(b"\0")[-1:] != b";":
        raise NotAnImageError("truncated: a GIF without its trailer")


def _bmp_tail(data: bytes) -> None:
    (length,) = struct.unpack_from("<I", data, 2)
    if len(data) < length:
        raise NotAnImageError("truncated: a BMP shorter than it says")


def _webp_tail(data: bytes) -> None:
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < length + 8:
        raise NotAnImageError("truncated: a WebP shorter than it says")
