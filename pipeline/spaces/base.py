"""What a space is: a small object that turns a batch of images into a batch of latents.

A space knows nothing of stores, ledgers, clusters or batching: the worker does all that, once, for every family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from PIL import Image


@dataclass(frozen=True)
class ModelFacts:
    """Where a space's weights come from, for cards, `noisezoo spaces` and provenance."""

    model: str
    """Hub name or folder; empty for controls that have no weights."""
    revision: str | None
    licence: str
    task: str
    """`noise`, `embedding`, `tokens` or `control`."""
    parameters: int | None = None
    """Number of weights of the part that is run; None where nobody counted."""


class Space(Protocol):
    """One named latent view of the rows."""

    facts: ModelFacts
    shape: tuple[int, ...]
    """Shape of one row's latent."""
    dims: tuple[str, ...]
    """Names of those dimensions, `("channel", "y", "x")` or `("feature",)`."""
    dtype: str
    """How latents are stored, `float16` unless the YAML says otherwise; integer for tokens."""
    precision: str
    """What the network computes in: `float32`, `bfloat16` or `float16`. A row that is not finite is computed again after `load(device, torch.float32)`."""
    limit: int
    """Largest batch worth trying; the worker halves it when memory runs out."""

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        """Bring the weights to the device; refuse in one sentence (NoiseZooError) what cannot be loaded."""
        ...

    def unload(self) -> None:
        """Let go of the weights; `load` may be called again."""
        ...

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """One decoded RGB image to the model's uint8 or float input `(3, h, w)`; runs on the CPU in the decoding threads, needs no weights."""
        ...

    def __call__(self, batch: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """A batch of prepared images `(n, 3, h, w)` and their row numbers `(n,)` to latents `(n, *shape)`; or {"latent": ..., name: further per-row arrays}."""
        ...

    def extra_arrays(self) -> dict[str, tuple[int, ...]]:
        """Names and row shapes of arrays that a call gives beside `latent` (captured noise levels); usually none."""
        ...

    def describe(self) -> dict[str, Any]:
        """Everything that the latents depend on (model, revision, preprocessing, procedure): the configuration digest is taken over this."""
        ...


@runtime_checkable
class Generates(Space, Protocol):
    """A space whose latents lead back to images."""

    def generate(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents `(n, *shape)` to images `(n, 3, h, w)` in [0, 1]."""
        ...

    def reconstruct(self, batch: torch.Tensor) -> torch.Tensor:
        """What the autoencoder alone makes of prepared images, in [0, 1]; the images themselves where there is no autoencoder."""
        ...

    def images(self, batch: torch.Tensor) -> torch.Tensor:
        """Prepared images as the model sees them, in [0, 1] `(n, 3, h, w)`: what fidelity compares with."""
        ...
