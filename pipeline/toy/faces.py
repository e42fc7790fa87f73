"""Draws the toy faces: flat, softly shaded portraits, 64 x 64, in which every attribute of `truth` can be seen at a glance.

A face is drawn back to front (wall, clothes, hair, neck, head, features, fringe, hat) in a frame that is shifted, turned and scaled
in the picture; x runs to the right and y downwards from the middle of the face, in pixels. Every attribute drives the picture in two
ways: its `presence` rises from 0 to 1 in a narrow band of z about the threshold, so that the label can be seen; its `strength` goes on
growing with z on both sides, so that the picture follows z.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.toy.counter import Rows
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
    wave,
)
from pipeline.toy.truth import ATTRIBUTES, NUISANCES, THRESHOLDS, latents, nuisances

BAND = 0.08
LARGEST = 1.12


def render(seed: int, rows: Rows) -> NDArray[np.uint8]:
    """(n, 64, 64, 3) uint8: the faces of these rows, each the same whatever the others are."""
    return draw(latents(seed, rows), nuisances(seed, rows))


def draw(z: Wide, nuisance: Wide) -> NDArray[np.uint8]:
    """(n, 64, 64, 3) uint8: the faces of any latents (n, d) and nuisances (n, m)."""
    return in_tiles(lambda part: _tile(Face.of(z[part], nuisance[part])), len(z))


@dataclass(frozen=True)
class Face:
    """The numbers behind a batch of faces, each (n,), by attribute or nuisance."""

    presence: dict[str, Wide]
    strength: dict[str, Wide]
    nuisance: dict[str, Wide]

    @staticmethod
    def of(z: Wide, nuisance: Wide) -> "Face":
        """Presence in [0, 1] and strength in [-1, 1] of each attribute, both 'half way' at the threshold."""
        above = z - THRESHOLDS
        presence = np.clip(above / BAND + 0.5, 0.0, 1.0)
        strength = np.clip(above / 2.0, -1.0, 1.0)
        return Face(
            {name: presence[:, j] for j, name in enumerate(ATTRIBUTES)},
            {name: strength[:, j] for j, name in enumerate(ATTRIBUTES)},
            {name: nuisance[:, j] for j, name in enumerate(NUISANCES)},
        )

    def grows(self, name: str, without: float, least: float, most: float) -> Wide:
        """A size that is `without` where the attribute is absent, and grows from `least` to `most` with its strength."""
        return mix(np.full_like(self.presence[name], without), self.shown(name, least, most), self.presence[name])

    def shown(self, name: str, least: float, most: float) -> Wide:
        """`least` at the threshold, `most` far above it."""
        return least + (most - least) * np.maximum(self.strength[name], 0.0)


@dataclass(frozen=True)
class Colours:
    """The colours of a batch of faces, (n, 3)."""

    skin: Wide
    hair_top: Wide
    hair_tips: Wide
    gray: Wide


def _tile(face: Face) -> NDArray[np.uint8]:
    n = face.nuisance
    scale = 0.99 + 0.11 * n["scale"]
    cx, cy = 32.0 + 3.0 * n["shift_x"], 34.0 + 3.0 * n["shift_y"]
    frame = posed(cx, cy, 0.09 * n["rotation"], scale)
    colours = _colours(face)
    rgb = background(n)
    _clothes(rgb, face, cx, cy)
    x, y = frame.everywhere()
    hair = _hair_picture(face, colours, x, y)
    _hair_behind(rgb, face, hair, x, y)
    _neck_and_head(rgb, face, colours, x, y)
    _lower_face(rgb, face, colours, frame)
    _upper_face(rgb, face, colours, frame)
    _hair_in_front(rgb, face, hair, x, y)
    _hat(rgb, face, x, y)
    _earrings(rgb, face, frame)
    return to_bytes(lit(rgb, n))


def _colours(face: Face) -> Colours:
    """Skin from tan to brown, or pale; hair of any warm or dyed hue, or black, blond, gray, or several of these by parts."""
    n, p = face.nuisance, face.presence
    tone = 0.5 + 0.5 * n["skin_tone"]
    light, dark = hsv(0.065 + 0.018 * n["skin_hue"], 0.38, 0.92), hsv(0.055 + 0.015 * n["skin_hue"], 0.54, 0.66)
    pale = hsv(0.06 + 0.03 * n["skin_hue"], 0.09, 1.0)
    skin = mix(mix(light, dark, tone), pale, face.grows("Pale_Skin", 0.0, 0.85, 1.0))
    plain = hsv(-0.02 + 0.09 * n["hair_hue"], 0.62 + 0.2 * n["hair_saturation"], 0.47 + 0.09 * n["hair_value"])
    black = hsv(0.62 + 0.1 * n["hair_hue"], 0.25, 0.13 - 0.05 * np.maximum(face.strength["Black_Hair"], 0.0))
    blond = hsv(0.132 + 0.015 * n["hair_hue"], 0.62 - 0.1 * n["hair_saturation"], face.shown("Blond_Hair", 0.9, 1.0))
    gray = hsv(0.6 + 0.1 * n["hair_hue"], 0.05, face.shown("Gray_Hair", 0.74, 0.95))
    dyed_top = mix(mix(plain, blond, p["Blond_Hair"]), black, p["Black_Hair"])
    dyed_tips = mix(mix(plain, black, p["Black_Hair"]), blond, p["Blond_Hair"])
    return Colours(skin, dyed_top, dyed_tips, gray)


def _hair_bottom(face: Face) -> Wide:
    """How far down the hair hangs beside the face: to the ears on men, to the shoulders on women."""
    return mix(
        19.0 + 5.0 * face.nuisance["hair_length"], 3.5 + 1.5 * face.nuisance["hair_length"], face.presence["Male"]
    )


def _hair_picture(face: Face, colours: Colours, x: Array, y: Array) -> Array:
    """The hair's colours all over the picture, (n, 3, h, w): crown to tips, gray locks, waves."""
    p, n = face.presence, face.nuisance
    middle = mix(np.full_like(p["Male"], 5.0), np.full_like(p["Male"], -4.0), p["Male"])
    tips = inside(parameter(middle) - y, 3.0)
    top = colour(colours.hair_top)
    rgb = top + tips[:, None] * (colour(colours.hair_tips) - top)
    dyed = parameter(np.maximum(p["Black_Hair"], p["Blond_Hair"]))
    locks = inside(np.abs(np.abs(x) - np.float32(14.0)) - np.float32(2.2), 2.0)
    np.maximum(locks, inside(np.abs(x + parameter(4.0 * n["hair_part"])) - np.float32(2.2), 2.0), out=locks)
    grayed = np.maximum(locks, np.subtract(np.float32(1.0), dyed))
    paint(rgb, grayed * parameter(p["Gray_Hair"]), colour(colours.gray))
    phase = parameter(0.15 * n["hair_wave"])
    ripple = wave(y * np.float32(1.0 / 8.0) + np.float32(0.25) * wave(x * np.float32(1.0 / 14.0) + phase) - phase)
    shade = parameter(face.grows("Wavy_Hair", 0.0, 0.14, 0.2)) * ripple
    shade += np.float32(1.0)
    rgb *= shade[:, None]
    rgb += (parameter(face.grows("Wavy_Hair", 0.0, 0.05, 0.07)) * ripple)[:, None]
    return rgb


