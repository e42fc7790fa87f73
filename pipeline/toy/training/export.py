"""Writes trained toy models to models/<name>/ as fp16 safetensors, in the layouts of diffusers and transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMPipeline,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

from pipeline.toy.training import clip, dino
from pipeline.toy.training.autoencoder import standardise
from pipeline.toy.training.data import signed, training_faces
from pipeline.toy.training.diffusion import ddim, ddpm
from pipeline.toy.training.tokens import tokenizer
from pipeline.toy.truth import ATTRIBUTES

_STANDARDISED_ON = 2_000


def export(name: str, network: Any, models: Path, runs: Path) -> None:
    """Write one trained network to where it belongs."""
    network = network.eval()
    folder = models / name
    if name == "toy_vae":
        standardise(network, signed(training_faces(runs)[:_STANDARDISED_ON]))
        network.half().save_pretrained(models / "toy_sd" / "vae")
    elif name == "toy_clip":
        _toy_clip(network, models)
    elif name == "toy_dino":
        network.teacher.vit.half().save_pretrained(folder)
        _to_be_run_in_float32(folder)
        dino.processor().save_pretrained(folder)
    elif name == "toy_reader":
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: value.half() for key, value in network.state_dict().items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"attributes": ATTRIBUTES}, indent=1) + "\n")
    elif name == "toy_ddpm":
        DDPMPipeline(network.half(), ddpm()).save_pretrained(folder)
    elif name == "toy_flow":
        _toy_flow(network, models)
    else:
        _stable_diffusion(network, models, folder, "v_prediction" if name == "toy_sd_v" else "epsilon")
    _forget_where(folder)


def _forget_where(folder: Path) -> None:
    """Take out of the configurations where on this machine a part was loaded from, which diffusers notes down."""
    for path in folder.rglob("config.json"):
        config = json.loads(path.read_text())
        if config.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(config, indent=2) + "\n")


def _to_be_run_in_float32(folder: Path) -> None:
    """transformers runs a model in the dtype that its configuration names, which would be the half precision that it is stored in; CPUs want float32."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n")


def _toy_clip(network: Any, models: Path) -> None:
    """toy_clip, and its text tower as toy_sd's text encoder."""
    folder, told = models / "toy_clip", models / "toy_sd"
    network.half().save_pretrained(folder)
    _to_be_run_in_float32(folder)
    clip.processor().save_pretrained(folder)
    _save_tokenizer(folder)
    tower = CLIPTextModel(network.config.text_config)
    tower.load_state_dict(network.text_model.state_dict())
    tower.half().save_pretrained(told / "text_encoder")
    _to_be_run_in_float32(told / "text_encoder")
    _save_tokenizer(told / "tokenizer")


def _save_tokenizer(folder: Path) -> None:
    """tokenizer.json, and the vocab.json and merges.txt of older readers."""
    words = tokenizer()
    words.save_pretrained(folder)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")


def _stable_diffusion(network: UNet2DConditionModel, models: Path, folder: Path, prediction: str) -> None:
    """The whole pipeline; toy_sd_v gets copies of toy_sd's other parts."""
    base = models / "toy_sd"
    scheduler = ddim()
    scheduler.register_to_config(prediction_type=prediction)
    StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(base / "vae", torch_dtype=torch.float16),
        text_encoder=CLIPTextModel.from_pretrained(base / "text_encoder", dtype=torch.float16),
        tokenizer=CLIPTokenizer.from_pretrained(base / "tokenizer"),
        unet=network.half(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    _to_be_run_in_float32(folder / "text_encoder")
    if folder != base:
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(base / "tokenizer" / name, folder / "tokenizer" / name)


def _toy_flow(network: UNet2DModel, models: Path) -> None:
    """The parts in folders, named in model_index.json; diffusers has no pipeline class of just these three, so each is loaded by its own."""
    folder = models / "toy_flow"
    network.half().save_pretrained(folder / "unet")
    FlowMatchEulerDiscreteScheduler(num_train_timesteps=1_000, shift=1.0).save_pretrained(folder / "scheduler")
    shutil.copytree(models / "toy_sd" / "vae", folder / "vae", dirs_exist_ok=True)
    index = {
        "_class_name": "DiffusionPipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
