"""Strips of pictures: images, and what their stored latents lead back to."""

from __future__ import annotations

import io

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image

from noisezoo.zoo import Zoo
from pipeline import shards
from pipeline.build import space_configs
from pipeline.decode import decode
from pipeline.spaces.base import Generates
from pipeline.worker import pick_device

SIDE = 128
"""Pixels of one picture in a strip."""


def strips(cfg: DictConfig, zoo: Zoo, count: int) -> list[tuple[str, bytes]]:
    """For each chosen space that generates: a caption and a PNG, images above, regenerated from their stored noise below."""
    if count < 1:
        return []
    device = pick_device(cfg.device)
    pictures = list(shards.read(cfg.images, 0))
    made: list[tuple[str, bytes]] = []
    for name, node in space_configs(cfg).items():
        if name not in zoo.spaces:
            continue
        rows = np.flatnonzero(zoo[name].valid[: zoo.shard_rows])[:count]
        space = instantiate(node, _convert_="all")
        if not isinstance(space, Generates) or not len(rows):
            continue
        images = [decode(pictures[row].data or b"") for row in rows]
        space.load(device, getattr(torch, space.precision))
        with torch.inference_mode():
            inputs = torch.stack([space.prepare(image) for image in images]).to(device)
            seen = space.images(inputs).cpu()
            back = space.generate(torch.from_numpy(zoo[name].take(rows)).float().to(device)).cpu()
        space.unload()
        made.append((f"{name}: images above, regenerated from their stored latents below", _png([seen, back])))
    return made


def _png(lines: list[torch.Tensor]) -> bytes:
    """Lines of images `(n, 3, h, w)` in [0, 1] as one PNG."""
    tiles = [[_tile(image) for image in line] for line in lines]
    sheet = Image.fromarray(np.concatenate([np.concatenate(line, axis=1) for line in tiles]))
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def _tile(image: torch.Tensor) -> np.ndarray:
    pixels = (image.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