def _outline(face: Face, x: Array, y: Array) -> Array:
    """A wobble of the hair's outline, in pixels: scallops where the hair is wavy."""
    n = face.nuisance
    size, phase = parameter(face.grows("Wavy_Hair", 0.0, 1.3, 1.7)), parameter(0.15 * n["hair_wave"])
    across = wave(np.abs(x) * np.float32(1.0 / 9.0) + (phase + np.float32(0.25)))
    down = wave(np.maximum(y, np.float32(-13.0)) * np.float32(1.0 / 8.0) - phase)
    return size * (np.float32(0.6) * across + down)


def _clothes(rgb: Array, face: Face, cx: Wide, cy: Wide) -> None:
    """Shoulders, which lean less than the head, and a collar."""
    n, p = face.nuisance, face.presence
    frame = posed(32.0 + 0.6 * (cx - 32.0), cy, 0.04 * n["lean"], np.ones_like(cx))
    top = 34
    zero = np.zeros_like(frame.cx)
    x, y = frame.coordinates(zero, zero + np.float32(top), 64 - top, 64)
    patch = rgb[:, :, top:]
    cloth = hsv(0.5 * n["cloth_hue"], 0.5 + 0.35 * n["cloth_saturation"], 0.55 + 0.33 * n["cloth_value"])
    collar = hsv(0.5 * n["cloth_hue"] + 0.2 * n["collar"], 0.35, 0.85)
    width = parameter(20.0 + 2.0 * n["cloth_width"] + 3.5 * p["Male"])
    y = y - np.float32(37.0)
    paint(patch, ellipse(x, y, width, 15.0), colour(cloth))
    paint(patch, ellipse(x, y + np.float32(12.0), 9.0, 7.5), colour(collar))


