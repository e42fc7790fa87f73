"""An image file's bytes to an upright RGB image, the same for every model; what is no single still picture is refused with a reason that goes into the ledger.

Transparency is laid over white, sixteen bits keep their upper eight, a camera's rotation is carried out; colour profiles are ignored, as the models' own processors do.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from noisezoo.errors import NoiseZooError

LARGEST = 100_000_000
"""Pixels; a file that claims more is taken for a decompression bomb."""


class BadImageError(NoiseZooError):
    """These bytes are not an image that a row can be made of; the message is the reason."""


def decode(data: bytes) -> Image.Image:
    """Bytes to an upright RGB image, or `BadImageError`."""
    reason = _foreign(data)
    if reason:
        raise BadImageError(reason)
    try:
        with warnings.catch_warnings():
            # Our own limit is below Pillow's, and a warning about harmless metadata is no reason to fail.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > LARGEST:
                    raise BadImageError(f"{image.width} x {image.height} pixels are more than {LARGEST:,}")
                # A multi-picture JPEG of a camera is a still with a preview behind it.
                frames = getattr(image, "n_frames", 1)
                if frames > 1 and image.format != "MPO":
                    raise BadImageError(f"an animation or a file of several pages ({frames} frames)")
                image.load()
                return to_rgb(ImageOps.exif_transpose(image))
    except BadImageError:
        raise
    except UnidentifiedImageError as error:
        raise BadImageError("not an image that can be read here") from error
    except Exception as error:  # decoders raise anything at all on broken files
        raise BadImageError(f"broken or cut short ({error})") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: transparency over white, the upper eight of sixteen bits."""
    if image.mode == "F":
        raise BadImageError("floating-point pixels have no agreed range")
    if image.mode.startswith("I"):
        wide = image.convert("I")
        # A 16-bit file is 16-bit even when it is dark, so the file's mode decides; mode I alone has to be judged by its values.
        deep = image.mode != "I" or bool(np.asarray(wide).max() > 255)
        image = wide.point(lambda value: value * (1 / 256)).convert("L") if deep else wide.convert("L")
    if "A" in image.getbands() or "a" in image.getbands() or image.info.get("transparency") is not None:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba).convert("RGB")
    return image.convert("RGB")


def _foreign(data: bytes) -> str | None:
    """A reason for kinds of file that are refused by name."""
    if not data:
        return "an empty file"
    head = data[:512].lstrip()
    if head.startswith(b"<svg") or (head.startswith(b"<?xml") and b"<svg" in data[:4096]):
        return "SVG is a drawing, not pixels: render it first"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1", b"heim", b"heis"):
        return "HEIC is not read here: convert it to JPEG or PNG first"
    return None
