"""The faces that the toy models are trained on and measured on, drawn once and kept beside the runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from pipeline.toy import HELD_OUT
from pipeline.toy.captions import captions
from pipeline.toy.faces import draw, render
from pipeline.toy.truth import labels, latents, nuisances

SEED = 0
TRAIN_ROWS = 80_000
_PART = 2_000


def training_faces(runs: Path, taken: int = SEED) -> NDArray[np.uint8]:
    """(TRAIN_ROWS, 64, 64, 3), memory-mapped; drawn on the first call. With another `taken` they are the same people, photographed again:
    another pose, scale, light and background."""
    path = runs / "data" / f"faces-{SEED}-{TRAIN_ROWS}{'' if taken == SEED else f'-again-{taken}'}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        pictures = open_memmap(part, mode="w+", dtype=np.uint8, shape=(TRAIN_ROWS, 64, 64, 3))
        for start in range(0, TRAIN_ROWS, _PART):
            rows = np.arange(start, start + _PART)
            pictures[start : start + _PART] = draw(latents(SEED, rows), nuisances(taken, rows))
        pictures.flush()
        part.rename(path)
    return np.asarray(np.load(path, mmap_mode="r"))


def training_labels() -> NDArray[np.int8]:
    """(TRAIN_ROWS, attributes) of the training faces."""
    return labels(latents(SEED, np.arange(TRAIN_ROWS)))


def training_captions() -> list[str]:
    """A caption for each training face."""
    return captions(SEED, np.arange(TRAIN_ROWS))


def held_out(rows: int, skip: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int8], list[str]]:
    """Faces (rows, 64, 64, 3), labels and captions that no toy model was trained on; `skip` leaves out the first ones."""
    which = np.arange(HELD_OUT + skip, HELD_OUT + skip + rows)
    return render(SEED, which), labels(latents(SEED, which)), captions(SEED, which)


def signed(pictures: NDArray[np.uint8]) -> Tensor:
    """Bytes (n, h, w, 3) to float (n, 3, h, w) in [-1, 1], as diffusion models see them."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1.0


def halved(pictures: NDArray[np.uint8]) -> Tensor:
    """Bytes (n, 64, 64, 3) to float (n, 3, 32, 32) in [-1, 1]: every 2 x 2 pixels become their mean."""
    return torch.nn.functional.avg_pool2d(signed(pictures), 2)


def psnr(one: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in [-1, 1], each image's own, averaged: 10 log10(4 / mean squared difference)."""
    error = (one.clamp(-1, 1) - other.clamp(-1, 1)).square().flatten(1).mean(1)
    return float((10.0 * torch.log10(4.0 / error)).mean())
