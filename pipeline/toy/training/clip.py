"""toy_clip: CLIPModel, a small ViT on 8 x 8 patches and a small text tower, trained by contrasting faces with their captions.

Its text tower is also the text encoder of the toy latent diffusion models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from pipeline.toy.training.data import held_out, signed, training_captions, training_faces
from pipeline.toy.training.loop import Task
from pipeline.toy.training.measures import probe_auc
from pipeline.toy.training.tokens import LENGTH, tokenizer, tokens

BATCH = 128
PROJECTION = 128
TEXT_STEPS = 1_600
"""From here on only the image tower learns: the text tower is toy_sd's text encoder and must stay as toy_sd knows it."""
_LARGEST_SCALE = 4.6052


def build() -> CLIPModel:
    """A new model; both towers 128 wide."""
    words = tokenizer()
    shared = {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_attention_heads": 4,
        "projection_dim": PROJECTION,
    }
    text = shared | {
        "num_hidden_layers": 2,
        "vocab_size": len(words),
        "max_position_embeddings": LENGTH,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    vision = shared | {"num_hidden_layers": 3, "image_size": 64, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=PROJECTION))


def processor() -> CLIPImageProcessor:
    """What toy_clip sees: 64 x 64 pixels in [-1, 1]."""
    return CLIPImageProcessor(
        size={"shortest_edge": 64},
        crop_size={"height": 64, "width": 64},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def task(runs: Path) -> Task:
    """The symmetric cross-entropy of CLIP (Radford et al., arXiv 2103.00020)."""
    faces = training_faces(runs)
    words = tokens(training_captions())
    end = tokenizer().eos_token_id
    shown, labels, _ = held_out(2_500)
    network = build()

    def loss(network: Any, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(faces), (BATCH,), generator=generator)
        text = words[rows].long()
        text = text[:, : int((text != end).sum(1).max()) + 1]
        out = network(input_ids=text, pixel_values=signed(faces[rows.numpy()]))
        target = torch.arange(BATCH)
        similarity = out.logits_per_image
        return 0.5 * (functional.cross_entropy(similarity, target) + functional.cross_entropy(similarity.mT, target))

    def settle(step: int) -> None:
        network.logit_scale.data.clamp_(max=_LARGEST_SCALE)
        if step >= TEXT_STEPS:
            network.text_model.requires_grad_(False)

    def measure(network: Any) -> dict[str, float]:
        return {"probe AUC": float(probe_auc(features(network, signed(shown)).numpy(), labels, 310).mean())}

    return Task(
        "toy_clip", network, loss, measure, steps=1_600, batch=BATCH, rate=3e-3, after_step=settle, weight_decay=0.1
    )


def features(network: Any, pixels: Tensor) -> Tensor:
    """(n, PROJECTION) image features, not normalised."""
    with torch.no_grad():
        return torch.cat(
            [
                network.visual_projection(network.vision_model(pixel_values=part).pooler_output)
                for part in pixels.split(250)
            ]
        )
