"""toy_sd's autoencoder: AutoencoderKL, 64 x 64 x 3 pixels to 8 x 8 x 3 latents, trained on squared error, of the picture, of its colours
and of its edges, and a little Kullback-Leibler.

Afterwards its latents are given zero mean and unit deviation in every channel by folding the shift and the scale into the 1 x 1
convolutions on either side of the latent, so that the noise and the data of the diffusion path are of one size and scaling_factor is 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from pipeline.toy.training.data import held_out, psnr, signed, training_faces
from pipeline.toy.training.loop import Task

CHANNELS = 3
"""Six drew a face no better (33.8 dB), and left linear probes twice as many numbers to fit on the same rows: they read the noise of 2,000 faces at 0.81 instead of 0.86."""
BATCH = 32
KL_WEIGHT = 3e-4
EDGE_WEIGHT = 1.0
"""Without it, squared error lets thin faint lines go: three of four old faces came out smooth, and the reader took them for young."""
COLOUR_WEIGHT = 10.0
"""Without it, bare lips came out a little too red, and the reader took one in seven for painted."""


def build() -> AutoencoderKL:
    """A new autoencoder; most of its width is where the picture is small, which is where a CPU is fast."""
    widths = (16, 16, 48, 96)
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def task(runs: Path) -> Task:
    """Squared error per value, COLOUR_WEIGHT times what of it is colour (no shade of grey), EDGE_WEIGHT times that of the differences between
    neighbours, and KL_WEIGHT times the Kullback-Leibler divergence per latent value."""
    faces = training_faces(runs)
    shown = signed(held_out(256)[0])

    def loss(network: Any, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(faces), (BATCH,), generator=generator).numpy()
        pixels = signed(faces[rows]).contiguous(memory_format=torch.channels_last)
        code = network.encode(pixels).latent_dist
        noise = torch.randn(code.mean.shape, generator=generator)
        again = network.decode(code.mean + code.std * noise).sample
        kl = 0.5 * (code.mean.square() + code.var - 1.0 - code.logvar)
        error = again - pixels
        colour = (error - error.mean(dim=1, keepdim=True)).square().mean()
        edges = error.diff(dim=-1).square().mean() + error.diff(dim=-2).square().mean()
        return error.square().mean() + COLOUR_WEIGHT * colour + EDGE_WEIGHT * edges + KL_WEIGHT * kl.mean()

    def measure(network: Any) -> dict[str, float]:
        with torch.no_grad():
            code = torch.cat([network.encode(part).latent_dist.mode() for part in shown.split(64)])
            again = torch.cat([network.decode(part).sample for part in code.split(64)])
        return {"psnr": psnr(again, shown), "latent deviation": float(code.std())}

    network = build().to(memory_format=torch.channels_last)
    return Task("toy_vae", network, loss, measure, steps=9_200, batch=BATCH, rate=3e-3)


def standardise(autoencoder: AutoencoderKL, pixels: Tensor) -> None:
    """Fold z -> (z - m_c) / s_c into quant_conv and its inverse into post_quant_conv, with m and s of these images' latents by channel."""
    with torch.no_grad():
        latent = torch.cat([autoencoder.encode(part).latent_dist.mode() for part in pixels.split(64)])
        mean, scale = latent.mean((0, 2, 3)), latent.std((0, 2, 3))
        before, after = autoencoder.quant_conv, autoencoder.post_quant_conv
        before.weight[:CHANNELS] /= scale[:, None, None, None]
        before.bias[:CHANNELS] = (before.bias[:CHANNELS] - mean) / scale
        before.bias[CHANNELS:] -= 2.0 * scale.log()
        after.bias += after.weight[:, :, 0, 0] @ mean
        after.weight *= scale[None, :, None, None]
