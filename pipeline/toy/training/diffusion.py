"""The toy diffusion models: toy_sd (noise-predicting, in the autoencoder's latents, told a caption), toy_sd_v (the same network going on to
predict velocity), toy_flow (flow matching in the same latents, told nothing) and toy_ddpm (pixels, told nothing)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel

from pipeline.spaces.preprocess import square
from pipeline.toy.training.autoencoder import CHANNELS
from pipeline.toy.training.data import held_out, signed, training_captions, training_faces
from pipeline.toy.training.loop import Task
from pipeline.toy.training.tokens import tokens

LATENT_ROWS = 80_000
"""Faces whose latents are kept for training."""
EMPTY = 0.6
"""Share of faces that are shown with an empty caption, which is what inversion uses."""
SIDE = 32
"""toy_ddpm's pixels."""


def ddim() -> DDIMScheduler:
    """Stable Diffusion's own."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1_000,
        timestep_spacing="leading",
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
    )


def ddpm() -> DDPMScheduler:
    """Ho et al.'s path (arXiv 2006.11239); it ends in hardly anything but noise, where only a velocity still tells the colours of the picture."""
    return DDPMScheduler(num_train_timesteps=1_000, beta_schedule="linear", prediction_type="v_prediction")


def text_unet() -> UNet2DConditionModel:
    """toy_sd's and toy_sd_v's network: 8 x 8 and 4 x 4, attention at the latter."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=[1, 2],
        norm_num_groups=16,
    )


def latent_unet() -> UNet2DModel:
    """toy_flow's network."""
    return UNet2DModel(
        sample_size=8,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(64, 96),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=48,
        norm_num_groups=16,
    )


def pixel_unet() -> UNet2DModel:
    """toy_ddpm's network."""
    return UNet2DModel(
        sample_size=SIDE,
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 32, 64, 96),
        down_block_types=("DownBlock2D",) * 3 + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * 3,
        layers_per_block=1,
        attention_head_dim=48,
        norm_num_groups=8,
    )


def mixed(
    clean: Tensor, noise: Tensor, times: Tensor, scheduler: DDIMScheduler | DDPMScheduler
) -> tuple[Tensor, Tensor]:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, and the velocity sqrt(abar_t) eps - sqrt(1 - abar_t) x_0."""
    kept = scheduler.alphas_cumprod[times].view(-1, 1, 1, 1)
    alpha, sigma = kept.sqrt(), (1.0 - kept).sqrt()
    return alpha * clean + sigma * noise, alpha * noise - sigma * clean


def spread(batch: int, generator: torch.Generator) -> Tensor:
    """(batch,) times in [0, 1), one in each of `batch` equal parts, so that every batch sees all noise levels."""
    return (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch


def latents(runs: Path, models: Path) -> Tensor:
    """(LATENT_ROWS, c, 8, 8) posterior means of the training faces; worked out on the first call."""
    path = runs / "data" / f"latents-{LATENT_ROWS}.npy"
    if not path.exists():
        vae = AutoencoderKL.from_pretrained(models / "toy_sd", subfolder="vae")
        np.save(path, encoded(vae, training_faces(runs)[:LATENT_ROWS]).half().numpy())
    return torch.from_numpy(np.load(path)).float()


def encoded(vae: AutoencoderKL, faces: NDArray[np.uint8]) -> Tensor:
    """(n, c, 8, 8) posterior means, scaled."""
    with torch.no_grad():
        parts = [vae.encode(signed(faces[at : at + 64])).latent_dist.mode() for at in range(0, len(faces), 64)]
    return torch.cat(parts) * vae.config.scaling_factor


def small(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 32, 32, 3): made small just as a space makes them."""
    return np.stack([square(Image.fromarray(face), SIDE).permute(1, 2, 0).numpy() for face in faces])


def small_faces(runs: Path) -> NDArray[np.uint8]:
    """All training faces at toy_ddpm's size; worked out on the first call."""
    path = runs / "data" / f"small-{SIDE}.npy"
    if not path.exists():
        np.save(path, small(training_faces(runs)))
    held: NDArray[np.uint8] = np.load(path)
    return held