def _hair_behind(rgb: Array, face: Face, hair: Array, x: Array, y: Array) -> None:
    """The mass of the hair behind the head; the bald keep it only from the ears down."""
    n, p = face.nuisance, face.presence
    bald = p["Bald"]
    bottom = np.maximum(_hair_bottom(face), 8.0 * bald)
    full = 0.8 * n["hair_volume"] + 1.6 * p["Wavy_Hair"]
    width = 16.2 + full + 1.2 * n["face_width"] + 2.1 * np.maximum(bald, p["Wearing_Hat"]) + 0.8 * (1.0 - p["Male"])
    height = 17.8 + full
    up = np.minimum(y + parameter(4.0 - 3.0 * bald), np.float32(0.0)) / parameter(height - 13.0 * bald)
    down = np.maximum(y - parameter(bottom - 6.0), np.float32(0.0)) * np.float32(1.0 / 6.0)
    distance = np.sqrt(np.square(x / parameter(width)) + up * up + down * down)
    distance -= np.float32(1.0)
    distance *= np.float32(16.0)
    distance += _outline(face, x, y)
    cover = inside(distance)
    cover *= inside(parameter(17.0 * p["Wearing_Hat"] - 30.0) - y)
    shaded = hair * np.float32(0.86)
    paint(rgb, cover, shaded)


def _jaw(face: Face, x: Array, y: Array) -> Array:
    """1 on the outline of the head: an ellipse that is squarer and longer on men and tapers to the chin on women.

    r^2 = a^2 + b^2 - q a^2 b^2 (a squircle for q > 0), with a the fraction across the width at this height and b the fraction down.
    """
    n, p = face.nuisance, face.presence
    male = p["Male"]
    down = np.maximum(y, np.float32(0.0))
    long = parameter(16.8 + 0.8 * n["face_length"] + 1.2 * male)
    taper = parameter(0.014 * (1.0 - male))
    narrowing = np.subtract(np.float32(1.0), taper * down)
    a = x / (narrowing * parameter(13.3 + 1.2 * n["face_width"] + 0.4 * male))
    b = np.minimum(y, np.float32(0.0)) * np.float32(1.0 / 18.5) + down / long
    a = np.minimum(a * a, np.float32(1.6))
    b = np.minimum(b * b, np.float32(1.6))
    both = a * b
    both *= parameter(0.62 * male) * inside(-y, 6.0)
    a += b
    return np.subtract(a, both, out=a)


def _neck_and_head(rgb: Array, face: Face, colours: Colours, x: Array, y: Array) -> None:
    """Neck, ears (hidden under long hair) and the head, a little darker towards its edge."""
    p, n = face.presence, face.nuisance
    neck = np.abs(x) - parameter(4.6 + 1.8 * p["Male"])
    np.maximum(neck, np.abs(y - np.float32(17.0)) - np.float32(7.0), out=neck)
    paint(rgb, inside(neck, 2.0), colour(colours.skin * 0.8))
    across = np.abs(x) - parameter(13.8 + 1.2 * n["face_width"])
    ears = ellipse(across, y - np.float32(1.0), 2.6, 3.6)
    ears *= parameter(p["Male"])
    paint(rgb, ears, colour(colours.skin * 0.88))
    jaw = _jaw(face, x, y)
    cover = inside((np.sqrt(jaw) - np.float32(1.0)) * np.float32(14.0))
    shade = np.float32(1.05) - np.float32(0.13) * np.minimum(jaw, np.float32(1.2))
    paint(rgb, cover, colour(colours.skin) * shade[:, None])


