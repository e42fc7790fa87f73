"""Every kind of image file becomes an upright RGB image, and what is no still picture is refused with its reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline import decode as module
from pipeline.decode import BadImageError, decode
from tests.pipeline.spaces.pictures import PICTURES, waves, written


@pytest.mark.parametrize("kind", PICTURES)
def test_every_kind_becomes_rgb(kind: str) -> None:
    image = decode(PICTURES[kind]())
    assert image.mode == "RGB"
    with Image.open(io.BytesIO(PICTURES[kind]())) as original:
        assert image.size == ImageOps.exif_transpose(original).size


def test_grey_sixteen_bit_keeps_the_upper_eight() -> None:
    grey = waves(61, 45, 1)[..., 0]
    assert np.array_equal(np.asarray(decode(PICTURES["sixteen bit"]()))[..., 1], grey)


def test_a_dark_sixteen_bit_image_is_not_taken_for_eight_bit() -> None:
    dark = written(Image.fromarray(np.full((8, 8), 200, np.uint16)))
    assert np.asarray(decode(dark)).max() == 0


def test_transparency_shows_white() -> None:
    clear = Image.fromarray(np.zeros((4, 4, 4), np.uint8), "RGBA")
    assert np.asarray(decode(written(clear))).min() == 255


def test_the_camera_s_rotation_is_carried_out() -> None:
    upright = np.asarray(decode(PICTURES["turned by the camera"]())).astype(float)
    turned = np.rot90(waves(70, 40), -1).astype(float)
    assert np.abs(upright - turned).mean() < 12  # what JPEG leaves of the grain


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"not an image at all", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
        (PICTURES["odd"]()[:200], "cut short"),
        (PICTURES["wide"]()[:600], "cut short"),
        (written(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "floating-point"),
    ],
    ids=["empty", "noise", "svg", "xml", "heic", "png cut", "jpeg cut", "float"],
)
def test_bad_files_are_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImageError, match=reason):
        decode(data)


def test_animations_are_refused() -> None:
    frames = [Image.fromarray(waves(20, 20, seed=i)) for i in range(3)]
    with pytest.raises(BadImageError, match="3 frames"):
        decode(written(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(BadImageError, match="more than 1,000"):
        decode(PICTURES["odd"]())
