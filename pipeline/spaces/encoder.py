"""Embeddings of any vision model that transformers has built in: one class, and a setting that says which of the model's outputs is the row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from noisezoo.errors import NoiseZooError, nearest
from pipeline.spaces import checkpoints
from pipeline.spaces.base import ModelFacts
from pipeline.spaces.defaults import Defaults
from pipeline.spaces.preprocess import Recipe, read_recipe

POOLS = {
    "image_features": "what the model compares with text: CLIP's projected class token, SigLIP's attention pooling",
    "pooler": "the model's own pooled output",
    "cls": "the class token of the last hidden state",
    "mean_patches": "the mean of the patch tokens, without class and register tokens",
    "patches": "all patch tokens",
}
WEIGHTS = ("config.json", "p*processor_config.json", "model*.safetensors", "model.safetensors.index.json")


class Encoder(Defaults):
    """Images to embeddings, not normalised, through a transformers model.

    `shape` and `parameters` are facts that a YAML states so that spaces can be listed before anything is downloaded; when left out they follow from the model's configuration,
    and when wrong, `load` says so.
    """

    limit = 512

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        pool: str = "pooler",
        layer: int | None = None,
        shape: Sequence[int] | None = None,
        parameters: int | None = None,
        licence: str = "unknown",
        dtype: str = "float16",
        precision: str = "float32",
    ) -> None:
        self._set_types(dtype, precision)
        if pool not in POOLS:
            raise NoiseZooError(f"There is no pool '{pool}' for {model}: {nearest(pool, POOLS)}")
        if layer is not None and pool in ("image_features", "pooler"):
            raise NoiseZooError(
                f"pool={pool} of {model} is made of the last layer alone: leave out 'layer', or take pool=cls, mean_patches or patches."
            )
        self.model_name, self.revision, self.pool, self.layer = model, revision, pool, layer
        self.facts = ModelFacts(
            model=model, revision=revision, licence=licence, task="embedding", parameters=parameters
        )
        self.dims: tuple[str, ...] = ("token", "feature") if pool == "patches" else ("feature",)
        self.stated = tuple(shape) if shape is not None else None

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one embedding; without weights."""
        return self.stated or self.measure()[0]

    @cached_property
    def _configs(self) -> Path:
        return checkpoints.folder(self.model_name, self.revision, checkpoints.CONFIGS)

    @cached_property
    def recipe(self) -> Recipe:
        """The model's own preprocessing."""
        return read_recipe(self._configs)

    def present(self) -> bool:
        """Whether the weights are on this machine."""
        return checkpoints.is_local(self.model_name, self.revision, WEIGHTS)

    def measure(self) -> tuple[tuple[int, ...], int]:
        """Shape of a row and number of weights as the configuration gives them, from a model without memory."""
        config = _read_config(self._configs)
        with torch.device("meta"):
            model = _class_for(config, self.pool)._from_config(_inner(config, self.pool))
            row = self._run(model, torch.zeros(1, 3, *self.recipe.size))
        return tuple(row.shape[1:]), sum(p.numel() for p in model.parameters())

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        """The model in evaluation mode on the device; refused when weights that the row needs are not in the checkpoint."""
        folder = checkpoints.folder(self.model_name, self.revision, WEIGHTS)
        config = _read_config(folder)
        with _quiet():
            model, report = _class_for(config, self.pool).from_pretrained(
                folder,
                config=_inner(config, self.pool),
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
        missing = [key for key in report["missing_keys"] if self.pool == "pooler" or not key.startswith("pooler.")]
        if missing:
            raise NoiseZooError(
                f"{self.model_name} lacks trained weights ({missing[0]}), and pool={self.pool} needs them: take pool=cls or mean_patches, or another model."
            )
        self._model = model.to(device).eval().requires_grad_(False)
        with torch.inference_mode():
            found = tuple(
                self._run(self._model, torch.zeros(1, 3, *self.recipe.size, device=device, dtype=dtype)).shape[1:]
            )
        if found != self.shape:
            raise NoiseZooError(
                f"{self.model_name} with pool={self.pool} gives rows of shape {list(found)}, but its YAML says {list(self.shape)}: write 'shape: {list(found)}'."
            )

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """Resize and crop as the model's processor does; uint8 `(3, h, w)`."""
        return self.recipe.prepare(image)

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Prepared images `(n, 3, h, w)` to embeddings `(n, *shape)`."""
        if self._model is None:
            raise NoiseZooError(f"{self.model_name} is not loaded: call load(device, dtype) first.")
        weight = next(self._model.parameters())
        return self._run(self._model, self.recipe.normalise(batch.to(weight.device, non_blocking=True), weight.dtype))

    def describe(self) -> dict[str, Any]:
        """What the embeddings depend on; the pinned revision (or, for a folder, the digest of its files) covers weights and preprocessing."""
        return {
            "family": "encoder",
            "model": self.model_name,
            "revision": checkpoints.pinned(self.model_name, self.revision),
            "preprocessing": "the model's own",
            "pool": self.pool,
            "layer": self.layer,
            "precision": self.precision,
        }

    def _run(self, model: Any, pixels: torch.Tensor) -> torch.Tensor:
        config = model.config
        asks: dict[str, Any] = {"output_hidden_states": True} if self.layer is not None else {}
        if config.model_type == "vit_mae":
            # MAE shuffles its patches by random numbers; ascending ones keep them in place.
            patches = (pixels.shape[-2] // config.patch_size) * (pixels.shape[-1] // config.patch_size)
            asks["noise"] = torch.arange(patches, device=pixels.device).expand(len(pixels), -1)
        if self.pool == "image_features":
            if hasattr(model, "get_image_features"):
                features = model.get_image_features(pixel_values=pixels)
                return features if isinstance(features, torch.Tensor) else features.pooler_output
            output = model(pixel_values=pixels)
            return output.image_embeds if "image_embeds" in output else output.pooler_output
        output = model(pixel_values=pixels, **asks)
        if self.pool == "pooler":
            if output.get("pooler_output") is None:
                raise NoiseZooError(f"{self.model_name} has no pooled output: take pool=cls, mean_patches or patches.")
            return output.pooler_output.flatten(1)
        tokens = output.last_hidden_state if self.layer is None else self._layer(output.hidden_states)
        if tokens.ndim == 4:  # convolutional maps (n, c, h, w)
            tokens = tokens.flatten(2).transpose(1, 2)
        before = _tokens_before_patches(config, tokens.shape[1], pixels)
        if self.pool == "cls":
            if not before:
                raise NoiseZooError(f"{self.model_name} has no class token: take pool=pooler, mean_patches or patches.")
            return tokens[:, 0]
        patches_only = tokens[:, before:]
        return patches_only.mean(1) if self.pool == "mean_patches" else patches_only

    def _layer(self, states: tuple[torch.Tensor, ...]) -> torch.Tensor:
        assert self.layer is not None
        if not -len(states) <= self.layer < len(states):
            raise NoiseZooError(
                f"{self.model_name} has layers 0 (the patches as they enter) to {len(states) - 1}, so layer={self.layer} is none of them."
            )
        return states[self.layer]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' report on the text side's weights, which are left out on purpose; missing weights are refused by `load` itself."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _read_config(folder: Path) -> Any:
    from transformers import AutoConfig

    with _quiet():
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type == "vit_mae":
        config.mask_ratio = 0.0  # every patch is seen
    return config


def _class_for(config: Any, pool: str) -> Any:
    """The smallest class that gives this output: the image side of a two-sided model, everything otherwise."""
    import transformers

    if config.model_type == "clip":
        return transformers.CLIPVisionModelWithProjection if pool == "image_features" else transformers.CLIPVisionModel
    if config.model_type == "siglip":
        return transformers.SiglipVisionModel
    if pool == "image_features" and not hasattr(
        transformers.AutoModel._model_mapping[type(config)], "get_image_features"
    ):
        raise NoiseZooError(
            f"A model of type {config.model_type} has no image features to compare with text: take pool=pooler, cls or mean_patches."
        )
    return transformers.AutoModel._model_mapping[type(config)]


def _inner(config: Any, pool: str) -> Any:
    """The part of the configuration that this class reads."""
    if config.model_type not in ("clip", "siglip"):
        return config
    inner = config.vision_config
    if config.model_type == "clip":
        inner.projection_dim = config.projection_dim
    return inner


def _tokens_before_patches(config: Any, tokens: int, pixels: torch.Tensor) -> int:
    """How many class and register tokens stand before the patches: whatever exceeds their number (none in Swin or ConvNeXT, which merge patches)."""
    patch = getattr(config, "patch_size", None)
    if not isinstance(patch, int):
        return 0
    return max(0, tokens - (pixels.shape[-2] // patch) * (pixels.shape[-1] // patch))
