"""Spaces that are quick and whose answers are known: what the engine's tests compute instead of a network."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.spaces.base import ModelFacts


class Thumbnail:
    """The image at 8×8, as float latents; leads back to an image. Options make it slow, or break it in one of the ways that networks break."""

    dims = ("channel", "y", "x")
    dtype = "float16"
    limit = 16

    def __init__(
        self,
        task: str = "embedding",
        seconds_per_batch: float = 0.0,
        precision: str = "float32",
        scale: float = 1.0,
        memory_rows: int | None = None,
        overflow_below_float32: bool = False,
        nan_row: int | None = None,
        journal: str | None = None,
    ) -> None:
        self.facts = ModelFacts("tests.thumbnail", None, "CC0", task)
        self.shape = (3, 8, 8)
        self.precision = precision
        self.scale = scale
        self.seconds_per_batch = seconds_per_batch
        self.memory_rows = memory_rows
        self.overflow_below_float32 = overflow_below_float32
        self.nan_row = nan_row
        self.journal = journal
        self.batches: list[int] = []

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        self.now = dtype

    def unload(self) -> None:
        del self.now

    def prepare(self, image: Image.Image) -> torch.Tensor:
        small = image.resize((8, 8), Image.Resampling.BOX)
        return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)

    def __call__(self, batch: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        if self.memory_rows is not None and len(batch) > self.memory_rows:
            raise torch.OutOfMemoryError(f"{len(batch)} rows do not fit")
        self.batches.append(len(batch))
        if self.journal is not None:  # which rows were computed, by whatever process
            with open(self.journal, "ab", buffering=0) as file:
                file.write("".join(f"{row}\n" for row in rows.tolist()).encode())
        time.sleep(self.seconds_per_batch)
        latent = self.scale * batch.float() / 255
        if self.overflow_below_float32 and self.now != torch.float32:
            latent[rows % 5 == 0] = float("inf")
        if self.nan_row is not None:
            latent[rows == self.nan_row] = float("nan")
        return latent

    def extra_arrays(self) -> dict[str, tuple[int, ...]]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {"kind": "thumbnail", "scale": self.scale, "precision": self.precision}


class Regenerating(Thumbnail):
    """A thumbnail that can be led back to an image, as noise can."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"task": "noise", **options})

    def generate(self, latents: torch.Tensor) -> torch.Tensor:
        return latents / self.scale

    def reconstruct(self, batch: torch.Tensor) -> torch.Tensor:
        return self.images(batch)

    def images(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.float() / 255
