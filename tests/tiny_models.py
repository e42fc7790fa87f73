"""Tiny models with random weights, saved exactly as their real checkpoints are: configuration, safetensors and processor configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers as hf

VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
CLIP_NORM = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
STEPS = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}


def _clip() -> hf.PreTrainedModel:
    text = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 50,
        "max_position_embeddings": 8,
    }
    return hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=VIT, projection_dim=24))


def _siglip() -> hf.PreTrainedModel:
    text = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 50,
        "max_position_embeddings": 8,
    }
    return hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=VIT))


def _mae() -> hf.PreTrainedModel:
    return hf.ViTMAEForPreTraining(
        hf.ViTMAEConfig(
            **VIT,
            decoder_hidden_size=16,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=2,
            decoder_intermediate_size=16,
        )
    )


MODELS: dict[str, Any] = {
    "clip": _clip,
    "siglip": _siglip,
    "dinov2": lambda: hf.Dinov2Model(
        hf.Dinov2Config(**{**VIT, "image_size": 56})
    ),  # positions for a larger image than the processor gives, as in the real one
    "dinov3": lambda: hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**VIT, num_register_tokens=4)),
    "mae": _mae,
    "vit": lambda: hf.ViTModel(hf.ViTConfig(**VIT)),
    "swin": lambda: hf.SwinForImageClassification(
        hf.SwinConfig(
            image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4, num_labels=3
        )
    ),
    "convnext": lambda: hf.ConvNextForImageClassification(
        hf.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, num_labels=3)
    ),
}

PROCESSORS: dict[str, dict[str, Any]] = {
    "clip": {
        **STEPS,
        **CLIP_NORM,
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "resample": 3,
    },
    "siglip": {
        **STEPS,
        **HALF,
        "image_processor_type": "SiglipImageProcessor",
        "size": {"height": 32, "width": 32},
        "do_convert_rgb": None,
        "resample": 2,
    },
    "dinov2": {
        **STEPS,
        **IMAGENET,
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 36},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "resample": 3,
    },
    "dinov3": {
        **STEPS,
        **IMAGENET,
        "image_processor_type": "DINOv3ViTImageProcessorFast",
        "size": {"height": 32, "width": 32},
        "resample": 2,
    },
    # The old layout, with bare numbers and no rescaling spelt out, as the published files of these models have it.
    "mae": {
        **IMAGENET,
        "feature_extractor_type": "ViTFeatureExtractor",
        "do_resize": True,
        "do_normalize": True,
        "size": 32,
    },
    "vit": {
        **HALF,
        "feature_extractor_type": "ViTFeatureExtractor",
        "do_resize": True,
        "do_normalize": True,
        "resample": 2,
        "size": 32,
    },
    "swin": {
        **IMAGENET,
        "feature_extractor_type": "ViTFeatureExtractor",
        "do_resize": True,
        "do_normalize": True,
        "resample": 3,
        "size": 32,
    },
    "convnext": {
        **IMAGENET,
        "feature_extractor_type": "ConvNextFeatureExtractor",
        "crop_pct": 0.875,
        "do_resize": True,
        "do_normalize": True,
        "resample": 3,
        "size": 32,
    },
}

POOLS = {
    "clip": "image_features",
    "siglip": "image_features",
    "dinov2": "pooler",
    "dinov3": "pooler",
    "mae": "mean_patches",
    "vit": "cls",
    "swin": "pooler",
    "convnext": "pooler",
}
FEATURES = {"clip": 24, "siglip": 32, "dinov2": 32, "dinov3": 32, "mae": 32, "vit": 32, "swin": 16, "convnext": 16}


def save_tiny(kind: str, folder: Path, seed: int = 0) -> Path:
    """Save the tiny model of this kind into `folder`, weights drawn with this seed; returns the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS[kind]()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSORS[kind], indent=2))
    return folder
