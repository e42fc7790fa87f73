"""How well latents lead back to their images: PSNR and SSIM of regenerated rows."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from pipeline.spaces.base import Generates


def sample(rows: range, count: int) -> list[int]:
    """Which rows of a shard are regenerated: `count` of them, evenly spread, always the same ones."""
    count = min(count, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio per image, −10 log₁₀ mean (a − b)², for images `(n, c, h, w)` in [0, 1]; 100 dB at most."""
    error = (a.double() - b.double()).square().flatten(1).mean(dim=1)
    return -10 * torch.log10(error.clamp_min(1e-10))


def ssim(a: torch.Tensor, b: torch.Tensor, window: int = 7) -> torch.Tensor:
    """Structural similarity per image (Wang et al., 2004) with a uniform window, for images `(n, c, h, w)` in [0, 1].

    SSIM = (2 μₐμ_b + c₁)(2 σ_ab + c₂) / ((μₐ² + μ_b² + c₁)(σₐ² + σ_b² + c₂)), c₁ = 0.01², c₂ = 0.03², sample (co)variances, averaged over windows and channels.
    """
    a, b = a.double(), b.double()
    count = window * window

    def mean(x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, window, stride=1)

    ma, mb = mean(a), mean(b)
    unbiased = count / (count - 1)
    va, vb = unbiased * (mean(a * a) - ma * ma), unbiased * (mean(b * b) - mb * mb)
    cov = unbiased * (mean(a * b) - ma * mb)
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return value.flatten(1).mean(dim=1)


def measure(space: Generates, inputs: torch.Tensor, latents: torch.Tensor) -> np.ndarray:
    """(n, 4) in the order of `layout.FIDELITY_MEASURES`: against the image, and against what the autoencoder alone makes of it."""
    images = space.images(inputs)
    decoded = space.reconstruct(inputs)
    made = space.generate(latents)
    columns = [psnr(made, images), ssim(made, images), psnr(made, decoded), ssim(made, decoded)]
    return torch.stack(columns, dim=1).float().cpu().numpy()
