"""Spaces without which a finding about noise means nothing.

The pixels themselves, latents noised forwards with true Gaussian noise, pure noise, and noise that is not Gaussian. Two further controls are other families: a latent without
inversion is an `Autoencoder`, an inversion through random weights is a diffusion space with `random_weights: true`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image

from noisezoo.errors import NoiseZooError, nearest
from pipeline.spaces import checkpoints
from pipeline.spaces.autoencoder import Autoencoder
from pipeline.spaces.base import ModelFacts
from pipeline.spaces.defaults import Defaults
from pipeline.spaces.noise import gaussian, generator
from pipeline.spaces.preprocess import square

LAWS = ("gaussian", "bimodal")
PATTERN_ROW = 2**64 - 1
"""A row number that no image has, for what all rows of a control share."""


class Pixels(Defaults):
    """The middle square of the image, scaled to [-1, 1]."""

    limit = 1024
    dims: tuple[str, ...] = ("channel", "y", "x")

    def __init__(self, size: int, dtype: str = "float16") -> None:
        self._set_types(dtype, "float32")
        self.size = size
        self.shape: tuple[int, ...] = (3, size, size)
        self.facts = ModelFacts(model="", revision=None, licence="that of the images", task="control", parameters=0)
        self._device = torch.device("cpu")

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        """Nothing to load."""
        self._device = device

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """The middle square, uint8 `(3, size, size)`."""
        return square(image, self.size)

    def __call__(self, batch: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """x / 127.5 - 1."""
        return batch.to(self._device).float() / 127.5 - 1

    def generate(self, latents: torch.Tensor) -> torch.Tensor:
        """Back to [0, 1]."""
        return (latents.float() / 2 + 0.5).clamp(0, 1)

    def reconstruct(self, batch: torch.Tensor) -> torch.Tensor:
        """The images themselves."""
        return self.images(batch)

    def images(self, batch: torch.Tensor) -> torch.Tensor:
        """Prepared images in [0, 1]."""
        return batch.float() / 255

    def describe(self) -> dict[str, Any]:
        """What the rows depend on."""
        return {"family": "pixels", "size": self.size, "preprocessing": "middle square, Lanczos"}


class ForwardNoised(Defaults):
    """What the forward process makes of an image: x_T = √ᾱ_T · x₀ + √(1 - ᾱ_T) · ε, with x₀ the autoencoder's latent and ε true Gaussian noise.

    It has the same x₀ and the same marginal as an inverted latent, and differs from it in one thing: its noise knows nothing of the image.
    ᾱ_T is that of the last training step of the pipeline's scheduler.
    """

    limit = 64
    dims: tuple[str, ...] = ("channel", "y", "x")

    def __init__(
        self,
        model: str,
        size: int,
        revision: str | None = None,
        seed: int = 42,
        shape: Sequence[int] | None = None,
        parameters: int | None = None,
        licence: str = "unknown",
        dtype: str = "float16",
        precision: str = "float32",
    ) -> None:
        self._set_types(dtype, precision)
        self.autoencoder = Autoencoder(
            model, size, revision, "vae", shape, parameters, licence, "control", dtype, precision
        )
        self.facts = self.autoencoder.facts
        self.stated = self.autoencoder.stated
        self.seed = seed
        self._alpha: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the autoencoder's latent."""
        return self.autoencoder.shape

    def present(self) -> bool:
        """Whether the weights are on this machine."""
        return self.autoencoder.present()

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        """The autoencoder and the end of the noise schedule."""
        from diffusers import DDPMScheduler

        self.autoencoder.load(device, dtype)
        name = self.facts.model
        folder = checkpoints.folder(name, self.facts.revision, ("*config.json", "model_index.json"))
        config = checkpoints.read_config(folder, name, "scheduler/scheduler_config.json")
        if "beta_schedule" not in config:
            raise NoiseZooError(
                f"The path of {name} ends in pure noise ({config.get('_class_name')}): take the space gaussian_noise, which is the same."
            )
        self._alpha = float(DDPMScheduler.from_config(config).alphas_cumprod[-1])

    def unload(self) -> None:
        """Let go of the autoencoder."""
        self.autoencoder.unload()

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """As for the autoencoder."""
        return self.autoencoder.prepare(image)

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Prepared images to noised latents `(n, *shape)`, in float32."""
        latents = self.autoencoder(batch, rows).float()
        if self._alpha is None:
            raise NoiseZooError(f"{self.facts.model} is not loaded: call load(device, dtype) first.")
        noise = gaussian(self.seed, rows, self.shape, "forward", latents.device)
        return self._alpha**0.5 * latents + (1 - self._alpha) ** 0.5 * noise

    def describe(self) -> dict[str, Any]:
        """What the rows depend on."""
        return {
            **self.autoencoder.describe(),
            "family": "forward noised",
            "seed": self.seed,
            "time": "last training step",
        }


class Noise(Defaults):
    """Noise that looks at no image, drawn for each row from its own stream; every coordinate has mean 0 and variance 1.

    `gaussian`: x = ε ~ N(0, I).

    `bimodal`: x = s · √(1 - w²) · v + w · ε, noise that no test should take for Gaussian. v is one fixed pattern of ±1, ε ~ N(0, I), and s = ±1 is one fair
    coin a *row*, so that every coordinate is a balanced mixture of two normals of deviation w at ±√(1 - w²). The coin must be the row's and not the coordinate's:
    a projection sums many coordinates, and independent coins would add up to a Gaussian again. Along a random unit direction u the modes stand √(1 - w²) · (u·v)
    from the middle, where u·v is near N(0, 1), and are w wide: only directions with a small u·v hide them. With w = 0.15 Anderson-Darling on 250 rows accepts about
    one direction in eight.
    """

    limit = 4096

    def __init__(
        self, shape: Sequence[int], law: str = "gaussian", seed: int = 42, width: float = 0.15, dtype: str = "float16"
    ) -> None:
        if law not in LAWS:
            raise NoiseZooError(f"There is no noise of law '{law}': {nearest(law, LAWS)}")
        self._set_types(dtype, "float32")
        self.shape = tuple(shape)
        self.dims: tuple[str, ...] = ("channel", "y", "x") if len(self.shape) == 3 else ("feature",)
        self.law, self.seed, self.width = law, seed, width
        self.facts = ModelFacts(model="", revision=None, licence="CC0-1.0", task="control", parameters=0)
        self._device = torch.device("cpu")

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        """Nothing to load."""
        self._device = device

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """Noise needs no pixels."""
        return torch.zeros(3, 1, 1, dtype=torch.uint8)

    def __call__(self, batch: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Noise `(n, *shape)` in float32."""
        noise = gaussian(self.seed, rows, self.shape, self.law, self._device)
        if self.law == "gaussian":
            return noise
        coins = [2.0 * generator(self.seed, row, "coin").integers(0, 2) - 1 for row in rows.tolist()]
        sign = torch.tensor(coins, dtype=torch.float32, device=self._device).view(-1, *[1] * len(self.shape))
        return sign * (1 - self.width**2) ** 0.5 * self._pattern.to(self._device) + self.width * noise

    @cached_property
    def _pattern(self) -> torch.Tensor:
        signs = generator(self.seed, PATTERN_ROW, "bimodal").integers(0, 2, self.shape)
        return torch.from_numpy((2 * signs - 1).astype(np.float32))

    def describe(self) -> dict[str, Any]:
        """What the rows depend on."""
        described = {"family": f"{self.law} noise", "shape": list(self.shape), "seed": self.seed}
        return {**described, "width": self.width} if self.law == "bimodal" else described
