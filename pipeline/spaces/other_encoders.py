"""Encoders that only OpenCLIP or timm can load, through those libraries; they are imported when such a space is used, and not before."""

from __future__ import annotations

import importlib
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


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NoiseZooError(
            f"This space needs the library {name.split('.')[0]}: type pip install -e '.[{extra}]'."
        ) from error


class OpenClipEncoder(Defaults):
    """Image features, not normalised, of an OpenCLIP checkpoint (`open_clip_config.json` and `open_clip_model.safetensors`), with the library's own transform."""

    limit = 512
    dims: tuple[str, ...] = ("feature",)
    weights = ("open_clip_config.json", "open_clip_*.safetensors")

    def __init__(
        self,
        model: str,
        shape: Sequence[int],
        revision: str | None = None,
        parameters: int | None = None,
        licence: str = "unknown",
        dtype: str = "float16",
        precision: str = "float32",
    ) -> None:
        self._set_types(dtype, precision)
        self.model_name, self.revision = model, revision
        self.shape: tuple[int, ...] = tuple(shape)
        self.facts = ModelFacts(
            model=model, revision=revision, licence=licence, task="embedding", parameters=parameters
        )

    def present(self) -> bool:
        """Whether the weights are on this machine."""
        return checkpoints.is_local(self.model_name, self.revision, self.weights)

    @cached_property
    def _folder(self) -> Path:
        return checkpoints.folder(self.model_name, self.revision, self.weights)

    @cached_property
    def _transform(self) -> Any:
        library = _library("open_clip.transform", "openclip")
        settings = checkpoints.read_config(self._folder, self.model_name, "open_clip_config.json")
        picture = {
            "size": settings["model_cfg"]["vision_cfg"].get("image_size", 224),
            **settings.get("preprocess_cfg", {}),
        }
        return library.image_transform_v2(library.PreprocessCfg(**picture), is_train=False)

    def _build(self) -> Any:
        return _library("open_clip", "openclip").create_model(f"local-dir:{self._folder}", load_weights=True)

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        """The model in evaluation mode on the device."""
        self._model = self._build().to(device, dtype).eval().requires_grad_(False)

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """The library's own transform; float `(3, h, w)`, normalised."""
        return self._transform(image)

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Prepared images to embeddings `(n, features)`."""
        if self._model is None:
            raise NoiseZooError(f"{self.model_name} is not loaded: call load(device, dtype) first.")
        weight = next(self._model.parameters())
        return self._embed(batch.to(weight.device, weight.dtype))

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        return self._model.encode_image(images)

    def describe(self) -> dict[str, Any]:
        """What the embeddings depend on."""
        return {
            "family": type(self).__name__,
            "model": self.model_name,
            "revision": checkpoints.pinned(self.model_name, self.revision),
            "preprocessing": "the library's own",
            "precision": self.precision,
        }


class TimmEncoder(OpenClipEncoder):
    """Pooled features of a timm checkpoint (`config.json` and `model.safetensors`), without its classifier, with the library's own transform."""

    weights = ("config.json", "model.safetensors")

    @cached_property
    def _transform(self) -> Any:
        data = _library("timm.data", "timm")
        config = checkpoints.read_config(self._folder, self.model_name)["pretrained_cfg"]
        return data.create_transform(**data.resolve_data_config(pretrained_cfg=config), is_training=False)

    def _build(self) -> Any:
        return _library("timm", "timm").create_model(f"local-dir:{self._folder}", pretrained=True, num_classes=0)

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        return self._model(images)
