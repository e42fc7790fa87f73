"""Strips of pictures: images, and what their stored latents lead back to."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image

from noisezoo.zoo import Zoo
from pipeline import shards
from pipeline.decode import decode
from pipeline.spaces.base import Generates
from pipeline.worker import pick_device

SIDE = 128
"""Pixels of one picture in a strip."""


def regenerated(cfg: DictConfig, zoo: Zoo, name: str, node: Mapping[str, Any], count: int) -> dict[str, Any]:
    """For a space that generates: images above, regenerated from their stored noise below; nothing for another."""
    space = instantiate(node, _convert_="all")
    rows = np.flatnonzero(zoo[name].valid[: zoo.shard_rows])[:count]
    if not isinstance(space, Generates) or not len(rows):
        return {}
    device = pick_device(cfg.device)
    pictures = list(shards.read(cfg.images, 0))
    images = [decode(pictures[row].data or b"") for row in rows]
    space.load(device, getattr(torch, space.precision))
    with torch.inference_mode():
        inputs = torch.stack([space.prepare(image) for image in images]).to(device)
        seen = space.images(inputs).cpu()
        back = space.generate(torch.from_numpy(zoo[name].take(rows)).float().to(device)).cpu()
    space.unload()
    caption = f"{name}: images above, regenerated from their stored latents below"
    return {"pictures": [{"kind": "regenerated", "caption": caption, "png": base64_png(sheet([seen, back]))}]}


def sheet(lines: Sequence[torch.Tensor]) -> Image.Image:
    """Lines of images `(n, 3, h, w)` in [0, 1], one below the other."""
    tiles = [[_tile(image) for image in line] for line in lines]
    return Image.fromarray(np.concatenate([np.concatenate(line, axis=1) for line in tiles]))


def base64_png(image: Image.Image) -> str:
    """A picture as a page holds it."""
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def _tile(image: torch.Tensor) -> np.ndarray:
    pixels = (image.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
