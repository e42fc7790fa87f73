"""Drawing of batches of small pictures with NumPy: coordinates, antialiased coverage, blending, windows, light.

All arrays are float32 and every operation on pixels is elementwise and one of + - * / sqrt min max floor, which IEEE 754 rounds
correctly: the same bytes come out on every machine. A batch is (n, 3, height, width), a field (n, height, width), a parameter
(n, 1, 1), a colour (n, 3, 1, 1). Lengths are in pixels of a picture of SIZE pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.toy.counter import on_grid

SIZE = 64
TILE = 16

Array = NDArray[np.float32]
Wide = NDArray[np.float64]


def parameter(values: Wide) -> Array:
    """(n,) values as a (n, 1, 1) parameter, on a grid of 2^-16."""
    return on_grid(values, 16).astype(np.float32)[:, None, None]


def mix(a: Wide, b: Wide, weight: Wide) -> Wide:
    """a + (b - a) weight, for numbers or for colours (n, 3) with one weight a row."""
    return a + (b - a) * (weight[:, None] if np.ndim(a) > np.ndim(weight) else weight)


def hsv(hue: Wide, saturation: Wide | float, value: Wide | float) -> Wide:
    """(n, 3) red, green, blue of a hue (any real number, period 1), a saturation and a value."""
    turns = hue[:, None] + np.array([0.0, 2.0 / 3.0, 1.0 / 3.0])
    away = np.abs((turns - np.floor(turns)) * 6.0 - 3.0) - 1.0
    grey = 1.0 - np.reshape(saturation, (-1, 1)) * (1.0 - np.clip(away, 0.0, 1.0))
    return np.reshape(value, (-1, 1)) * grey


def colour(rgb: Wide) -> Array:
    """(n, 3) numbers as a (n, 3, 1, 1) colour, on a grid of 2^-16."""
    return on_grid(rgb, 16).astype(np.float32)[:, :, None, None]


def unit(x: Array) -> Array:
    """x cut to [0, 1], in place."""
    np.maximum(x, np.float32(0.0), out=x)
    np.minimum(x, np.float32(1.0), out=x)
    return x


def inside(distance: Array, softness: float = 1.3) -> Array:
    """Coverage of the region where distance < 0: one inside, zero outside, a ramp of `softness` pixels across the edge."""
    return unit(np.float32(0.5) - distance * np.float32(1.0 / softness))


def wave(x: Array) -> Array:
    """A smooth wave of period 1 in [-1, 1], made of parabolas: 16 t (1/2 - |t|) with t = x - floor(x + 1/2)."""
    t = x - np.floor(x + np.float32(0.5))
    return np.float32(16.0) * t * (np.float32(0.5) - np.abs(t))


def radius(x: Array, y: Array, rx: Array | float, ry: Array | float) -> Array:
    """sqrt((x / rx)^2 + (y / ry)^2): 1 on the ellipse."""
    a = x * np.float32(1.0 / rx) if isinstance(rx, float) else x / rx
    b = y * np.float32(1.0 / ry) if isinstance(ry, float) else y / ry
    a *= a
    b *= b
    return np.sqrt(a + b)


def ellipse(x: Array, y: Array, rx: Array | float, ry: Array | float, softness: float = 1.3) -> Array:
    """Coverage of the ellipse of half axes rx, ry about 0; the distance to it is approximated by (radius - 1) min(rx, ry)."""
    distance = radius(x, y, rx, ry)
    distance -= np.float32(1.0)
    distance *= np.minimum(rx, ry)
    return inside(distance, softness)


def paint(rgb: Array, coverage: Array, paint_with: Array) -> None:
    """Lays a colour, or a picture, over rgb where coverage is one."""
    change = paint_with - rgb
    change *= coverage[:, None]
    rgb += change


@dataclass(frozen=True)
class Frame:
    """A frame of reference that is shifted by (cx, cy), turned and scaled in the picture; cos and sin are divided by the scale."""

    cx: Array
    cy: Array
    cos: Array
    sin: Array

    def coordinates(self, left: Array, top: Array, height: int, width: int) -> tuple[Array, Array]:
        """x and y in this frame of the pixels of a window whose first pixel is (left, top)."""
        dx = np.arange(width, dtype=np.float32)[None, None, :] + (left + np.float32(0.5) - self.cx)
        dy = np.arange(height, dtype=np.float32)[None, :, None] + (top + np.float32(0.5) - self.cy)
        return self.cos * dx + self.sin * dy, self.cos * dy - self.sin * dx

    def everywhere(self) -> tuple[Array, Array]:
        """x and y in this frame of all pixels."""
        zero = np.zeros_like(self.cx)
        return self.coordinates(zero, zero, SIZE, SIZE)

    def window(self, x: float, y: float, half_width: float, half_height: float, largest: float) -> "Window":
        """A window that holds the box |x' - x| <= half_width, |y' - y| <= half_height of a frame turned by up to 20 degrees and
        scaled by up to `largest`."""
        width = min(SIZE, int(2.0 * largest * (0.94 * half_width + 0.342 * half_height)) + 3)
        height = min(SIZE, int(2.0 * largest * (0.94 * half_height + 0.342 * half_width)) + 3)
        scale_2 = np.float32(1.0) / (self.cos * self.cos + self.sin * self.sin)
        px = self.cx + (self.cos * np.float32(x) - self.sin * np.float32(y)) * scale_2
        py = self.cy + (self.sin * np.float32(x) + self.cos * np.float32(y)) * scale_2
        left = np.clip(np.floor(px - np.float32(width / 2)), 0, SIZE - width).astype(np.float32)
        top = np.clip(np.floor(py - np.float32(height / 2)), 0, SIZE - height).astype(np.float32)
        return Window(left, top, height, width)


@dataclass(frozen=True)
class Window:
    """A box of pixels of the same size in every picture, at its own place in each."""

    left: Array
    top: Array
    height: int
    width: int

    def cut(self, rgb: Array) -> Array:
        """A copy of this window of every picture."""
        patch = np.empty((len(rgb), 3, self.height, self.width), np.float32)
        for i, (x, y) in enumerate(zip(self.left.astype(int).flat, self.top.astype(int).flat, strict=True)):
            patch[i] = rgb[i, :, y : y + self.height, x : x + self.width]
        return patch

    def put(self, rgb: Array, patch: Array) -> None:
        """Writes a patch back into the pictures."""
        for i, (x, y) in enumerate(zip(self.left.astype(int).flat, self.top.astype(int).flat, strict=True)):
            rgb[i, :, y : y + self.height, x : x + self.width] = patch[i]


def posed(cx: Wide, cy: Wide, half_turn: Wide, scale: Wide) -> Frame:
    """The frame at (cx, cy), turned by an angle a with tan(a / 2) = half_turn (so that no sine is needed), scaled."""
    t2 = half_turn * half_turn
    cos = (1.0 - t2) / (1.0 + t2) / scale
    sin = 2.0 * half_turn / (1.0 + t2) / scale
    return Frame(parameter(cx), parameter(cy), parameter(cos), parameter(sin))


def page() -> tuple[Array, Array]:
    """x and y of all pixels, from -1 to 1 across the picture, as (1, 1, width) and (1, height, 1)."""
    line = (np.arange(SIZE, dtype=np.float32) + np.float32(0.5)) * np.float32(2.0 / SIZE) - np.float32(1.0)
    return line[None, None, :], line[None, :, None]


def background(n: dict[str, Wide]) -> Array:
    """A wall of two colours that run into each other, in soft waves, with a disc of a third colour."""
    x, y = page()
    hue, step = 0.5 * n["background_hue"], 0.3 * n["background_hue_step"]
    saturation = 0.40 + 0.35 * n["background_saturation"]
    value, value_step = 0.60 + 0.28 * n["background_value"], 0.30 * n["background_value_step"]
    one = hsv(hue, saturation, np.clip(value - value_step, 0.1, 1.0))
    two = hsv(hue + step, saturation, np.clip(value + value_step, 0.1, 1.0))
    three = hsv(0.5 * n["disc_hue"], saturation, 0.55 + 0.4 * n["disc_value"])
    angle = 1.6 * n["background_angle"]
    along = parameter(0.5 - 0.3 * np.abs(angle)) * x + parameter(0.5 * angle) * y
    along += np.float32(0.5)
    along += parameter(0.22 * np.maximum(n["background_waves"], 0.0)) * wave(
        along * np.float32(1.4) + parameter(n["lean"])
    )
    unit(along)
    first = colour(one)
    rgb = first + along[:, None] * (colour(two) - first)
    size = parameter(0.45 + 0.25 * n["disc_size"])
    disc = radius(x - parameter(n["disc_x"]), y - parameter(n["disc_y"]), size, size)
    paint(rgb, inside(disc - np.float32(1.0), 0.12), colour(three))
    return rgb


def lit(rgb: Array, n: dict[str, Wide]) -> Array:
    """The picture under a coloured light from one side, through a camera with an exposure, a contrast, a cast and a vignette."""
    x, y = page()
    tint = hsv(0.5 * n["light_hue"], 0.28, 1.0)
    level = 0.92 + 0.16 * n["exposure"]
    cast = np.stack([1.0 + 0.07 * n["cast_red"], np.ones_like(level), 1.0 + 0.09 * n["cast_blue"]], axis=1)
    strength = 0.26 + 0.16 * n["light_strength"]
    slant = parameter(strength * n["light_x"]) * x + parameter(strength * n["light_y"]) * y
    slant -= parameter(0.07 + 0.07 * n["vignette"]) * (x * x + y * y)
    contrast = 1.0 + 0.14 * n["contrast"]
    rgb = rgb * (
        slant[:, None] * colour(cast * tint * (level * contrast)[:, None]) + colour(cast * (level * contrast)[:, None])
    )
    rgb += parameter(0.5 - 0.5 * contrast)[:, None]
    return rgb


def to_bytes(rgb: Array) -> NDArray[np.uint8]:
    """Pictures in [0, 1], (n, 3, h, w), as uint8 (n, h, w, 3)."""
    unit(rgb)
    rgb *= np.float32(255.0)
    rgb += np.float32(0.5)
    return np.ascontiguousarray(np.floor(rgb).astype(np.uint8).transpose(0, 2, 3, 1))


def in_tiles(draw: Callable[[slice], NDArray[np.uint8]], n: int) -> NDArray[np.uint8]:
    """Draws n pictures a few at a time, so that what is being worked on stays in the processor's cache."""
    pictures = np.empty((n, SIZE, SIZE, 3), np.uint8)
    for start in range(0, n, TILE):
        part = slice(start, min(start + TILE, n))
        pictures[part] = draw(part)
    return pictures