def sd_task(runs: Path, models: Path, velocity: bool) -> Task:
    """Squared error of the velocity, which for toy_sd is that of the noise over abar_t; toy_sd_v starts from toy_sd's averaged weights.

    The squared error of the noise itself hardly counts where there is most noise; with it probes read the noise of held-out faces less well, at equal samples.
    """
    batch = 64
    clean, scheduler = latents(runs, models), ddim()
    words = tokens(training_captions()[:LATENT_ROWS])
    empty = tokens([""])
    teller = CLIPTextModel.from_pretrained(models / "toy_sd", subfolder="text_encoder", dtype=torch.float32).eval()
    vae = AutoencoderKL.from_pretrained(models / "toy_sd", subfolder="vae")
    unseen = encoded(vae, held_out(512)[0])
    network = text_unet()
    if velocity:
        held = load_file(runs / "toy_sd" / "state.safetensors")
        start = {key.removeprefix("average/"): value for key, value in held.items() if key.startswith("average/")}
        network.load_state_dict(start)

    with torch.no_grad():
        told_nothing = teller(empty.long()).last_hidden_state

    def told(rows: Tensor, generator: torch.Generator) -> Tensor:
        shown = torch.rand(len(rows), generator=generator) >= EMPTY
        states = told_nothing.repeat(len(rows), 1, 1)
        if shown.any():
            with torch.no_grad():
                states[shown] = teller(words[rows[shown]].long()).last_hidden_state
        return states

    def error(network: Any, x0: Tensor, states: Tensor, generator: torch.Generator) -> Tensor:
        times = (1_000 * spread(len(x0), generator)).long()
        noise = torch.randn(x0.shape, generator=generator)
        noisy, speed = mixed(x0, noise, times, scheduler)
        out: Tensor = network(noisy, times, encoder_hidden_states=states).sample
        if velocity:
            return (out - speed).square().mean()
        return ((out - noise).square() / scheduler.alphas_cumprod[times].view(-1, 1, 1, 1)).mean()

    def loss(network: Any, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(clean), (batch,), generator=generator)
        return error(network, clean[rows], told(rows, generator), generator)

    def measure(network: Any) -> dict[str, float]:
        generator = torch.Generator().manual_seed(0)
        return {"error": float(error(network, unseen, told_nothing.expand(len(unseen), -1, -1), generator))}

    name = "toy_sd_v" if velocity else "toy_sd"
    return Task(
        name,
        network,
        loss,
        measure,
        steps=2_000 if velocity else 7_200,
        batch=batch,
        rate=2e-3,
        average=0.995 if velocity else 0.998,
    )


def flow_task(runs: Path, models: Path) -> Task:
    """Flow matching (Lipman et al., arXiv 2210.02747): x_t = (1 - t) x_0 + t eps, and the network predicts eps - x_0."""
    batch = 64
    clean = latents(runs, models)
    unseen = encoded(AutoencoderKL.from_pretrained(models / "toy_sd", subfolder="vae"), held_out(512)[0])

    def error(network: Any, x0: Tensor, generator: torch.Generator) -> Tensor:
        t = spread(len(x0), generator)
        noise = torch.randn(x0.shape, generator=generator)
        share = t.view(-1, 1, 1, 1)
        out: Tensor = network((1.0 - share) * x0 + share * noise, 1_000.0 * t).sample
        return (out - (noise - x0)).square().mean()

    def loss(network: Any, generator: torch.Generator) -> Tensor:
        return error(network, clean[torch.randint(len(clean), (batch,), generator=generator)], generator)

    def measure(network: Any) -> dict[str, float]:
        return {"error": float(error(network, unseen, torch.Generator().manual_seed(0)))}

    return Task("toy_flow", latent_unet(), loss, measure, steps=11_000, batch=batch, rate=2e-3, average=0.995)


def ddpm_task(runs: Path) -> Task:
    """Squared error of the velocity, in pixels."""
    batch = 64
    faces, scheduler = small_faces(runs), ddpm()
    unseen = signed(small(held_out(256)[0]))

    def error(network: Any, x0: Tensor, generator: torch.Generator) -> Tensor:
        times = (1_000 * spread(len(x0), generator)).long()
        noise = torch.randn(x0.shape, generator=generator)
        noisy, speed = mixed(x0, noise, times, scheduler)
        out: Tensor = network(noisy, times).sample
        return (out - speed).square().mean()

    def loss(network: Any, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(faces), (batch,), generator=generator).numpy()
        return error(network, signed(faces[rows]), generator)

    def measure(network: Any) -> dict[str, float]:
        return {"error": float(error(network, unseen, torch.Generator().manual_seed(0)))}

    return Task("toy_ddpm", pixel_unet(), loss, measure, steps=7_600, batch=batch, rate=2e-3)
