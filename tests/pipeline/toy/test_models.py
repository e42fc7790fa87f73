"""The toy models are what their cards say: small, loadable by the classes of the ecosystem, and as good as the cheap figures can tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DModel,
)
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, CLIPModel

from pipeline.toy.reader import load_reader
from pipeline.toy.training import clip, dino
from pipeline.toy.training.attributes import accuracy
from pipeline.toy.training.data import held_out, psnr, signed
from pipeline.toy.training.measures import probe_auc

MODELS = Path(__file__).resolve().parents[3] / "models"
NAMES = ("toy_clip", "toy_ddpm", "toy_dino", "toy_flow", "toy_reader", "toy_sd", "toy_sd_v")


def test_all_together_stay_small() -> None:
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) <= 40e6


@pytest.mark.parametrize("name", NAMES)
def test_each_has_a_card_with_its_figures(name: str) -> None:
    card, figures = (MODELS / name / "README.md").read_text(), json.loads((MODELS / name / "metrics.json").read_text())
    assert "license: cc0-1.0" in card
    assert figures["rows"] >= 256
    assert not list((MODELS / name).rglob("*.bin"))


def test_none_tells_where_it_was_made() -> None:
    assert not [path for path in MODELS.rglob("*.json") if "_name_or_path" in path.read_text()]


@pytest.mark.parametrize(("name", "prediction"), [("toy_sd", "epsilon"), ("toy_sd_v", "v_prediction")])
def test_stable_diffusion_loads_and_draws(name: str, prediction: str) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(MODELS / name, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe.scheduler, DDIMScheduler)
    assert pipe.scheduler.config.prediction_type == prediction
    drawn = pipe("a smiling woman with blond hair", num_inference_steps=4, output_type="np", guidance_scale=2.0)
    assert drawn.images.shape == (1, 64, 64, 3)


def test_ddpm_loads_and_draws() -> None:
    pipe = DDPMPipeline.from_pretrained(MODELS / "toy_ddpm")
    pipe.set_progress_bar_config(disable=True)
    assert pipe(num_inference_steps=3, output_type="np").images.shape == (1, 32, 32, 3)


def test_flow_loads_and_steps() -> None:
    unet = UNet2DModel.from_pretrained(MODELS / "toy_flow", subfolder="unet")
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(MODELS / "toy_flow", subfolder="scheduler")
    scheduler.set_timesteps(2)
    x = torch.randn(1, unet.config.in_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t).sample, t, x).prev_sample
    assert x.isfinite().all()


def test_encoders_load_with_their_processors() -> None:
    assert AutoTokenizer.from_pretrained(MODELS / "toy_clip")("a man with a hat").input_ids[0] is not None
    for name in ("toy_clip", "toy_dino"):
        assert list(AutoImageProcessor.from_pretrained(MODELS / name).image_mean) == [0.5] * 3


@pytest.mark.slow
def test_autoencoder_on_held_out_faces() -> None:
    pixels = signed(held_out(64)[0])
    vae = AutoencoderKL.from_pretrained(MODELS / "toy_sd", subfolder="vae")
    with torch.no_grad():
        latent = vae.encode(pixels).latent_dist.mode()
        again = vae.decode(latent).sample
    recorded = json.loads((MODELS / "toy_sd" / "metrics.json").read_text())["autoencoder_psnr"]
    assert psnr(again, pixels) == pytest.approx(recorded, abs=0.5)
    deviation = (latent * vae.config.scaling_factor).std((0, 2, 3))
    assert torch.allclose(deviation, torch.ones_like(deviation), atol=0.1)


@pytest.mark.slow
def test_reader_on_held_out_faces() -> None:
    faces, labels, _ = held_out(500)
    reader, _ = load_reader(MODELS / "toy_reader")
    right = accuracy(reader, signed(faces), labels)
    assert right.mean() >= 0.97


@pytest.mark.slow
def test_probes_on_clip_and_dino() -> None:
    faces, labels, _ = held_out(2_000)
    contrasted = CLIPModel.from_pretrained(MODELS / "toy_clip", dtype=torch.float32).eval()
    distilled = AutoModel.from_pretrained(MODELS / "toy_dino", dtype=torch.float32).eval()
    for name, features in (
        ("toy_clip", clip.features(contrasted, signed(faces))),
        ("toy_dino", dino.features(distilled, signed(faces))),
    ):
        recorded = json.loads((MODELS / name / "metrics.json").read_text())["probe_auc"]
        assert probe_auc(features.numpy(), labels, 310).mean() == pytest.approx(recorded, abs=0.01)
