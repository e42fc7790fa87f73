"""How each kind of diffusion network is called: one short function a kind, after which all of them are (x, time) -> output.

Whatever is constant over a zoo (the prompt, SDXL's sizes, a guidance embedding, FLUX's positions) is worked out once, in the network's dtype on its device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

from noisezoo.errors import NoiseZooError, nearest
from pipeline.inversion.denoiser import Network
from pipeline.spaces.conditioning import Embedding


@dataclass(frozen=True)
class Conditions:
    """Constant inputs of a network."""

    size: int
    """Side of the images, in pixels."""
    embedding: Embedding = field(default_factory=dict)
    guidance: float | None = None
    guidance_embedding: float | None = None
    """The guidance that a guidance-distilled network is told, where it is told one."""


def wrap(module: Any, conditions: Conditions) -> Network:
    """The network as inverters call it; with `guidance` it is asked twice, with the prompt and with the negative prompt."""
    build = KINDS[type(module).__name__]
    weight = next(module.parameters())

    def side(negative: bool) -> Network:
        prefix = "negative_" if negative else ""
        mine = {name: value for name, value in conditions.embedding.items() if name.startswith("negative_") == negative}
        moved = {name.removeprefix(prefix): value.to(weight.device, weight.dtype) for name, value in mine.items()}
        return build(module, moved, conditions)

    plain = side(negative=False)
    if conditions.guidance is None:
        return plain
    negative, scale = side(negative=True), conditions.guidance

    def guided(x: Tensor, time: Tensor) -> Tensor:
        away = negative(x, time).float()
        return away + scale * (plain(x, time).float() - away)

    return guided


def check(kind: str) -> None:
    """Refuse a network that nobody here knows how to call."""
    if kind not in (*KINDS, FORMER):
        raise NoiseZooError(f"how to call a {kind} is not known here: {nearest(kind, KINDS)}")


def _rows(value: Tensor, x: Tensor) -> Tensor:
    """One row repeated for a batch, without copying."""
    return value.expand(len(x), *value.shape[1:])


class _OneText(AttnProcessor2_0):
    """Attention of all rows to one text: keys and values are made once for the batch, not once a row.

    softmax(q kᵀ) v treats each query alone, so with one k and v the queries of all rows `(rows, positions, features)` may stand in one line
    `(1, rows · positions, features)`. diffusers' processor lays them so by itself when the text has one row; only its answer must be cut into rows again.
    """

    def __call__(self, attn: Attention, hidden_states: Tensor, *more: Any, **options: Any) -> Tensor:
        return super().__call__(attn, hidden_states, *more, **options).view_as(hidden_states)


def _text_unet(module: Any, embedding: Embedding, conditions: Conditions) -> Network:
    """Stable Diffusion 1, 2, XL and LCM."""
    for part in module.modules():
        if isinstance(part, Attention) and part.is_cross_attention:
            part.set_processor(_OneText())
    config, text = module.config, embedding["text"]
    told: Tensor | None = None
    if conditions.guidance_embedding is not None:
        if config.time_cond_proj_dim is None:
            raise NoiseZooError("guidance_embedding is set, but this UNet is told no guidance: leave it out.")
        scale = torch.tensor([conditions.guidance_embedding - 1.0])
        told = diffusers.LatentConsistencyModelPipeline.get_guidance_scale_embedding(
            None, scale, config.time_cond_proj_dim
        ).to(text)
    added: dict[str, Tensor] = {}
    if config.addition_embed_type == "text_time":
        side = conditions.size  # size of the original, crop's corner, size of the target
        added = {
            "text_embeds": embedding["pooled"],
            "time_ids": torch.tensor([[side, side, 0, 0, side, side]]).to(text),
        }
    elif config.addition_embed_type is not None:
        raise NoiseZooError(
            f"this UNet wants added conditions of the kind '{config.addition_embed_type}'; only 'text_time' (SDXL) is known here."
        )

    def call(x: Tensor, time: Tensor) -> Tensor:
        return module(
            x,
            time,
            encoder_hidden_states=text,
            timestep_cond=None if told is None else _rows(told, x),
            added_cond_kwargs={name: _rows(value, x) for name, value in added.items()},
            return_dict=False,
        )[0]

    return call


def _unet(module: Any, embedding: Embedding, conditions: Conditions) -> Network:
    """DDPM and its kin: no conditions."""
    _told_nothing(conditions)
    if module.config.class_embed_type is not None or module.config.num_class_embeds is not None:
        raise NoiseZooError(
            "this UNet is conditioned on a class and has no class for 'none': use an unconditional checkpoint."
        )
    return lambda x, time: module(x, time, return_dict=False)[0]


def _dit(module: Any, embedding: Embedding, conditions: Conditions) -> Network:
    """DiT with its null class, which follows the last class."""
    _told_nothing(conditions)
    null = torch.tensor([module.config.num_embeds_ada_norm], device=next(module.parameters()).device)
    return lambda x, time: module(x, timestep=time, class_labels=_rows(null, x), return_dict=False)[0]


def _pixart(module: Any, embedding: Embedding, conditions: Conditions) -> Network:
    """PixArt-alpha; those made for 1024 pixels are also told the size and the aspect ratio."""
    _told_nothing(conditions)
    text, mask = embedding["text"], embedding["mask"]
    sizes: dict[str, Tensor] = {}
    if module.use_additional_conditions:
        sizes = {
            "resolution": torch.tensor([[conditions.size, conditions.size]]).to(text),
            "aspect_ratio": torch.ones(1, 1).to(text),
        }

    def call(x: Tensor, time: Tensor) -> Tensor:
        added = {name: _rows(sizes[name], x) if name in sizes else None for name in ("resolution", "aspect_ratio")}
        return module(
            x,
            _rows(text, x),
            timestep=time,
            encoder_attention_mask=_rows(mask, x),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]

    return call


def _sd3(module: Any, embedding: Embedding, conditions: Conditions) -> Network:
    _told_nothing(conditions)
    text, pooled = embedding["text"], embedding["pooled"]
    return lambda x, time: module(x, _rows(text, x), _rows(pooled, x), time, return_dict=False)[0]


def _flux(module: Any, embedding: Embedding, conditions: Conditions) -> Network:
    """FLUX sees two by two positions as one token; latents stay (rows, channels, y, x) outside."""
    text, pooled = embedding["text"], embedding["pooled"]
    told: Tensor | None = None
    if module.config.guidance_embeds:
        if conditions.guidance_embedding is None:
            raise NoiseZooError(
                "this network is distilled for guidance and must be told one: set guidance_embedding, 1.0 for none."
            )
        told = torch.tensor([conditions.guidance_embedding]).to(text)
    else:
        _told_nothing(conditions)
    text_places = torch.zeros(text.shape[1], 3).to(text)

    @functools.cache
    def places(height: int, width: int) -> Tensor:
        return torch.cartesian_prod(torch.arange(1), torch.arange(height), torch.arange(width)).to(text)

    def call(x: Tensor, time: Tensor) -> Tensor:
        rows, channels, height, width = x.shape
        tokens = (
            x.view(rows, channels, height // 2, 2, width // 2, 2)
            .permute(0, 2, 4, 1, 3, 5)
            .reshape(rows, -1, channels * 4)
        )
        out = module(
            hidden_states=tokens,
            encoder_hidden_states=_rows(text, x),
            pooled_projections=_rows(pooled, x),
            timestep=time / 1000,  # FLUX counts its time from 0 to 1
            img_ids=places(height // 2, width // 2),
            txt_ids=text_places,
            guidance=None if told is None else _rows(told, x),
            return_dict=False,
        )[0]
        return out.view(rows, height // 2, width // 2, channels, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)

    return call


def _told_nothing(conditions: Conditions) -> None:
    if conditions.guidance_embedding is not None:
        raise NoiseZooError("guidance_embedding is set, but this network is told no guidance: leave it out.")


KINDS: dict[str, Callable[[Any, Embedding, Conditions], Network]] = {
    "UNet2DConditionModel": _text_unet,
    "UNet2DModel": _unet,
    "DiTTransformer2DModel": _dit,
    "PixArtTransformer2DModel": _pixart,
    "SD3Transformer2DModel": _sd3,
    "FluxTransformer2DModel": _flux,
}
"""The networks that can be called, by the name of their class in diffusers."""
FORMER = "Transformer2DModel"
"""What checkpoints of DiT and PixArt from before the classes were split call both; diffusers tells them apart as it loads them."""
