"""The code that an image autoencoder gives: the mode of the posterior, scaled as the diffusion models that use it scale it.

Any AutoencoderKL, VQModel or AutoencoderDC of diffusers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from noisezoo.errors import NoiseZooError
from pipeline.spaces import checkpoints
from pipeline.spaces.base import ModelFacts
from pipeline.spaces.defaults import Defaults
from pipeline.spaces.preprocess import square

CLASSES = ("AutoencoderKL", "VQModel", "AutoencoderDC")


def encode(vae: Any, images: torch.Tensor) -> torch.Tensor:
    """Images `(n, 3, h, w)` in [-1, 1] to scaled latents: (z - shift) · scale, or (z - mean) / std · scale where the model states them."""
    output = vae.encode(images)
    names = ("latents", "latent")  # what VQ and DC autoencoders call it
    z = output.latent_dist.mode() if "latent_dist" in output else next(output[n] for n in names if n in output)
    shift, scale = _affine(vae, z)
    return (z - shift) * scale


def decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Scaled latents to images `(n, 3, h, w)` in [0, 1]."""
    shift, scale = _affine(vae, latents)
    return (vae.decode(latents / scale + shift).sample / 2 + 0.5).clamp(0, 1)


def _affine(vae: Any, z: torch.Tensor) -> tuple[torch.Tensor | float, torch.Tensor | float]:
    """(shift, scale) of the latents."""
    config = vae.config
    scale = config.get("scaling_factor") or 1.0
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        view = (1, -1, 1, 1)
        return torch.tensor(mean, device=z.device, dtype=z.dtype).view(view), scale / torch.tensor(
            std, device=z.device, dtype=z.dtype
        ).view(view)
    return config.get("shift_factor") or 0.0, scale


class Autoencoder(Defaults):
    """The middle square of an image at `size` pixels, as the autoencoder's latent."""

    limit = 64

    def __init__(
        self,
        model: str,
        size: int,
        revision: str | None = None,
        subfolder: str | None = None,
        shape: Sequence[int] | None = None,
        parameters: int | None = None,
        licence: str = "unknown",
        task: str = "tokens",
        dtype: str = "float16",
        precision: str = "float32",
    ) -> None:
        self._set_types(dtype, precision)
        self.model_name, self.size, self.revision, self.subfolder = model, size, revision, subfolder
        self.facts = ModelFacts(model=model, revision=revision, licence=licence, task=task, parameters=parameters)
        self.dims: tuple[str, ...] = ("channel", "y", "x")
        self.stated = tuple(shape) if shape is not None else None

    @property
    def _weights(self) -> tuple[str, ...]:
        inside = f"{self.subfolder}/" if self.subfolder else ""
        return (
            "config.json",
            "model_index.json",
            f"{inside}config.json",
            f"{inside}diffusion_pytorch_model.safetensors",
            f"{inside}diffusion_pytorch_model-*.safetensors",
            f"{inside}diffusion_pytorch_model.safetensors.index.json",
        )

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one latent; without weights."""
        return self.stated or self.measure()[0]

    def present(self) -> bool:
        """Whether the weights are on this machine."""
        return checkpoints.is_local(self.model_name, self.revision, self._weights)

    def measure(self) -> tuple[tuple[int, ...], int]:
        """Shape of a row and number of weights as the configuration gives them, from a model without memory."""
        folder = self._part(checkpoints.folder(self.model_name, self.revision, checkpoints.CONFIGS))
        known = self._class(folder)
        with torch.device("meta"), torch.no_grad():
            vae = known.from_config(known.load_config(folder, local_files_only=True))
            latent = encode(vae, torch.zeros(1, 3, self.size, self.size))
        return tuple(latent.shape[1:]), sum(p.numel() for p in vae.parameters())

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        """The autoencoder on the device; in float32 where its authors say that half precision overflows."""
        folder = self._part(checkpoints.folder(self.model_name, self.revision, self._weights))
        if checkpoints.read_config(folder, self.model_name).get("force_upcast"):
            dtype = torch.float32
        vae = self._class(folder).from_pretrained(
            folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True
        )
        self._model = vae.to(device).eval().requires_grad_(False)
        with torch.inference_mode():
            found = tuple(
                encode(vae, torch.zeros(1, 3, self.size, self.size, device=device, dtype=vae.dtype)).shape[1:]
            )
        if found != self.shape:
            raise NoiseZooError(
                f"{self.model_name} at {self.size} pixels gives rows of shape {list(found)}, but its YAML says {list(self.shape)}: write 'shape: {list(found)}'."
            )

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """The middle square at the model's size, uint8 `(3, size, size)`."""
        return square(image, self.size)

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Prepared images to scaled latents `(n, *shape)`."""
        return encode(self._vae, self._input(batch))

    @torch.inference_mode()
    def generate(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents to images in [0, 1]."""
        return decode(self._vae, latents.to(self._vae.device, self._vae.dtype))

    @torch.inference_mode()
    def reconstruct(self, batch: torch.Tensor) -> torch.Tensor:
        """Encoded and decoded again."""
        return decode(self._vae, encode(self._vae, self._input(batch)))

    def images(self, batch: torch.Tensor) -> torch.Tensor:
        """Prepared images in [0, 1]."""
        return batch.float() / 255

    def describe(self) -> dict[str, Any]:
        """What the latents depend on."""
        return {
            "family": "autoencoder",
            "model": self.model_name,
            "subfolder": self.subfolder,
            "revision": checkpoints.pinned(self.model_name, self.revision),
            "size": self.size,
            "preprocessing": "middle square, Lanczos",
            "latent": "posterior mode, scaled",
            "precision": self.precision,
        }

    def _input(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.to(self._vae.device, non_blocking=True).float().div_(127.5).sub_(1).to(self._vae.dtype)

    @property
    def _vae(self) -> Any:
        if self._model is None:
            raise NoiseZooError(f"{self.model_name} is not loaded: call load(device, dtype) first.")
        return self._model

    def _part(self, folder: Path) -> Path:
        part = folder / self.subfolder if self.subfolder else folder
        if not (part / "config.json").exists():
            raise NoiseZooError(f"{self.model_name} has no {self.subfolder or '.'}/config.json: correct 'subfolder'.")
        return part

    def _class(self, folder: Path) -> Any:
        import diffusers

        name = checkpoints.read_config(folder, self.model_name).get("_class_name")
        if name not in CLASSES:
            raise NoiseZooError(
                f"{self.model_name} is a {name}, and an autoencoder space takes {', '.join(CLASSES)}: correct 'model' or 'subfolder'."
            )
        return getattr(diffusers, name)