def _features(face: Face, x: Array, y: Array) -> tuple[Array, Array]:
    """The coordinates of the features, which slide over the head when it turns or nods, and shrink on the far side."""
    n = face.nuisance
    x = x - parameter(2.0 * n["turn"])
    x += parameter(0.08 * n["turn"]) * np.abs(x)
    return x, y - parameter(0.8 * n["nod"])


def _lower_face(rgb: Array, face: Face, colours: Colours, frame: Frame) -> None:
    """Cheeks, folds of age, nose, beard and mouth."""
    p = face.presence
    window = frame.window(0.0, 9.0, 12.5, 11.5, LARGEST)
    patch = window.cut(rgb)
    x, y = _features(face, *frame.coordinates(window.left, window.top, window.height, window.width))
    ax = np.abs(x)
    skin = colours.skin
    old = 1.0 - p["Young"]
    one = np.ones_like(old)

    blush = ellipse(ax - np.float32(8.3), y - np.float32(5.2), 4.0, 3.2, 2.5)
    blush *= parameter(face.grows("Rosy_Cheeks", 0.0, 0.75, 0.95))
    red = np.stack([0.93 * one, 0.27 * one, 0.36 * one], axis=1)
    paint(patch, blush, colour(red * (0.55 + 0.45 * skin[:, :1])))

    # A fold runs from the wings of the nose, outwards and down past the mouth.
    fold = np.abs(ax - np.float32(4.3) - (y - np.float32(3.0)) * np.float32(0.42)) - np.float32(0.45)
    np.maximum(fold, np.abs(y - np.float32(7.0)) - np.float32(4.2), out=fold)
    cover = inside(fold)
    cover *= parameter(old * (0.75 + 0.25 * np.maximum(-face.strength["Young"], 0.0)))
    paint(patch, cover, colour(skin * 0.6))

    _beard(patch, face, colours.hair_tips, colours.gray, x, y)
    _nose(patch, face, skin, x, y)
    _mouth(patch, face, skin, x, y)
    window.put(rgb, patch)


def _nose(patch: Array, face: Face, skin: Wide, x: Array, y: Array) -> None:
    """A small button, or a big bulb with wings and nostrils."""
    n = face.nuisance
    x = x - parameter(1.1 * n["turn"])
    size = face.grows("Big_Nose", 1.3, 3.6, 4.4)
    wide, high = parameter(size), parameter(0.75 * size)
    y = y - parameter(5.6 - 0.6 * size)
    shadow = skin * np.array([0.8, 0.62, 0.58])
    paint(patch, ellipse(x, y, wide, high), colour(shadow))
    shine = ellipse(
        x + np.float32(0.4), y + high * np.float32(0.35), wide * np.float32(0.6), high * np.float32(0.5), 2.0
    )
    paint(patch, shine, colour(np.minimum(skin * 1.08, 1.0)))


def _beard(patch: Array, face: Face, hair: Wide, gray: Wide, x: Array, y: Array) -> None:
    """A mustache between nose and mouth, a goatee on the chin; darker than the hair of the head unless that is blond or gray."""
    p = face.presence
    tone = mix(
        mix(hair * 0.55, hair * 0.95, p["Blond_Hair"]), gray * (0.95 - 0.25 * p["Pale_Skin"])[:, None], p["Gray_Hair"]
    )
    droop = x * x * np.float32(0.035)
    mustache = ellipse(
        x,
        y - np.float32(7.7) - droop,
        parameter(face.shown("Mustache", 5.8, 7.2)),
        parameter(face.shown("Mustache", 1.5, 2.0)),
    )
    mustache *= parameter(face.grows("Mustache", 0.0, 0.88, 1.0))
    paint(patch, mustache, colour(tone))
    goatee = ellipse(
        x, y - np.float32(16.2), parameter(face.shown("Goatee", 4.4, 6.0)), parameter(face.shown("Goatee", 3.0, 3.8))
    )
    goatee *= parameter(face.grows("Goatee", 0.0, 0.88, 1.0))
    paint(patch, goatee, colour(tone))


