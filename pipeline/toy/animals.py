"""Draws the second toy set: heads of cats, dogs and wild animals (foxes to tigers), in the style of the faces, where the species is a
class rather than one end of a Gaussian. Within a species everything else varies continuously."""

import numpy as np
from numpy.typing import NDArray

from pipeline.toy.counter import Rows, on_grid, uniforms
from pipeline.toy.raster import (
    Array,
    Frame,
    Wide,
    background,
    colour,
    ellipse,
    hsv,
    in_tiles,
    inside,
    lit,
    mix,
    paint,
    parameter,
    posed,
    radius,
    to_bytes,
)

SPECIES: tuple[str, ...] = ("cat", "dog", "wild")
CAT, DOG, WILD = range(3)

_SPECIES_STREAM, _LOOKS_STREAM = 11, 12
_LARGEST = 1.12

LOOKS: tuple[str, ...] = (
    "shift_x", "shift_y", "rotation", "scale", "turn", "nod", "lean",
    "light_x", "light_y", "light_strength", "light_hue", "exposure", "contrast", "cast_red", "cast_blue", "vignette",
    "background_hue", "background_saturation", "background_value", "background_hue_step", "background_value_step",
    "background_angle", "background_waves", "disc_x", "disc_y", "disc_size", "disc_hue", "disc_value",
    "fur_hue", "fur_saturation", "fur_value", "second_hue", "second_value", "patch", "stripes", "collar",
    "head_width", "ear_size", "ear_spread", "eye_hue", "eye_value", "eye_size", "gaze", "muzzle", "mouth",
)  # fmt: skip


def labels(seed: int, rows: Rows) -> NDArray[np.int8]:
    """(n,) species of these rows: 0 cat, 1 dog, 2 wild, a third of the rows each."""
    return np.floor(uniforms(seed, _SPECIES_STREAM, rows, 1)[:, 0] * len(SPECIES)).astype(np.int8)


def render(seed: int, rows: Rows) -> NDArray[np.uint8]:
    """(n, 64, 64, 3) uint8: the animals of these rows, each the same whatever the others are."""
    species = labels(seed, rows)
    looks = on_grid(2.0 * uniforms(seed, _LOOKS_STREAM, rows, len(LOOKS)) - 1.0, 16)
    return in_tiles(
        lambda part: _tile(species[part], {name: looks[part, j] for j, name in enumerate(LOOKS)}), len(species)
    )


def _by_species(species: NDArray[np.int8], cat: Wide | float, dog: Wide | float, wild: Wide | float) -> Wide:
    """One of three values, by species, (n,) or (n, 3)."""
    values = np.broadcast_arrays(cat, dog, wild)
    if values[0].ndim == 2:
        return np.asarray(np.select([(species == k)[:, None] for k in range(3)], list(values)))
    return np.asarray(np.select([species == k for k in range(3)], [np.broadcast_to(v, species.shape) for v in values]))


def _tile(species: NDArray[np.int8], n: dict[str, Wide]) -> NDArray[np.uint8]:
    scale = 0.99 + 0.11 * n["scale"]
    frame = posed(32.0 + 3.0 * n["shift_x"], 35.0 + 2.5 * n["shift_y"], 0.09 * n["rotation"], scale)
    fur, second = _coats(species, n)
    rgb = background(n)
    x, y = frame.everywhere()
    _body(rgb, species, n, fur, x, y)
    _ears(rgb, species, n, fur, second, x, y, behind=True)
    _head(rgb, species, n, fur, second, x, y)
    _ears(rgb, species, n, fur, second, x, y, behind=False)
    _features(rgb, species, n, second, frame)
    return to_bytes(lit(rgb, n))


def _coats(species: NDArray[np.int8], n: dict[str, Wide]) -> tuple[Wide, Wide]:
    """The colours of the fur and of its muzzle, patch and stripes' ground: cats gray to ginger, dogs brown to cream, wild orange."""
    h, s, v = n["fur_hue"], n["fur_saturation"], n["fur_value"]
    cat = hsv(0.075 + 0.03 * h, 0.3 + 0.28 * s, 0.62 + 0.25 * v)
    dog = hsv(0.075 + 0.03 * h, 0.42 + 0.25 * s, 0.58 + 0.28 * v)
    wild = hsv(0.065 + 0.025 * h, 0.78 + 0.12 * s, 0.82 + 0.14 * v)
    fur = _by_species(species, cat, dog, wild)
    pale = hsv(0.09 + 0.05 * n["second_hue"], 0.14, 0.92 + 0.08 * n["second_value"])
    return fur, pale


