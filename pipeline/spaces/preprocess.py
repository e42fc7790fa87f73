"""How a model wants its images, read from the model's own processor configuration, and carried out as its authors meant.

Split in two: `Recipe.prepare` resizes and crops one image on the CPU, in the decoding threads, with the resampling of Pillow that these models were trained with;
`Recipe.normalise` does the arithmetic in batches on the device. Between the two a row is uint8, so little is copied.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from noisezoo.errors import NoiseZooError

STAND_INS = {"DINOv3ViTImageProcessor": "ViTImageProcessor"}
"""Processors that exist only for torchvision tensors, and the one whose settings they share. (DINOv3 resizes floats; on uint8 the result differs by rounding, within 1/255.)"""


@dataclass(frozen=True)
class Recipe:
    """Resize, crop, rescale, normalise: what nearly every vision model does to an image."""

    resize: int | tuple[int, int] | None
    """Length of the short side, or (height, width), or None to keep the size."""
    crop: tuple[int, int] | None
    """(height, width) cut from the middle."""
    resample: Image.Resampling
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip_channels: bool = False
    """True for models that were trained on BGR."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) that the model is given."""
        size = self.crop or self.resize
        assert isinstance(size, tuple)
        return size

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """One RGB image to uint8 `(3, h, w)`."""
        if self.resize is not None:
            height, width = short_side(image, self.resize) if isinstance(self.resize, int) else self.resize
            image = image.resize((width, height), self.resample)
        if self.crop is not None:
            top, left = (image.height - self.crop[0]) // 2, (image.width - self.crop[1]) // 2
            # A crop that reaches beyond the image is filled with black, as the models' own processors fill it.
            image = image.crop((left, top, left + self.crop[1], top + self.crop[0]))
        return to_tensor(image)

    def normalise(self, batch: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """uint8 `(n, 3, h, w)` to (x · scale - mean) / std, computed in float32."""
        if self.flip_channels:
            batch = batch.flip(1)
        mean = torch.tensor(self.mean, device=batch.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=batch.device).view(-1, 1, 1)
        return batch.float().mul_(self.scale / std).sub_(mean / std).to(dtype)


def short_side(image: Image.Image, length: int) -> tuple[int, int]:
    """(height, width) at which the shorter side has this length, rounded as the models' own processors round."""
    if image.width <= image.height:
        return int(length * image.height / image.width), length
    return length, int(length * image.width / image.height)


def to_tensor(image: Image.Image) -> torch.Tensor:
    """RGB image to uint8 `(3, h, w)`."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def square(image: Image.Image, size: int) -> torch.Tensor:
    """The middle square of an image at `size` pixels a side, uint8 `(3, size, size)`: what autoencoders, diffusion models and pixels are given."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return to_tensor(image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS))


def read_recipe(folder: Path) -> Recipe:
    """The recipe that `preprocessor_config.json` (or `processor_config.json`) in a model's folder asks for."""
    from transformers.image_processing_backends import PilBackend
    from transformers.models.auto.image_processing_auto import get_image_processor_class_from_name

    config = _processor_config(folder)
    name = config.get("image_processor_type") or config.get("feature_extractor_type") or _usual_processor(folder)
    name = name.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    known = get_image_processor_class_from_name(STAND_INS.get(name, name) + "Pil")
    convnext = name == "ConvNextImageProcessor"
    if not (isinstance(known, type) and issubclass(known, PilBackend)) or not (
        convnext or _is_plain(known, PilBackend)
    ):
        raise NoiseZooError(
            f"The preprocessing of {folder} ({name}) is more than resize, crop and normalise: write a class with a `prepare` of its own (docs/adding-a-model.md)."
        )
    if name in STAND_INS:
        config = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], **config}
    processor: Any = known
    return _recipe(processor.from_dict(config), convnext, folder)


def _processor_config(folder: Path) -> dict[str, Any]:
    """As transformers reads it: a nested `image_processor` goes before the older file."""
    for name, inner in (("processor_config.json", "image_processor"), ("preprocessor_config.json", None)):
        path = folder / name
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            content = content.get(inner) if inner else content
            if content:
                return dict(content)
    raise NoiseZooError(
        f"{folder} has no preprocessor_config.json, so nothing says how its images are prepared: save the model's image processor into it with save_pretrained."
    )


def _usual_processor(folder: Path) -> str:
    """The processor that transformers pairs with a model type, for configurations that name none."""
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    names = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type) or {}
    return names.get("torchvision") or names.get("pil") or f"{model_type}, which names no image processor"


def _is_plain(known: type, plain: type) -> bool:
    steps = ("_preprocess", "preprocess", "resize", "center_crop", "rescale", "normalize")
    return all(getattr(known, step) is getattr(plain, step) for step in steps)


def _recipe(processor: Any, convnext: bool, folder: Path) -> Recipe:
    resize: int | tuple[int, int] | None = None
    crop = None
    if processor.do_resize:
        size = processor.size
        if size.height and size.width:
            resize = (size.height, size.width)
        elif size.shortest_edge and not size.longest_edge:
            resize = size.shortest_edge
        else:
            raise NoiseZooError(
                f"{folder} wants images of varying size ({dict(size)}), which one batch cannot hold: choose a model with a fixed input size."
            )
    if getattr(processor, "do_center_crop", None):
        crop = (processor.crop_size.height, processor.crop_size.width)
    if convnext and isinstance(resize, int):
        # Below 384 pixels ConvNeXT keeps the middle `crop_pct` of the image; from there on it squeezes all of it into the square.
        resize, crop = (
            (int(resize / processor.crop_pct), (resize, resize)) if resize < 384 else ((resize, resize), crop)
        )
    if crop is None and not isinstance(resize, tuple):
        raise NoiseZooError(
            f"{folder} neither crops nor resizes to one size, so its images would vary: set do_center_crop and crop_size in its preprocessor_config.json."
        )
    if getattr(processor, "do_pad", None):
        raise NoiseZooError(
            f"{folder} pads its images, which no recipe here does: write a class with a `prepare` of its own (docs/adding-a-model.md)."
        )
    return Recipe(
        resize=resize,
        crop=crop,
        resample=Image.Resampling(int(processor.resample)),
        scale=float(processor.rescale_factor) if processor.do_rescale else 1.0,
        mean=tuple(processor.image_mean) if processor.do_normalize else (0.0,) * 3,
        std=tuple(processor.image_std) if processor.do_normalize else (1.0,) * 3,
        flip_channels=bool(getattr(processor, "do_flip_channel_order", False)),
    )