def _mouth(patch: Array, face: Face, skin: Wide, x: Array, y: Array) -> None:
    """Lips about a parabola; a smile bends it up at the corners, an open mouth parts the lips over teeth and dark."""
    n, p = face.nuisance, face.presence
    smile, lipstick = face.strength["Smiling"], p["Wearing_Lipstick"]
    half = parameter(mix(4.2 + 0.0 * smile, 6.0 + 0.8 * np.maximum(smile, 0.0), p["Smiling"]) + 0.5 * n["mouth_width"])
    bend = mix(-0.9 + 0.9 * np.minimum(smile, 0.0), 2.9 + 1.1 * np.maximum(smile, 0.0), p["Smiling"])
    t = x / half
    t *= t
    taper = np.maximum(np.float32(1.0) - t, np.float32(0.0))
    across = y - np.float32(11.2) - parameter(0.35 * bend) + parameter(bend) * t
    gap = parameter(face.grows("Mouth_Slightly_Open", 0.0, 1.5, 2.3))
    lips = parameter(mix(0.75 + 0.0 * smile, 1.5 + 0.35 * np.maximum(face.strength["Wearing_Lipstick"], 0.0), lipstick))
    bare = skin * np.array([0.84, 0.6, 0.58])
    painted = hsv(0.95 + 0.08 * n["lip_hue"], 0.85, 0.72 + 0.14 * n["lip_value"])
    height = np.abs(across)
    ends = np.minimum(taper * np.float32(4.0), np.float32(1.0))
    cover = inside(height - (gap + lips) * taper, 1.2)
    cover *= ends
    paint(patch, cover, colour(mix(bare, painted, lipstick)))
    line = inside(height - np.float32(0.2) - gap * taper, 1.1)
    line *= ends
    dark = hsv(0.97 + 0.0 * smile, 0.6, 0.24)
    paint(patch, line, colour(dark))
    teeth = inside(np.abs(across + gap * taper * np.float32(0.45)) - gap * taper * np.float32(0.4), 1.0)
    teeth *= inside(np.float32(0.8) - gap * taper, 0.6)
    paint(patch, teeth, colour(np.full_like(skin, 0.97)))


