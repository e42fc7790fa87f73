"""Image files of every awkward kind, made here, as bytes."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image


def waves(width: int, height: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth waves with some grain on them, uint8 (height, width, channels)."""
    y, x = np.mgrid[0:height, 0:width] / 40
    base = np.stack([128 + 90 * np.sin((c + 1) * x + (seed - c) * y + c) for c in range(channels)], -1)
    grain = np.random.default_rng(seed).normal(0, 12, base.shape)
    return np.uint8(np.clip(base + grain, 0, 255))


def written(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return written(Image.fromarray(waves(70, 40)), "JPEG", quality=95, exif=exif)


def _transparent_palette() -> bytes:
    image = Image.fromarray(waves(50, 60)).quantize(16)
    return written(image, transparency=3)


def _sixteen() -> bytes:
    return written(Image.fromarray(waves(61, 45, 1)[..., 0].astype(np.uint16) * 257))


PICTURES: dict[str, Callable[[], bytes]] = {
    "odd": lambda: written(Image.fromarray(waves(53, 87))),
    "wide": lambda: written(Image.fromarray(waves(211, 37)), "JPEG", quality=90),
    "smaller than the model's input": lambda: written(Image.fromarray(waves(17, 11))),
    "grey": lambda: written(Image.fromarray(waves(64, 47, 1)[..., 0])),
    "palette": lambda: written(Image.fromarray(waves(50, 60)).quantize(32)),
    "palette with transparency": _transparent_palette,
    "sixteen bit": _sixteen,
    "cmyk": lambda: written(Image.fromarray(waves(45, 66)).convert("CMYK"), "JPEG", quality=95),
    "transparent": lambda: written(Image.fromarray(waves(59, 43, 4), "RGBA")),
    "grey with alpha": lambda: written(Image.fromarray(waves(59, 43, 4), "RGBA").convert("LA")),
    "one bit": lambda: written(Image.fromarray(waves(40, 44, 1)[..., 0]).convert("1")),
    "turned by the camera": _turned,
}