def _body(rgb: Array, species: NDArray[np.int8], n: dict[str, Wide], fur: Wide, x: Array, y: Array) -> None:
    """A chest, and on the tame a collar of any colour."""
    paint(rgb, ellipse(x, y - np.float32(29.0), 15.0, 17.0), colour(fur * 0.85))
    band = inside(
        np.maximum(
            np.abs(y - np.float32(17.5) + x * x * np.float32(0.012)) - np.float32(1.6), np.abs(x) - np.float32(11.0)
        )
    )
    band *= parameter((species != WILD).astype(np.float64))
    paint(rgb, band, colour(hsv(0.5 * n["collar"], 0.75, 0.8)))


def _ears(
    rgb: Array, species: NDArray[np.int8], n: dict[str, Wide], fur: Wide, second: Wide, x: Array, y: Array, behind: bool
) -> None:
    """Pointed ears behind the heads of cats, round ones behind those of the wild, hanging ones before those of dogs."""
    is_dog = (species == DOG).astype(np.float64)
    shown = parameter(1.0 - is_dog if behind else is_dog)
    size = 1.0 + 0.14 * n["ear_size"]
    ax = np.abs(x)
    if not behind:
        hang_x = ax - parameter(14.0 + 0.8 * n["ear_spread"]) - (y + np.float32(2.0)) * np.float32(0.12)
        hang = ellipse(hang_x, y + np.float32(1.5), parameter(4.4 * size), parameter(10.5 * size))
        paint(rgb, hang * shown, colour(mix(fur * 0.55, fur * 0.75, 0.5 + 0.5 * n["second_value"])))
        return
    # A pointed ear is a triangle that widens downwards from its tip.
    ex = ax - parameter(9.6 + 0.9 * n["ear_spread"])
    drop = y + parameter(25.5 + 1.5 * n["ear_size"])
    lean = ex - (np.float32(4.0) - drop * np.float32(0.3))
    point = np.maximum(np.abs(lean) - drop * np.float32(0.46), y + np.float32(6.0))
    round_ear = radius(ex - np.float32(1.5), y + np.float32(15.0), 1.0, 1.0) - parameter(6.6 * size)
    is_wild = parameter((species == WILD).astype(np.float64))
    distance = point + is_wild * (round_ear - point)
    paint(rgb, inside(distance) * shown, colour(fur * 0.9))
    inner = _by_species(species, hsv(0.98 + 0.0 * size, 0.35, 0.9), second, second * 0.35)
    paint(rgb, inside(distance + np.float32(2.6)) * shown, colour(inner))


def _head(
    rgb: Array, species: NDArray[np.int8], n: dict[str, Wide], fur: Wide, second: Wide, x: Array, y: Array
) -> None:
    """The head; a patch over one eye on some dogs and cats; cheek ruffs and stripes on the wild."""
    is_wild = parameter((species == WILD).astype(np.float64))
    width = parameter(_by_species(species, 16.0, 13.8, 16.0) + 1.0 * n["head_width"])
    height = parameter(_by_species(species, 13.5, 16.0, 14.5))
    head = radius(x, y, width, height)
    cover = inside((head - np.float32(1.0)) * np.float32(14.0))
    shade = np.float32(1.05) - np.float32(0.12) * np.minimum(head * head, np.float32(1.2))
    paint(rgb, cover, colour(fur) * shade[:, None])
    ruff = ellipse(np.abs(x) - np.float32(12.0), y - np.float32(7.0), 6.5, 6.0)
    ruff *= cover
    ruff *= is_wild
    paint(rgb, ruff, colour(second))
    spot = ellipse(np.abs(x + np.float32(6.5)), y + np.float32(3.0), 5.6, 6.2)
    spot *= cover
    spot *= (np.float32(1.0) - is_wild) * parameter(np.clip(3.0 * n["patch"], 0.0, 1.0))
    paint(rgb, spot, colour(fur * 0.6))
    # Three bars on the forehead and two on each cheek: strong on tigers, faint on tabbies.
    ax = np.abs(x)
    bars = np.minimum(np.abs(ax - np.float32(4.5)), ax) - np.float32(1.0)
    bars = np.maximum(bars, np.abs(y + np.float32(10.0)) - np.float32(3.2))
    cheek = np.minimum(
        np.abs(y + ax * np.float32(0.2) - np.float32(1.0)), np.abs(y + ax * np.float32(0.2) - np.float32(6.0))
    )
    cheek = np.maximum(cheek - np.float32(0.9), np.float32(10.8) - ax)
    stripes = inside(np.minimum(bars, cheek))
    stripes *= cover
    faint, strong = np.clip(2.0 * n["stripes"], 0.0, 0.5), 0.55 + 0.45 * n["stripes"]
    stripes *= parameter(_by_species(species, faint, 0.0, np.clip(strong, 0.0, 1.0)))
    paint(rgb, stripes, colour(fur * 0.22))