def _upper_face(rgb: Array, face: Face, colours: Colours, frame: Frame) -> None:
    """Wrinkles, eyes, brows, and glasses over them."""
    n, p = face.nuisance, face.presence
    window = frame.window(0.0, -4.0, 13.0, 8.5, LARGEST)
    patch = window.cut(rgb)
    head_x, y = frame.coordinates(window.left, window.top, window.height, window.width)
    x, y = _features(face, head_x, y)
    ax = np.abs(x)
    old = 1.0 - p["Young"]
    depth = old * (0.7 + 0.3 * np.maximum(-face.strength["Young"], 0.0))
    apart = 6.1 + 0.5 * n["eye_distance"]
    ex, ey = ax - parameter(apart), y + np.float32(1.2)
    size = 1.0 + 0.1 * n["eye_size"]

    # Bags under the eyes, and lines across the forehead.
    bags = inside(np.abs(ey - np.float32(4.1) + ex * ex * np.float32(0.09)) - np.float32(0.45))
    bags *= inside(np.abs(ex) - np.float32(2.8))
    below = y + np.float32(10.6) - ax * ax * np.float32(0.012)
    lines = inside(np.minimum(np.abs(below), np.abs(below + np.float32(2.6))) - np.float32(0.4))
    lines *= inside(ax - np.float32(7.0))
    np.maximum(bags, lines, out=bags)
    bags *= parameter(depth)
    paint(patch, bags, colour(colours.skin * 0.6))

    high = parameter(size * (2.5 - 0.5 * old))
    wide = parameter(3.1 * size)
    dark = hsv(0.05 + 0.0 * old, 0.4, 0.17)
    lash = ellipse(ex, ey + np.float32(0.7), wide + np.float32(0.4), high + np.float32(0.2))
    flick = inside(np.abs(ey + np.float32(1.2) + (ex - np.float32(2.6)) * np.float32(0.75)) - np.float32(0.65))
    flick *= inside(np.abs(ex - np.float32(3.4)) - np.float32(1.4))
    flick *= parameter(1.0 - p["Male"])
    np.maximum(lash, flick, out=lash)
    paint(patch, lash, colour(dark))
    white = ellipse(ex, ey - np.float32(0.15), wide, high)
    paint(patch, white, colour(np.full_like(colours.skin, 0.97)))
    # The gaze moves both eyes the same way, so that the folded coordinate will not do.
    look = np.abs(x - parameter(0.7 * n["gaze"])) - parameter(apart)
    iris = radius(look, ey, 1.0, 1.0)
    iris_cover = inside(iris - parameter(1.75 * size))
    iris_cover *= white
    eye = hsv(0.33 + 0.28 * n["eye_hue"], 0.55, 0.5 + 0.2 * n["eye_value"])
    paint(patch, iris_cover, colour(eye))
    paint(patch, inside(iris - np.float32(0.8)), colour(dark * 0.5))

    thick = parameter(face.grows("Bushy_Eyebrows", 0.45, 1.35, 1.8))
    bx = ax - parameter(apart + 0.1)
    by = (
        y
        + parameter(6.7 + 0.4 * n["brow_height"])
        - bx * bx * np.float32(0.07)
        - parameter(0.12 * n["brow_tilt"] - 0.06) * bx
    )
    brow = np.maximum(np.abs(by) - thick * (np.float32(1.0) - bx * np.float32(0.06)), np.abs(bx) - np.float32(4.0))
    tone = mix(colours.hair_top * 0.5, colours.gray * 0.7, p["Gray_Hair"])
    paint(patch, inside(brow), colour(tone))

    _glasses(patch, face, ex, ey, ax, y)
    window.put(rgb, patch)


def _glasses(patch: Array, face: Face, ex: Array, ey: Array, ax: Array, y: Array) -> None:
    """Two rims, round to square, a bridge and temples, slightly tinted."""
    n, p = face.nuisance, face.presence
    worn = parameter(p["Eyeglasses"])
    square = parameter(0.25 + 0.25 * n["glasses_shape"])
    a, b = ex * np.float32(1.0 / 4.9), (ey - np.float32(0.3)) * np.float32(1.0 / 4.3)
    a = np.minimum(a * a, np.float32(1.6))
    b = np.minimum(b * b, np.float32(1.6))
    rim = np.sqrt(a + b - square * a * b)
    rim -= np.float32(1.0)
    rim *= np.float32(4.5)
    lens = inside(rim)
    lens *= worn * parameter(0.22 + 0.16 * n["glasses_tint"])
    tint = hsv(0.5 * n["glasses_hue"] + 0.3, 0.25, 0.75)
    paint(patch, lens, colour(tint))
    bar = np.maximum(np.abs(ey + np.float32(0.6)) - np.float32(0.6), -rim)
    bar = np.maximum(bar, ax - np.float32(13.0))
    cover = inside(np.minimum(np.abs(rim) - np.float32(0.75), bar))
    cover *= worn
    frame_colour = hsv(0.5 * n["glasses_hue"], 0.7, 0.32 + 0.26 * n["glasses_value"])
    paint(patch, cover, colour(frame_colour))


