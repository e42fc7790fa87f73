"""Latents of every kind of autoencoder are the mode of the posterior, scaled as the model says, and lead back to the autoencoder's own reconstruction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image

from noisezoo.errors import NoiseZooError
from pipeline.spaces.autoencoder import Autoencoder
from pipeline.spaces.check import check
from tests.pipeline.spaces.pictures import waves

CPU = torch.device("cpu")
BLOCKS = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
}
KINDS: dict[str, Any] = {
    "AutoencoderKL": lambda **more: diffusers.AutoencoderKL(**BLOCKS, latent_channels=4, scaling_factor=0.5, **more),
    "VQModel": lambda **more: diffusers.VQModel(
        **BLOCKS, latent_channels=3, num_vq_embeddings=16, scaling_factor=0.5, **more
    ),
    "AutoencoderDC": lambda **more: diffusers.AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 16),
        decoder_block_out_channels=(8, 16),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        upsample_block_type="interpolate",
        downsample_block_type="stride_conv",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.5,
        **more,
    ),
}


def saved(kind: str, folder: Path, **more: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = KINDS[kind](**more).eval()
    vae.save_pretrained(folder / "vae")
    return vae


def space_in(folder: Path, **settings: Any) -> Autoencoder:
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return Autoencoder(str(folder), size=32, subfolder="vae", licence="MIT", **settings)


def batch(space: Autoencoder) -> torch.Tensor:
    return torch.stack([space.prepare(Image.fromarray(waves(50 + i, 40, seed=i))) for i in range(3)])


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_latents_are_the_scaled_mode_and_lead_back(kind: str, tmp_path: Path) -> None:
    vae = saved(kind, tmp_path)
    space = space_in(tmp_path)
    space.load(CPU, torch.float32)
    images = batch(space)
    latents = space(images, torch.arange(3))
    output = vae.encode(images.float() / 127.5 - 1)
    raw = output.latent_dist.mean if kind == "AutoencoderKL" else output[0]
    assert latents.shape == (3, *space.shape)
    assert torch.allclose(latents, raw * 0.5, atol=1e-5)
    made = vae.decode(raw).sample / 2 + 0.5
    assert torch.allclose(space.generate(latents), made.clamp(0, 1), atol=1e-5)
    assert torch.allclose(space.reconstruct(images), made.clamp(0, 1), atol=1e-5)
    assert torch.equal(space.images(images), images / 255)


@pytest.mark.parametrize("kind", KINDS)
def test_the_space_keeps_its_promises(kind: str, tmp_path: Path) -> None:
    saved(kind, tmp_path)
    findings = check(space_in(tmp_path), CPU)
    assert len(findings) == 15
    assert [finding for finding in findings if not finding.passed] == []


@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_size_are_known_without_weights(kind: str, tmp_path: Path) -> None:
    vae = saved(kind, tmp_path)
    for weights in (tmp_path / "vae").glob("*.safetensors"):
        weights.unlink()
    space = space_in(tmp_path)
    shape, parameters = space.measure()
    assert shape[1:] == (16, 16)
    assert parameters == sum(p.numel() for p in vae.parameters())
    assert not space.present()


@torch.no_grad()
def test_shift_and_per_channel_statistics_are_followed(tmp_path: Path) -> None:
    means, stds = [0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0]
    spaces = {}
    for name, more in {
        "plain": {},
        "shift": {"shift_factor": 0.25},
        "statistics": {"latents_mean": means, "latents_std": stds},
    }.items():
        saved("AutoencoderKL", tmp_path / name, **more)
        spaces[name] = space_in(tmp_path / name)
        spaces[name].load(CPU, torch.float32)
    images = batch(spaces["plain"])
    latents = {name: space(images, torch.arange(3)) for name, space in spaces.items()}
    assert torch.allclose(latents["shift"], latents["plain"] - 0.25 * 0.5, atol=1e-5)
    view = (1, 4, 1, 1)
    expected = (latents["plain"] / 0.5 - torch.tensor(means).view(view)) / torch.tensor(stds).view(view) * 0.5
    assert torch.allclose(latents["statistics"], expected, atol=1e-5)
    for name, space in spaces.items():
        assert torch.allclose(space.generate(latents[name]), space.reconstruct(images), atol=1e-4), name


def test_half_precision_gives_way_where_the_authors_say_so(tmp_path: Path) -> None:
    for upcast, expected in ((True, torch.float32), (False, torch.bfloat16)):
        saved("AutoencoderKL", tmp_path, force_upcast=upcast)
        space = space_in(tmp_path)
        space.load(CPU, torch.bfloat16)
        assert space._vae.dtype == expected


def test_what_is_no_autoencoder_is_refused(tmp_path: Path) -> None:
    diffusers.UNet2DModel(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    ).save_pretrained(tmp_path / "vae")
    with pytest.raises(NoiseZooError, match="is a UNet2DModel, and an autoencoder space takes AutoencoderKL"):
        space_in(tmp_path).load(CPU, torch.float32)
    with pytest.raises(NoiseZooError, match="correct 'subfolder'"):
        Autoencoder(str(tmp_path), size=32, subfolder="unet").load(CPU, torch.float32)


def test_a_wrong_shape_in_the_yaml_is_told(tmp_path: Path) -> None:
    saved("AutoencoderKL", tmp_path)
    with pytest.raises(NoiseZooError, match=r"write 'shape: \[4, 16, 16\]'"):
        space_in(tmp_path, shape=[4, 64, 64]).load(CPU, torch.float32)