def _features(rgb: Array, species: NDArray[np.int8], n: dict[str, Wide], second: Wide, frame: Frame) -> None:
    """Eyes (slit pupils in cats), muzzle, nose, mouth, a tongue on dogs."""
    window = frame.window(0.0, 2.5, 13.5, 13.5, _LARGEST)
    patch = window.cut(rgb)
    x, y = frame.coordinates(window.left, window.top, window.height, window.width)
    x = x - parameter(2.0 * n["turn"])
    y = y - parameter(0.8 * n["nod"])
    ax = np.abs(x)
    is_cat, is_dog = (species == CAT).astype(np.float64), (species == DOG).astype(np.float64)
    dark = hsv(0.04 + 0.0 * is_dog, 0.35, 0.16)

    size = 1.0 + 0.12 * n["eye_size"]
    apart = parameter(_by_species(species, 6.8, 5.8, 6.3))
    ex, ey = ax - apart, y + np.float32(3.0)
    tilt = ey + ex * parameter(_by_species(species, 0.3, 0.0, 0.35))
    wide, high = (
        parameter(size * _by_species(species, 3.7, 2.9, 3.1)),
        parameter(size * _by_species(species, 3.3, 3.0, 2.2)),
    )
    paint(patch, ellipse(ex, tilt, wide + np.float32(0.8), high + np.float32(0.8)), colour(dark))
    iris = _by_species(
        species,
        hsv(0.27 + 0.12 * n["eye_hue"], 0.65, 0.8 + 0.1 * n["eye_value"]),
        hsv(0.07 + 0.02 * n["eye_hue"], 0.6, 0.42 + 0.1 * n["eye_value"]),
        hsv(0.12 + 0.03 * n["eye_hue"], 0.8, 0.88 + 0.1 * n["eye_value"]),
    )
    ball = ellipse(ex, tilt, wide, high)
    paint(patch, ball, colour(iris))
    look = np.abs(x - parameter(0.6 * n["gaze"])) - apart
    pupil = ellipse(
        look, ey, parameter(_by_species(species, 0.9, 1.7, 1.1)), parameter(_by_species(species, 2.6, 1.7, 1.5))
    )
    pupil *= ball
    paint(patch, pupil, colour(dark * 0.4))
    glint = ellipse(look + np.float32(0.6), ey + np.float32(0.9), 0.8, 0.8)
    paint(patch, glint, colour(np.full_like(second, 0.97)))

    long = 1.0 + 0.15 * n["muzzle"]
    muzzle_y = y - np.float32(6.5)
    muzzle = ellipse(
        x,
        muzzle_y,
        parameter(long * _by_species(species, 5.6, 7.0, 6.4)),
        parameter(long * _by_species(species, 4.2, 6.4, 5.2)),
    )
    paint(patch, muzzle, colour(second))
    open_mouth = is_dog * np.clip(2.0 * n["mouth"], 0.0, 1.0)
    tongue = ellipse(x, y - np.float32(12.0), 2.6, 3.6)
    tongue *= parameter(open_mouth)
    paint(patch, tongue, colour(hsv(0.97 + 0.0 * long, 0.55, 0.9)))
    smile = np.abs(
        y
        - np.float32(9.0)
        - np.minimum(ax, np.float32(4.0)) * np.float32(0.3)
        + np.square(ax - np.float32(2.0)) * np.float32(0.16)
    )
    mouth = np.maximum(smile - np.float32(0.35), ax - np.float32(4.2))
    stem = np.maximum(ax - np.float32(0.35), np.abs(y - np.float32(6.9)) - np.float32(1.9))
    paint(patch, inside(np.minimum(mouth, stem), 1.1), colour(dark))
    nose = _by_species(species, hsv(0.98 + 0.0 * long, 0.4, 0.86), dark, dark * 0.8)
    nose_y = y - np.float32(4.0)
    nose_wide = parameter(_by_species(species, 2.0, 3.4, 2.9))
    paint(
        patch,
        ellipse(x * (np.float32(1.0) + nose_y * np.float32(0.12)), nose_y, nose_wide, nose_wide * np.float32(0.72)),
        colour(nose),
    )
    whiskers = np.abs(y - np.float32(6.5) - (ax - np.float32(6.0)) * np.float32(0.12)) - np.float32(0.3)
    whiskers = np.minimum(
        whiskers, np.abs(y - np.float32(8.8) - (ax - np.float32(6.0)) * np.float32(0.3)) - np.float32(0.3)
    )
    whiskers = inside(np.maximum(whiskers, np.abs(ax - np.float32(9.6)) - np.float32(3.8)), 1.1)
    whiskers *= parameter(0.7 * is_cat)
    paint(patch, whiskers, colour(np.full_like(second, 0.97)))
    window.put(rgb, patch)