def _hair_in_front(rgb: Array, face: Face, hair: Array, x: Array, y: Array) -> None:
    """Hair on the head above the hairline: parted and receding to the temples, or a fringe down to the brows."""
    n, p = face.nuisance, face.presence
    rows = slice(0, 48)
    x, y = x[:, rows], y[:, rows]
    bald, bangs = p["Bald"], p["Bangs"]
    part = x - parameter(5.0 * n["hair_part"])
    open_line = np.minimum(part * part * parameter(0.045 * (1.0 - bald)), np.float32(9.0)) - parameter(
        14.0 + 12.0 * bald
    )
    fringe = np.minimum(x * x * np.float32(0.02), np.float32(5.0)) - parameter(face.shown("Bangs", 9.4, 8.6))
    fringe += np.float32(0.5) * wave(x * np.float32(1.0 / 5.0) + parameter(n["hair_wave"]))
    line = open_line + parameter(bangs) * (fringe - open_line)
    full = 0.8 * n["hair_volume"] + 1.6 * p["Wavy_Hair"]
    width, height = 15.4 + full + 1.2 * n["face_width"], 18.2 + full
    distance = radius(x, y + np.float32(3.0), parameter(width), parameter(height))
    distance -= np.float32(1.0)
    distance *= np.float32(15.0)
    distance += _outline(face, x, y)
    np.maximum(distance, y - line, out=distance)
    np.maximum(distance, parameter(16.5 * p["Wearing_Hat"] - 30.0) - y, out=distance)
    # On a bald head a fringe is a forelock.
    forelock = (radius(x, y + np.float32(12.6), 8.5, 5.0) - np.float32(1.0)) * np.float32(5.0)
    np.maximum(distance, forelock - parameter(14.0 * (1.0 - bald)), out=distance)
    paint(rgb[:, :, rows], inside(distance), hair[:, :, rows])


def _hat(rgb: Array, face: Face, x: Array, y: Array) -> None:
    """A crown, a band of the complementary colour and a brim, which sit above the forehead."""
    n = face.nuisance
    rows = slice(0, 40)
    x, y = x[:, rows], y[:, rows]
    patch = rgb[:, :, rows]
    worn = parameter(face.presence["Wearing_Hat"])
    hue = 0.5 * n["hat_hue"]
    saturation, value = 0.55 + 0.3 * n["hat_saturation"], 0.58 + 0.27 * n["hat_value"]
    up = y + np.float32(12.5)
    width = parameter(16.3 + 0.5 * n["hair_volume"] + 1.2 * n["face_width"])
    crown = ellipse(x, up, width, parameter(10.5 + 1.5 * n["hat_height"]))
    crown *= inside(up)
    crown *= worn
    paint(patch, crown, colour(hsv(hue, saturation, value)))
    crown *= inside(np.abs(up + np.float32(3.0)) - np.float32(1.5))
    paint(patch, crown, colour(hsv(hue + 0.5, saturation, 1.15 - value)))
    brim = ellipse(x, up, parameter(18.5 + 2.0 * n["hat_brim"]), 1.9)
    brim *= worn
    paint(patch, brim, colour(hsv(hue, saturation, value * 0.72)))


def _earrings(rgb: Array, face: Face, frame: Frame) -> None:
    """Drops that hang from the ears, over the hair, gold to silver to coloured."""
    n = face.nuisance
    window = frame.window(0.0, 8.5, 18.5, 5.0, LARGEST)
    patch = window.cut(rgb)
    x, y = frame.coordinates(window.left, window.top, window.height, window.width)
    size = parameter(face.shown("Wearing_Earrings", 2.3, 2.9))
    x = np.abs(x) - parameter(14.6 + 1.2 * n["face_width"])
    y = y - np.float32(8.5)
    worn = parameter(face.presence["Wearing_Earrings"])
    drop = ellipse(x, y, size, size * np.float32(1.35))
    drop *= worn
    paint(patch, drop, colour(hsv(0.5 * n["earring_hue"], 0.65, 0.45 + 0.15 * n["earring_value"])))
    shine = ellipse(x, y + np.float32(0.3), size * np.float32(0.5), size * np.float32(0.75))
    shine *= worn
    paint(patch, shine, colour(hsv(0.5 * n["earring_hue"], 0.25, 1.0)))
    window.put(rgb, patch)
